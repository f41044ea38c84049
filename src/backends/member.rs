//! An entry of the list of backends.

use std::ffi::OsString;

use super::backend::Backend;
use super::error::BackendError;
use super::setting::Setting;
use crate::spec::BackendSpec;

/// A backend that is ready, or why there is none.
pub type Opened = Result<Box<dyn Backend>, BackendError>;

/// Variables for a child's environment, or why the backend cannot be used.
pub type ChildEnvironment = Result<Vec<(String, OsString)>, BackendError>;

/// For backends that need nothing in the environment.
pub(super) fn no_environment(_spec: &BackendSpec) -> ChildEnvironment {
    Ok(Vec::new())
}

/// An entry of the list of backends.
pub struct Member {
    /// The name in a [`BackendSpec`].
    pub name: &'static str,
    /// One line for `heaplay backends`.
    pub summary: &'static str,
    /// The backend that is the layer below when a spec names none; `None` for backends without a
    /// layer below.
    pub below: Option<&'static str>,
    /// What may stand after `:`.
    pub settings: &'static [Setting],
    /// Where the allocator reads its settings, such as an environment variable; `None` where heaplay
    /// applies them itself, and for a backend without settings.
    pub settings_read_from: Option<&'static str>,
    /// What the environment of its child has to hold. The parent finds it out, because its memory
    /// is not measured.
    pub environment: fn(&BackendSpec) -> ChildEnvironment,
    /// What `heaplay backends NAME` prints of this layer before its settings: versions, constants,
    /// rules.
    pub details: fn(&BackendSpec) -> Result<String, BackendError>,
    /// Makes the backend, on the layer below where it takes one. Backends do not import each other:
    /// `list.rs` opens the layers from the lowest up.
    pub open: fn(&BackendSpec, Option<Box<dyn Backend>>) -> Opened,
}
