//! The backends that a build may leave out, as data: each is compiled in with the feature of its
//! name. Their settings are here, so that a reference lists them in every build.

use super::backend::Backend;
use super::error::BackendError;
use super::member::{ChildEnvironment, Member, Opened};
use super::setting::{Setting, delay, setting};
use crate::spec::BackendSpec;

/// What is known of a backend without its code.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptionalBackend {
    /// The backend's name, which is the feature's, too.
    pub name: &'static str,
    pub summary: &'static str,
    pub settings: &'static [Setting],
    pub settings_read_from: Option<&'static str>,
}

impl OptionalBackend {
    /// The entry of the list, for a build that has the backend's code.
    #[cfg_attr(
        not(any(
            feature = "jemalloc",
            feature = "mimalloc",
            feature = "rpmalloc",
            feature = "scudo",
            feature = "snmalloc",
            feature = "tcmalloc"
        )),
        expect(dead_code, reason = "only the compiled-in backends make their entry")
    )]
    pub const fn member(
        self,
        environment: fn(&BackendSpec) -> ChildEnvironment,
        details: fn(&BackendSpec) -> Result<String, BackendError>,
        open: fn(&BackendSpec, Option<Box<dyn Backend>>) -> Opened,
    ) -> Member {
        Member {
            name: self.name,
            summary: self.summary,
            below: None,
            settings: self.settings,
            settings_read_from: self.settings_read_from,
            environment,
            details,
            open,
        }
    }
}

/// All of them.
pub(super) const OPTIONAL: [OptionalBackend; 6] =
    [JEMALLOC, MIMALLOC, RPMALLOC, SCUDO, SNMALLOC, TCMALLOC];

pub(super) const JEMALLOC: OptionalBackend = OptionalBackend {
    name: "jemalloc",
    summary: "size classes in slabs, arenas, thread caches; free pages decay over 10 s",
    settings: &[
        delay("dirty_decay_ms", "10000", "time over which free dirty pages are returned"),
        delay("muzzy_decay_ms", "0", "time over which pages that are marked reusable are returned"),
        setting("narenas", "number", "4 for each processor", "arenas").for_threads(),
        setting(
            "background_thread",
            "true or false",
            "false",
            "purge in a thread of its own, not in calls",
        ),
        setting("retain", "true or false", "true", "reuse the address space of returned memory"),
        setting("tcache", "true or false", "true", "a cache of free blocks for each thread"),
        setting("tcache_max", "bytes", "32768", "largest block in that cache"),
        setting(
            "experimental_tcache_gc",
            "true or false",
            "true",
            "collect that cache after a delay as well as by bytes",
        ),
        setting("thp", "default, always or never", "default", "huge pages"),
        setting(
            "metadata_thp",
            "disabled, auto or always",
            "disabled",
            "huge pages for its own tables",
        ),
        setting(
            "oversize_threshold",
            "bytes",
            "8388608",
            "smallest block that gets an arena which purges immediately",
        ),
        setting(
            "lg_extent_max_active_fit",
            "number",
            "6",
            "log2 of the largest ratio of a reused extent to a request",
        ),
        setting("percpu_arena", "disabled, percpu or phycpu", "disabled", "arenas by processor")
            .for_threads(),
        setting("dss", "disabled, primary or secondary", "secondary", "memory from sbrk"),
    ],
    settings_read_from: Some("_RJEM_MALLOC_CONF, before the start"),
};

pub(super) const MIMALLOC: OptionalBackend = OptionalBackend {
    name: "mimalloc",
    summary: "Microsoft's: a free list for each 64 KiB page, purged after a delay",
    settings: &[
        delay("purge_delay", "10", "time after which free memory is purged"),
        setting(
            "purge_decommits",
            "0 or 1",
            "1",
            "1: purging returns pages; 0: it only marks them reusable (MADV_FREE)",
        ),
        setting(
            "arena_eager_commit",
            "0, 1 or 2",
            "2",
            "commit arenas whole: 1 yes, 0 no, 2 where the system overcommits",
        ),
        setting(
            "allow_large_os_pages",
            "0 or 1",
            "0",
            "1: use large pages of 2 or 4 MiB where there are any",
        ),
        setting(
            "generic_collect",
            "number of calls",
            "10000",
            "slow calls between two collections of the heap",
        ),
        setting(
            "page_full_retain",
            "number of pages",
            "2",
            "full pages that stay in a size class's list",
        ),
        setting(
            "page_max_candidates",
            "number of pages",
            "4",
            "pages that are compared to find the fullest one",
        ),
        setting("allow_thp", "0 or 1", "1", "0: switch transparent huge pages off for the process"),
    ],
    settings_read_from: Some("MIMALLOC_NAME in capitals, at the first call"),
};

pub(super) const RPMALLOC: OptionalBackend = OptionalBackend {
    name: "rpmalloc",
    summary: "spans of 64 KiB in caches by thread",
    settings: &[
        setting(
            "span_map_count",
            "number of spans",
            "64",
            "spans of 64 KiB for each mmap: more address space, fewer system calls",
        ),
        setting(
            "enable_huge_pages",
            "0 or 1",
            "0",
            "1: huge pages, reserved ones or else transparent ones",
        ),
    ],
    settings_read_from: Some("rpmalloc_config_t, at its initialisation"),
};

pub(super) const SCUDO: OptionalBackend = OptionalBackend {
    name: "scudo",
    summary: "LLVM's hardened allocator, sources of 2021; 16 more bytes a block hold its size",
    settings: &[
        setting(
            "quarantine_size_kb",
            "KiB",
            "0",
            "freed blocks that wait before they are reused; needs the next two settings as well",
        ),
        setting(
            "thread_local_quarantine_size_kb",
            "KiB",
            "0",
            "freed blocks that wait in a thread's own list first",
        ),
        setting("quarantine_max_chunk_size", "bytes", "0", "largest block that waits"),
        setting(
            "pattern_fill_contents",
            "true or false",
            "false",
            "true: fill every new block with 0xAB",
        ),
    ],
    settings_read_from: Some("SCUDO_OPTIONS, at the first call"),
};

pub(super) const SNMALLOC: OptionalBackend = OptionalBackend {
    name: "snmalloc",
    summary: "Microsoft's: slabs whose remote frees travel as messages",
    settings: &[],
    settings_read_from: None,
};

pub(super) const TCMALLOC: OptionalBackend = OptionalBackend {
    name: "tcmalloc",
    summary: "Google's: caches by processor, spans, a page heap that preserves huge pages",
    settings: &[
        setting("per_cpu", "true or false", "true", "caches by processor; false: by thread"),
        setting(
            "max_per_cpu_cache_size",
            "bytes, under 2G",
            "1536K",
            "capacity of a processor's cache",
        ),
        setting(
            "max_total_thread_cache_bytes",
            "bytes, under 2G",
            "32M",
            "capacity of all threads' caches together, where they are by thread",
        ),
        setting(
            "memory_limit",
            "bytes, under 2G",
            "none",
            "size from which on it returns memory at each growth",
        ),
        setting(
            "profile_sampling_interval",
            "bytes, under 2G; 0 none",
            "2M",
            "interval between two sampled requests",
        ),
    ],
    settings_read_from: Some("MallocExtension's setters, before the first request"),
};
