//! The environment of children: empty but for what allocators read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::backends;
use crate::environment::{
    GLIBC_TUNABLES, LD_LIBRARY_PATH, LD_PRELOAD, MALLOC_VARIABLES, MIMALLOC_VARIABLES,
    RJEM_MALLOC_CONF,
};

/// Whether an allocator reads the variable. Children have no other variable of the caller's but
/// [`LD_LIBRARY_PATH`], so that their memory does not depend on who calls. They have no `LD_PRELOAD`
/// either: it would put another allocator under every backend, and the harness's own pages would
/// count as the backend's. `preload:PATH` brings a library in where that is wanted.
fn is_read_by_allocators(name: &str) -> bool {
    let has_prefix = |known: &str| name.starts_with(known.trim_end_matches('*'));
    name == GLIBC_TUNABLES
        || [MALLOC_VARIABLES, MIMALLOC_VARIABLES, RJEM_MALLOC_CONF].into_iter().any(has_prefix)
}

/// The variables of this process that reach every child and may change what it measures, by name:
/// part of where a run was made. [`LD_LIBRARY_PATH`] changes no allocator, whose version says which
/// library was found, and it holds paths of one machine. So it reaches children and is no such part.
pub(super) fn passed_on() -> BTreeMap<OsString, OsString> {
    std::env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(is_read_by_allocators))
        .collect()
}

/// The environment of a child for `backend`: what is passed on, and over it what the spec wants.
/// Tunables of both are joined.
///
/// # Errors
/// When the spec names no backend.
pub(super) fn environment(backend: &str) -> std::io::Result<BTreeMap<OsString, OsString>> {
    let mut all = passed_on();
    all.extend(std::env::var_os(LD_LIBRARY_PATH).map(|paths| (LD_LIBRARY_PATH.into(), paths)));
    let own = backends::parse(backend).and_then(|spec| backends::environment(&spec));
    for (name, value) in own.map_err(std::io::Error::other)? {
        let is_joined = [GLIBC_TUNABLES, LD_PRELOAD].contains(&name.as_str());
        match all.get_mut(OsStr::new(&name)) {
            Some(present) if is_joined && !present.is_empty() => {
                present.push(":");
                present.push(value);
            }
            _ => {
                all.insert(name.into(), value);
            }
        }
    }
    Ok(all)
}
