//! One of two that are compared: a backend, and the heaplay that measures it.

use std::path::PathBuf;
use std::process::Command;

use crate::environment::HEAPLAY_LAYOUT;

/// One of two that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The backend's spec.
    pub backend: String,
    /// Another build of heaplay that measures it.
    pub binary: Option<PathBuf>,
    /// Addresses that follow from this number instead of being drawn at random, for `heaplay
    /// calibrate`.
    pub layout: Option<usize>,
}

impl Side {
    /// A backend of this build.
    pub fn of(backend: &str) -> Side {
        Side { backend: backend.to_owned(), binary: None, layout: None }
    }

    /// The heaplay that measures it.
    pub fn executable(&self) -> PathBuf {
        self.binary.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
    }

    /// The command that starts a child of it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.executable());
        command.arg("worker").env_clear();
        if let Some(layout) = self.layout {
            // The environment lies above the stack: its length moves every frame.
            command.env(HEAPLAY_LAYOUT, "x".repeat(1 + layout * 48));
        }
        command
    }
}
