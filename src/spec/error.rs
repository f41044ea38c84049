//! Why a text is no backend spec.

/// A text that is not of the form of a backend. It names the place, what was found there and what
/// was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "backend `{text}`: expected {expected} at character {character}, found {}; \
     the form is name[@version][:key=value,…][+below]",
    quoted(found)
)]
pub struct SpecError {
    /// The whole text.
    pub text: String,
    /// Where in the text, counted in characters from 1.
    pub character: usize,
    /// What stands there; empty at the end of the text.
    pub found: String,
    /// What should stand there.
    pub expected: &'static str,
}

impl SpecError {
    /// The error for what stands at a byte of `text`.
    pub(super) fn at(text: &str, byte: usize, found: &str, expected: &'static str) -> SpecError {
        let character = 1 + text.char_indices().take_while(|(at, _)| *at < byte).count();
        SpecError { text: text.to_owned(), character, found: found.to_owned(), expected }
    }
}

fn quoted(found: &str) -> String {
    if found.is_empty() { "nothing".to_owned() } else { format!("`{found}`") }
}
