//! Other code that runs between two calls, for the cold pass. It stands for the program: its cache
//! lines displace those of the allocator, and its branches those that the predictor knew.
//!
//! The amounts were chosen before the programs that test the model were written
//! (docs/method/life.md).

/// Routines. Their lines fill 128 KiB, twice the largest instruction cache of a core today.
const ROUTINES: u64 = 512;
/// Bytes from one routine to the next: four cache lines, each with two branches on bits of its
/// argument.
const ROUTINE_BYTES: u64 = 256;
/// Routines between two calls.
const BETWEEN_CALLS: usize = 2;

/// The routines, from the branches of a cache line: on the bits `pair` and `pair + 1` of the argument.
/// Directives are those of the GNU assembler, which fills the space up to the next line with
/// instructions that do nothing.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! routines {
    ($($branches:literal),+) => {
        core::arch::global_asm!(
            ".pushsection .text",
            ".p2align 8",
            ".globl heaplay_other_code",
            ".hidden heaplay_other_code",
            "heaplay_other_code:",
            ".rept {routines}",
            ".irpc pair, 0246",
            $($branches,)+
            ".ifc \\pair, 6",
            "ret",
            ".endif",
            ".p2align 6",
            ".endr",
            ".endr",
            ".popsection",
            routines = const ROUTINES,
        );
    };
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "routines of a given place and length")]
mod routines {
    use super::ROUTINES;

    routines!("bt edi, \\pair", "jc 2f", "nop", "2: bt edi, \\pair + 1", "jc 3f", "nop", "3:");
}

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "routines of a given place and length")]
mod routines {
    use super::ROUTINES;

    routines!("tbz w0, #\\pair, 2f", "nop", "2: tbz w0, #(\\pair + 1), 3f", "nop", "3:");
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[expect(unsafe_code, reason = "calls the routines")]
fn call(number: u64, bits: u64) {
    unsafe extern "C" {
        fn heaplay_other_code(bits: u64);
    }
    let first: unsafe extern "C" fn(u64) = heaplay_other_code;
    let at = first as usize + (number % ROUTINES * ROUTINE_BYTES) as usize;
    // SAFETY: a routine of the signature begins there. It changes the flags and nothing else.
    unsafe {
        let routine: unsafe extern "C" fn(u64) = std::mem::transmute(at);
        routine(bits);
    }
}

/// There are no routines for other processors, so their cold pass is a touch pass.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn call(_number: u64, _bits: u64) {}

/// Picks the routines.
#[derive(Debug)]
pub(super) struct OtherCode {
    /// The state of a xorshift generator; never 0.
    state: u64,
}

impl OtherCode {
    /// The same picks for each backend.
    pub(super) fn new() -> OtherCode {
        OtherCode { state: 0x9E37_79B9_7F4A_7C15 }
    }

    /// Runs what lies between two calls.
    #[inline(always)]
    pub(super) fn run(&mut self) {
        for _ in 0..BETWEEN_CALLS {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            // High bits choose the routine, low bits its branches.
            call(self.state >> 40, self.state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A routine that were shorter or longer would return from another, or run into it.
    #[test]
    fn each_routine_returns() {
        for number in 0..ROUTINES {
            for bits in [0, u64::MAX, 0x55, 0xAA] {
                call(number, bits);
            }
        }
        let mut code = OtherCode::new();
        let picked: std::collections::HashSet<u64> = (0..10_000)
            .map(|_| {
                code.run();
                (code.state >> 40) % ROUTINES
            })
            .collect();
        assert_eq!(picked.len() as u64, ROUTINES);
    }
}
