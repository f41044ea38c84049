//! A picture of the report, as the page refers to it.

use super::markup::escape;
use crate::report::picture::{HEIGHT, WIDTH};

/// A picture beside the page.
pub struct DrawnPicture {
    /// Its file, relative to the page.
    pub file: String,
    /// The verdict above it.
    pub title: String,
}

/// The picture of that file with its question and its reading; empty where it was not drawn.
pub fn figure(drawn: &[DrawnPicture], file: &str, question: &str, reading: &str) -> String {
    let Some(picture) = drawn.iter().find(|picture| picture.file == file) else {
        return String::new();
    };
    format!(
        "<h3>{}</h3>\n<p class=\"read\">{}</p>\n<figure><a href=\"{2}\">\
         <img loading=\"lazy\" src=\"{2}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         alt=\"{3}\"></a></figure>\n",
        escape(question),
        escape(reading),
        escape(file),
        escape(&picture.title)
    )
}
