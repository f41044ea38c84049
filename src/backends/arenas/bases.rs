//! The setting `bases`: the addresses of arenas.

use crate::backends::error::BackendError;
use crate::backends::setting::{Setting, setting};
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::units::parse_bytes;

/// How the addresses (bases) of arenas are chosen. From 3.10 on, an arena whose base is no multiple
/// of a pool loses one of its 64 pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bases {
    /// The addresses of the kernel's `mmap`, as in a running interpreter.
    Kernel,
    /// Each at a multiple of its size.
    Aligned,
    /// Each at a page that depends only on its birth. Three in four are no multiple of a pool of
    /// 16 KiB, as with `mmap` in practice.
    Misaligned,
    /// Each so many bytes past a multiple of its size; a multiple of 4 KiB.
    Off(usize),
    /// As in the recorded process, birth by birth, by `Arenas::place_as`; later ones at multiples
    /// of their size.
    Recorded,
}

impl Bases {
    /// Those without a number.
    pub const NAMED: [Bases; 4] =
        [Bases::Kernel, Bases::Aligned, Bases::Misaligned, Bases::Recorded];

    /// The value of the setting `bases`.
    pub fn name(self) -> String {
        match self {
            Bases::Kernel => "kernel".to_owned(),
            Bases::Aligned => "aligned".to_owned(),
            Bases::Misaligned => "misaligned".to_owned(),
            Bases::Off(bytes) => bytes.to_string(),
            Bases::Recorded => "recorded".to_owned(),
        }
    }

    /// The bases of that name, or of an offset in bytes (`4096`, `4KiB`).
    pub fn from_name(name: &str) -> Option<Bases> {
        let off = || parse_bytes(name).ok().and_then(|bytes| usize::try_from(bytes).ok());
        let page = |bytes: &usize| bytes.is_multiple_of(PAGE_BYTES) && *bytes <= MOST_OFF;
        let named = Bases::NAMED.into_iter().find(|bases| bases.name() == name);
        named.or_else(|| off().filter(page).map(Bases::Off))
    }

    /// The values of the setting `bases`.
    pub const VALUES: &str =
        "kernel, aligned, misaligned, recorded, or an offset in bytes, a multiple of 4KiB";

    /// The setting, with a backend's default.
    pub(crate) const fn setting(default: &'static str) -> Setting {
        setting("bases", Bases::VALUES, default, "addresses of the arenas")
    }

    /// What the setting does.
    pub fn text(self) -> &'static str {
        match self {
            Bases::Kernel => "mmap, at the addresses that the kernel chooses",
            Bases::Aligned => "mmap, each at a multiple of its size",
            Bases::Misaligned => {
                "mmap, each at a page that depends on its birth, \
                 three in four not aligned to a pool of 16 KiB"
            }
            Bases::Off(_) => "mmap, each so many bytes past a multiple of its size",
            Bases::Recorded => {
                "mmap, each as far past a multiple of its size as in the recorded process"
            }
        }
    }

    /// The setting `bases` of a backend, when it has one.
    ///
    /// # Errors
    /// [`BackendError::Refused`] for a value that names none.
    pub fn of(spec: &BackendSpec) -> Result<Option<Bases>, BackendError> {
        let Some(name) = spec.setting("bases") else { return Ok(None) };
        let refused = || spec.refused(format!("has no bases `{name}`: expected {}", Bases::VALUES));
        Bases::from_name(name).map(Some).ok_or_else(refused)
    }
}

/// Bytes that the kernel aligns to at least.
pub(super) const PAGE_BYTES: usize = 4096;
/// The largest offset that can be set, in bytes.
const MOST_OFF: usize = 1 << 30;
