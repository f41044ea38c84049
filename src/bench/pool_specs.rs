//! Specs of pool allocators that are compared call by call: with arenas at given bases, or with the
//! sizes of another allocator.

use crate::backends::arenas::{Bases, Geometry};
use crate::backends::{self, BackendError};
use crate::spec::{BackendSpec, SpecError};

/// Why a backend cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum PoolSpecError {
    /// The spec sets the bases itself.
    #[error(
        "`{0}`: --against chooses the bases of both itself; leave the setting out and use --bases"
    )]
    HasBases(String),
    /// The backend has no arenas that can be placed.
    #[error("backend `{0}` has no arenas of pools: expected a pool allocator, such as pymalloc")]
    NoPools(String),
    /// The backend has no such setting.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The spec cannot take the setting.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// The spec with its arenas at `bases`.
///
/// # Errors
/// The spec sets its bases itself, or its backend has no arenas that can be placed.
pub fn with_bases(spec: &str, bases: Bases) -> Result<String, PoolSpecError> {
    let parsed = backends::parse(spec)?;
    if parsed.setting("bases").is_some() {
        return Err(PoolSpecError::HasBases(spec.to_owned()));
    }
    backends::describe(&parsed)?; // refuses a typo
    let placed = parsed.with_setting("bases", &bases.name())?;
    for error in [backends::environment(&placed).err(), backends::describe(&placed).err()] {
        match error {
            Some(BackendError::Refused { .. }) => {
                return Err(PoolSpecError::NoPools(spec.to_owned()));
            }
            Some(error) => return Err(error.into()),
            None => {}
        }
    }
    Ok(placed.to_string())
}

/// The sizes in which two pool allocators differ.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeDifferences {
    /// The name of each size with the bytes of both.
    pub sizes: Vec<(&'static str, usize, usize)>,
    /// The first spec with the sizes of the second, if there is such a backend.
    pub like_second: Option<String>,
}

/// The sizes in which the second of two differs from `first`; `None` if all are equal.
pub fn size_differences(first: &str, [ours, theirs]: [Geometry; 2]) -> Option<SizeDifferences> {
    let all = [
        ("align", ours.align, theirs.align),
        ("threshold", ours.threshold, theirs.threshold),
        ("pool", ours.pool, theirs.pool),
        ("arena", ours.arena, theirs.arena),
    ];
    let sizes: Vec<_> = all.into_iter().filter(|(_, ours, theirs)| ours != theirs).collect();
    if sizes.is_empty() {
        return None;
    }
    // A setting that the backend does not take stays out.
    let with = |spec: BackendSpec, (name, _, theirs): &(&str, usize, usize)| {
        spec.with_setting(name, &theirs.to_string()).unwrap_or(spec)
    };
    let like = backends::parse(first).ok().map(|spec| sizes.iter().fold(spec, with));
    let like_second = like.filter(|spec| backends::describe(spec).is_ok()).map(String::from);
    Some(SizeDifferences { sizes, like_second })
}
