//! How far the rounds are.

use std::time::Duration;

use indicatif::ProgressBar;

use crate::cli::status_line::StatusLine;

/// The progress of rounds.
pub struct RoundsLine {
    line: StatusLine,
    /// How the rounds end: `of 8 rounds`, or `of up to 60 s`.
    end: String,
}

impl RoundsLine {
    /// Before the first round; `rounds` for a fixed number of them, else `budget` of wall time.
    pub fn new(rounds: Option<usize>, budget: Duration) -> RoundsLine {
        let line = StatusLine::new(ProgressBar::new_spinner(), "{spinner} {msg}");
        line.bar.set_message("the run that is not measured");
        let end = match rounds {
            Some(1) => "of 1 round".to_owned(),
            Some(rounds) => format!("of {rounds} rounds"),
            None => format!("of up to {} s", budget.as_secs_f64()),
        };
        RoundsLine { line, end }
    }

    /// After a round, so long after the first began.
    pub fn finished(&self, round: usize, passed: Duration) {
        let seconds = passed.as_secs_f64();
        let plural = if round == 1 { "" } else { "s" };
        let text = format!("{round} round{plural} in {seconds:.0} s, {}", self.end);
        if round == 1 {
            self.line.note(format!("a round of all backends takes {seconds:.1} s"));
        } else {
            self.line.print_if_due(|| text.clone());
        }
        self.line.bar.set_message(text);
    }
}
