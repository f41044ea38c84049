//! The name of a backend, parsed once: [`BackendSpec`].
//!
//! The measuring side (`backends`, `bench`, `cli`) and the reading side (`results`, `report`,
//! `check`) share this module. It imports nothing of the crate and knows no list of backends:
//! only `backends` knows whether a backend of that name exists.
//!
//! # Grammar
//!
//! ```text
//! spec     = layer ["+" spec]                   an ordinary layer, and the layers below it
//!          | ("so" | "preload") ":" path [tail] a library; always the lowest layer
//!          | name "@" path [":" settings]       a version with a "/" is a path; also the lowest
//! layer    = name ["@" version] [":" settings]
//! settings = key "=" value {"," key "=" value}
//! tail     = [":" prefix] [":" VARIABLE "=" value {"," …}]   a prefix only for "so"
//! ```
//!
//! A name has none of the characters `@ : + , =`. A version and a setting of an ordinary layer end
//! at the first `+`, so that the values there have no `+`.
//!
//! A path may contain `+`, `:`, `@`, `=` and `,`:
//!
//! - No library and no interpreter takes a lower layer, so a `+` after the start of a path never
//!   separates layers: `so:/opt/c++/lib.so+below` is a library in a file named `lib.so+below`.
//! - A path ends at the first `:` that a complete tail follows: a prefix (a C identifier) or
//!   settings (`NAME=…`), up to the end of the text. So `preload:/a:b/lib.so` is one path, and
//!   `so:/a:b/lib.so:mi_` has the prefix `mi_`.
//! - Where that rule ends a path too early, `\:` stands for a colon of the path and `\\` for a
//!   backslash: `so:/a\:b` is a file named `a:b`.
//!
//! In the settings behind a path, a part without `NAME=` belongs to the value before it
//! (`MALLOC_CONF=dirty_decay_ms:0,narenas:1` is one variable).
//!
//! ```
//! use heaplay::spec::BackendSpec;
//!
//! let spec: BackendSpec = "pymalloc@3.11:arena=1MiB+so:/opt/c++/libx.so:x_".parse()?;
//! assert_eq!((spec.name(), spec.version()), ("pymalloc", Some("3.11")));
//! assert_eq!(spec.setting("arena"), Some("1MiB"));
//! let below = spec.below().expect("there is a layer below");
//! assert_eq!((below.path(), below.prefix()), (Some("/opt/c++/libx.so"), Some("x_")));
//! assert_eq!(spec.label(), "pymalloc@3.11:arena=1MiB+so:libx");
//! # Ok::<(), heaplay::spec::SpecError>(())
//! ```

mod backend_spec;
mod error;
mod labels;
mod layer;
mod list;
mod preload;
mod suggestion;

pub use backend_spec::{BOUND, BackendSpec, FLOOR};
pub use error::SpecError;
pub use labels::labels;
pub use layer::{PRELOAD, SO};
pub use list::split_list;
pub use preload::preloaded_library;
pub use suggestion::{did_you_mean, nearest};
