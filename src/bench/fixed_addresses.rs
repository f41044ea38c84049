//! Children whose addresses are not drawn at random, so that exact figures are the same every time.
//!
//! The kernel hands the flag from a thread to the process that this thread starts. So a thread of
//! the parent sets the flag for as long as it starts one child; other threads keep theirs.

/// As long as this lives, children that this thread starts have the same addresses every time.
/// Where the kernel refuses (some containers do), they have addresses at random.
pub(super) struct FixedAddresses {
    before: libc::c_ulong,
}

/// The argument that asks for the flags and changes nothing.
const QUERY: libc::c_ulong = 0xFFFF_FFFF;

impl FixedAddresses {
    /// Sets the flag.
    pub fn begin() -> FixedAddresses {
        let before = personality(QUERY);
        if let Some(flags) = before {
            personality(flags | libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
        }
        FixedAddresses { before: before.unwrap_or(QUERY) }
    }
}

impl Drop for FixedAddresses {
    fn drop(&mut self) {
        personality(self.before);
    }
}

/// Sets this thread's flags and returns those before; `None` where that is refused.
fn personality(flags: libc::c_ulong) -> Option<libc::c_ulong> {
    #[expect(unsafe_code, reason = "personality has no safe wrapper")]
    // SAFETY: the call touches no memory. It sets flags of this thread that act at the next exec.
    let before = unsafe { libc::personality(flags) };
    libc::c_ulong::try_from(before).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Where the stack of a child lies, which is drawn at random like everything else.
    fn stack() -> String {
        let maps = Command::new("/bin/cat").arg("/proc/self/maps").output().unwrap().stdout;
        let maps = String::from_utf8(maps).unwrap();
        maps.lines().find(|line| line.ends_with("[stack]")).unwrap().to_owned()
    }

    #[test]
    fn children_have_the_same_addresses_while_the_flag_is_set() {
        let before = personality(QUERY);
        let fixed = {
            let _fixed = FixedAddresses::begin();
            if personality(QUERY) == before {
                eprintln!("skipped: this kernel does not let addresses be fixed");
                return;
            }
            [stack(), stack(), stack()]
        };
        assert!(fixed[0] == fixed[1] && fixed[1] == fixed[2], "{fixed:?}");
        assert_eq!(personality(QUERY), before);
    }
}
