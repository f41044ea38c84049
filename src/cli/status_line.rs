//! How far a verb is: a line that changes on a terminal, and a line in half a minute elsewhere. The
//! line of a run (`run/progress.rs`) and that of rounds (`live/rounds_line.rs`) are such lines.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::terminal::note;

/// Time between two lines where standard error is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// A line on standard error. It leaves the terminal when it is dropped, so that no two lines are there
/// at once, whatever ends a verb.
pub struct StatusLine {
    /// What the terminal shows.
    pub bar: ProgressBar,
    last_line: Mutex<Instant>,
}

impl StatusLine {
    /// Draws `bar`, which draws to standard error, and only to a terminal.
    pub fn new(bar: ProgressBar, template: &str) -> StatusLine {
        let line = StatusLine { bar, last_line: Mutex::new(Instant::now()) };
        line.set_template(template);
        line.bar.enable_steady_tick(Duration::from_millis(250));
        line
    }

    /// Shows the line by another template from now on.
    pub fn set_template(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    /// Prints a line where no terminal shows the bar and the last line is old.
    pub fn print_if_due(&self, line: impl FnOnce() -> String) {
        if self.bar.is_hidden() && self.is_due(Instant::now()) {
            note(line());
        }
    }

    /// Prints a note above the line.
    pub fn note(&self, text: impl AsRef<str>) {
        self.bar.suspend(|| note(text));
    }

    /// Whether the last line is old; then the next one is due as long after `now`.
    fn is_due(&self, now: Instant) -> bool {
        let mut last_line = self.last_line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let is_due = now.duration_since(*last_line) >= BETWEEN_LINES;
        if is_due {
            *last_line = now;
        }
        is_due
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_in_half_a_minute() {
        let bar = ProgressBar::hidden();
        let line = StatusLine::new(bar.clone(), "{msg}");
        let began = Instant::now();
        let seconds = (0..=95).filter(|second| line.is_due(began + Duration::from_secs(*second)));
        assert_eq!(seconds.collect::<Vec<_>>(), [30, 60, 90]);
        let mut is_printed = false;
        line.print_if_due(|| {
            is_printed = true;
            String::new()
        });
        assert!(!is_printed);
        assert!(!bar.is_finished());
        drop(line);
        assert!(bar.is_finished());
    }
}
