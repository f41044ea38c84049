//! A picture of the report, as the page refers to it.

/// A picture beside the page.
pub struct DrawnPicture {
    /// Its file, relative to the page.
    pub file: String,
    /// The verdict above it.
    pub title: String,
}
