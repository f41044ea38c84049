//! What every chart has: a name and a question, known before there are data, and the sentences
//! around its data.

use serde::Serialize;

/// A kind of chart, before there are data.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// File name after the trace's: `TRACE--NAME.png`.
    pub name: &'static str,
    /// The question that it answers at a glance.
    pub question: &'static str,
    /// How to read it, in a few sentences, for the page.
    pub reading: &'static str,
}

/// The sentences of a chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Caption {
    /// The verdict: a sentence computed from the data.
    pub title: String,
    /// What is plotted.
    pub plotted: String,
    /// How to read it: the first sentence always, the others in their order as far as there is
    /// space.
    pub reading: Vec<ReadingSentence>,
    /// A note about data that were not recorded: [`crate::report::synthesised`].
    pub synthesised: Option<String>,
}

impl Caption {
    /// A caption; `reading` has one sentence each.
    pub fn new(title: String, plotted: String, reading: &[&str]) -> Caption {
        let reading = reading.iter().map(|sentence| ReadingSentence::from(*sentence)).collect();
        Caption { title, plotted, reading, synthesised: None }
    }

    /// The caption with one more sentence on how to read it; an empty one is left out.
    pub fn with_reading(mut self, sentence: impl Into<ReadingSentence>) -> Caption {
        let sentence = sentence.into();
        if !sentence.text.is_empty() {
            self.reading.push(sentence);
        }
        self
    }
}

/// A sentence on how to read a chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReadingSentence {
    /// The sentence.
    pub text: String,
    /// A shorter one, where there is no space for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shorter: Option<String>,
}

impl From<String> for ReadingSentence {
    fn from(text: String) -> ReadingSentence {
        ReadingSentence { text, shorter: None }
    }
}

impl From<&str> for ReadingSentence {
    fn from(text: &str) -> ReadingSentence {
        ReadingSentence::from(text.to_owned())
    }
}
