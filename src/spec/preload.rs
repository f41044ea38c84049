//! Libraries by which a program gets an allocator that is compiled into heaplay.

const LIBRARIES: [(&str, &str); 3] = [
    ("jemalloc", "libjemalloc.so.2"),
    ("mimalloc", "libmimalloc.so.2"),
    ("tcmalloc", "libtcmalloc_minimal.so.4"),
];

/// The library to preload for the allocator of that name; `None` for one without a library.
pub fn preloaded_library(name: &str) -> Option<&'static str> {
    LIBRARIES.iter().find(|(known, _)| *known == name).map(|(_, library)| *library)
}
