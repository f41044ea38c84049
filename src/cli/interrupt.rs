//! Ctrl-C and SIGTERM.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::exit::Exit;
use crate::bench;

/// Lets the first signal end the run in order, and a second one end it immediately.
///
/// # Errors
/// When the handler cannot be installed.
pub fn install() -> anyhow::Result<()> {
    // A program that embeds heaplay runs several verbs in one process.
    static IS_INSTALLED: AtomicBool = AtomicBool::new(false);
    if IS_INSTALLED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        if bench::CANCELLED.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted.code().into());
        }
    })
    .context("cannot listen for Ctrl-C")
}
