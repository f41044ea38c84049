//! The list of backends.

use std::path::Path;

use super::error::BackendError;
#[cfg(feature = "jemalloc")]
use super::jemalloc;
use super::member::Member;
#[cfg(feature = "mimalloc")]
use super::mimalloc;
use super::optional::OPTIONAL;
#[cfg(feature = "rpmalloc")]
use super::rpmalloc;
#[cfg(feature = "scudo")]
use super::scudo;
#[cfg(feature = "snmalloc")]
use super::snmalloc;
#[cfg(feature = "tcmalloc")]
use super::tcmalloc;
use super::{
    buddy, bump, dlmalloc, embedded, freelist, injected, library, linked_list, malloc, null,
    pymalloc, python, talc, tlsf,
};
use crate::spec::nearest;

/// Every backend.
pub const BACKENDS: &[Member] = &[
    malloc::MEMBER,
    pymalloc::MEMBER,
    freelist::MEMBER,
    python::MEMBER,
    #[cfg(feature = "mimalloc")]
    mimalloc::MEMBER,
    #[cfg(feature = "jemalloc")]
    jemalloc::MEMBER,
    #[cfg(feature = "snmalloc")]
    snmalloc::MEMBER,
    #[cfg(feature = "rpmalloc")]
    rpmalloc::MEMBER,
    #[cfg(feature = "scudo")]
    scudo::MEMBER,
    #[cfg(feature = "tcmalloc")]
    tcmalloc::MEMBER,
    dlmalloc::MEMBER,
    tlsf::MEMBER,
    talc::MEMBER,
    buddy::MEMBER,
    linked_list::MEMBER,
    library::SO_MEMBER,
    library::PRELOAD_MEMBER,
    injected::MEMBER,
    bump::MEMBER,
    null::MEMBER,
];

/// Every backend, with those that the program around heaplay has registered.
pub(super) fn all() -> impl Iterator<Item = &'static Member> {
    BACKENDS.iter().chain(embedded::members())
}

/// The entry of that name.
///
/// # Errors
/// [`BackendError::Unknown`] or [`BackendError::NotBuilt`] when the list has none.
pub(super) fn member(name: &str) -> Result<&'static Member, BackendError> {
    let listed = BACKENDS.iter().find(|member| member.name == name);
    listed.or_else(|| embedded::member(name)).ok_or_else(|| match is_optional(name) {
        true => BackendError::NotBuilt { name: name.to_owned() },
        false if is_path(name) => {
            BackendError::Path { path: name.to_owned(), exists: Path::new(name).exists() }
        }
        false => BackendError::Unknown {
            name: name.to_owned(),
            nearest: nearest(name, all().map(|member| member.name)).map(str::to_owned),
        },
    })
}

/// Whether a name is that of a file: no backend's has a slash, or ends as a shared library's does.
fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".so") || name.contains(".so.")
}

/// Whether a build may leave out the backend of that name.
pub(super) fn is_optional(name: &str) -> bool {
    OPTIONAL.iter().any(|optional| optional.name == name)
}
