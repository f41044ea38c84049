//! How far the rounds are: a line that changes on a terminal, and a line in half a minute elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::run::progress::BETWEEN_LINES;
use crate::cli::terminal::note;

/// The progress of rounds.
pub struct RoundsLine {
    bar: ProgressBar,
    last_line: Instant,
    /// How the rounds end: `of 8 rounds`, or `of up to 60 s`.
    end: String,
}

impl RoundsLine {
    /// Before the first round; `rounds` for a fixed number of them, else `budget` of wall time.
    pub fn new(rounds: Option<usize>, budget: Duration) -> RoundsLine {
        let bar = ProgressBar::new_spinner(); // draws to standard error, and only to a terminal
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        let end = match rounds {
            Some(rounds) => format!("of {rounds} rounds"),
            None => format!("of up to {} s", budget.as_secs_f64()),
        };
        bar.set_message("the run that is not measured");
        RoundsLine { bar, last_line: Instant::now(), end }
    }

    /// After a round, so long after the first began.
    pub fn finished(&mut self, round: usize, passed: Duration) {
        let text = format!("{round} rounds in {:.0} s, {}", passed.as_secs_f64(), self.end);
        if round == 1 {
            let seconds = passed.as_secs_f64();
            self.bar.suspend(|| note(format!("a round of all backends takes {seconds:.1} s")));
        } else if self.bar.is_hidden() && self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            note(&text);
        }
        self.bar.set_message(text);
    }

    /// Takes the line off the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
