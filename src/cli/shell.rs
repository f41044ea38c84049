//! Commands as a person pastes them into a shell.

/// The words as one line for a shell, quoted where they have to be.
pub fn line<'a>(words: impl IntoIterator<Item = &'a str> + Clone) -> String {
    // A word with a NUL cannot be quoted; none comes from a command line.
    shlex::try_join(words.clone()).unwrap_or_else(|_| words.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_have_to_be() {
        assert_eq!(
            line(["heaplay", "run", "traces/a b.trace", "it's", ""]),
            "heaplay run 'traces/a b.trace' \"it's\" ''"
        );
    }
}
