//! Whether the kernel may give the children transparent huge pages.

use std::fs;
use std::io;

use super::machine::bracketed;

/// The kernel's mode, for all processes.
const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Which memory may lie on huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages {
    /// All of it: the kernel's mode for all processes.
    Always,
    /// What an allocator requests to: the kernel's mode for all processes.
    Madvise,
    /// None. A process can choose this for itself and its children.
    Never,
}

/// Why the children cannot have it so.
#[derive(Debug, thiserror::Error)]
pub enum HugePagesError {
    /// The kernel has another mode for all processes.
    #[error(
        "the kernel's mode of huge pages is `{present}` for all processes; \
         `echo {wanted} > {ENABLED}` as root changes it"
    )]
    OtherMode {
        /// The mode that was requested.
        wanted: &'static str,
        /// The kernel's mode.
        present: String,
    },
    /// The kernel refused to leave huge pages out.
    #[error("the kernel does not leave huge pages out for a process")]
    Refused(#[source] io::Error),
}

impl HugePages {
    /// Every choice.
    pub const ALL: [HugePages; 3] = [HugePages::Always, HugePages::Madvise, HugePages::Never];

    /// The name in options and in the kernel's file.
    pub fn name(self) -> &'static str {
        match self {
            HugePages::Always => "always",
            HugePages::Madvise => "madvise",
            HugePages::Never => "never",
        }
    }

    /// Makes it so for this process and the children that it starts.
    ///
    /// # Errors
    /// The kernel has another mode, which only root can change for all processes.
    pub fn choose(self) -> Result<(), HugePagesError> {
        if self == HugePages::Never {
            return leave_out().map_err(HugePagesError::Refused);
        }
        let text = fs::read_to_string(ENABLED).unwrap_or_else(|_| "[never]".to_owned());
        let present = chosen(&text);
        if present == self.name() {
            return Ok(());
        }
        Err(HugePagesError::OtherMode { wanted: self.name(), present: present.to_owned() })
    }
}

/// The mode that the kernel marks; empty where it marks none.
fn chosen(text: &str) -> &str {
    bracketed(text).unwrap_or_default()
}

/// Leaves huge pages out in this process and in the children that it starts.
#[expect(unsafe_code, reason = "this prctl has no safe wrapper")]
fn leave_out() -> io::Result<()> {
    // SAFETY: takes numbers only.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen("nothing"), "");
    }
}
