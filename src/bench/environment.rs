//! The environment of children: empty but for what allocators read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::backends;

/// Variables that allocators read; but for [`LIBRARY_PATH`] all others are kept from the child, so
/// that its memory does not depend on who calls. Not `LD_PRELOAD`: it would put another allocator
/// under every backend, and take the harness's own pages for the backend's (`preload:PATH` brings a
/// library in where that is wanted).
fn passes_on(name: &str) -> bool {
    name == "GLIBC_TUNABLES"
        || name.starts_with("MALLOC_")
        || name.starts_with("MIMALLOC_")
        || name.starts_with("_RJEM_MALLOC_CONF")
}

/// Where the dynamic loader looks for libraries. A child may need it to start, or to find a `so:`;
/// but it changes no allocator (which one was found, its version tells), and holds paths of one
/// machine. So it is no part of where a run was made.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// The variables of this process that reach every child and may change what it measures, by name:
/// part of where a run was made.
pub(super) fn passed_on() -> BTreeMap<OsString, OsString> {
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passes_on)).collect()
}

/// The child's environment: what passes on, and over it what the backend's word asks for. Tunables
/// of both are joined.
pub(super) fn environment(backend: &str) -> std::io::Result<BTreeMap<OsString, OsString>> {
    let mut all = passed_on();
    all.extend(std::env::var_os(LIBRARY_PATH).map(|paths| (LIBRARY_PATH.into(), paths)));
    let asked = backends::parse(backend).and_then(|spec| backends::environment(&spec));
    let asked = asked.map_err(std::io::Error::other)?;
    for (name, value) in asked {
        let joined = ["GLIBC_TUNABLES", "LD_PRELOAD"].contains(&name.as_str());
        match all.get_mut(OsStr::new(&name)) {
            Some(present) if joined && !present.is_empty() => {
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
