//! Libraries by which a program gets an allocator.

use super::BackendSpec;

/// Those of the allocators that are compiled into heaplay.
const LIBRARIES: [(&str, &str); 3] = [
    ("jemalloc", "libjemalloc.so.2"),
    ("mimalloc", "libmimalloc.so.2"),
    ("tcmalloc", "libtcmalloc_minimal.so.4"),
];

/// No library gives a program the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLibrary;

/// The library to preload for a layer of a backend, a path or a name that the dynamic linker finds; none
/// for the C library's malloc.
///
/// # Errors
/// When there is no such library.
pub fn preloaded_library(layer: &BackendSpec) -> Result<Option<&str>, NoLibrary> {
    match (layer.name(), layer.path()) {
        (_, Some(path)) => Ok(Some(path)),
        ("malloc", None) => Ok(None),
        (name, None) => {
            let known = LIBRARIES.iter().find(|(known, _)| *known == name);
            known.map(|(_, library)| Some(*library)).ok_or(NoLibrary)
        }
    }
}
