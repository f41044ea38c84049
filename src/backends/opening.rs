//! From a spec to a backend: [`parse`] reads the spec, [`open`] makes the backend, [`describe`]
//! prints it. Layers are opened from the lowest up, so that no backend imports another.

use super::error::BackendError;
use super::library::delay_ends;
use super::list::{all, is_optional, member};
use super::member::{ChildEnvironment, Opened};
use super::setting::Setting;
use super::spec_checks::SpecChecks;
use crate::spec::{BackendSpec, split_list};

/// Reads a spec, the layers below included, whose backends are all in the list.
///
/// # Errors
/// [`BackendError::Malformed`] when it is not of the form, [`BackendError::Unknown`] or
/// [`BackendError::NotBuilt`] when no backend has that name.
pub fn parse(text: &str) -> Result<BackendSpec, BackendError> {
    let spec: BackendSpec = text.parse()?;
    for layer in spec.layers() {
        member(layer.name())?;
    }
    Ok(spec)
}

/// Reads several specs, separated by commas: see [`split_list`].
///
/// # Errors
/// As [`parse`], for the first that is none.
pub fn parse_list(text: &str) -> Result<Vec<BackendSpec>, BackendError> {
    let is_known = |name: &str| is_optional(name) || all().any(|member| member.name == name);
    split_list(text, &is_known).into_iter().map(parse).collect()
}

/// The layer below: the one that is written, else the backend's own default, else none.
fn below(spec: &BackendSpec) -> Result<Option<BackendSpec>, BackendError> {
    match (member(spec.name())?.below, spec.below()) {
        (None, Some(below)) => {
            Err(spec.refused(format!("takes no lower layer, so not `+{below}`")))
        }
        (None, None) => Ok(None),
        (Some(_), Some(below)) => Ok(Some(below.clone())),
        (Some(name), None) => parse(name).map(Some),
    }
}

/// Makes the backend, its lower layers first.
///
/// # Errors
/// [`BackendError::Refused`] for a version, setting or lower layer that a backend does not take,
/// and [`BackendError::Unavailable`] when it cannot be used on this machine.
pub fn open(spec: &BackendSpec) -> Opened {
    let below = below(spec)?.map(|below| open(&below)).transpose()?;
    if below.as_ref().is_some_and(|below| !below.backs_memory()) {
        return Err(spec.refused("needs a lower layer that gives memory".to_owned()));
    }
    (member(spec.name())?.open)(spec, below)
}

/// The environment variables that a child needs for the backend, with all its layers.
///
/// # Errors
/// [`BackendError::Unavailable`] when the backend cannot be used on this machine; the parent knows
/// that before it starts a child.
pub fn environment(spec: &BackendSpec) -> ChildEnvironment {
    let mut all = (member(spec.name())?.environment)(spec)?;
    if let Some(below) = below(spec)? {
        all.extend(environment(&below)?);
    }
    Ok(all)
}

/// The two ends of an allocator that returns unused memory after a delay in wall time: the spec with
/// memory returned immediately, and with memory never returned. Any pace of a replay lies between
/// the two. `None` where no layer has such a delay, or the spec sets every one.
pub fn bounds(spec: &BackendSpec) -> Option<[BackendSpec; 2]> {
    fn bounded(spec: &BackendSpec, which: usize) -> Option<BackendSpec> {
        if spec.is_library() {
            return delay_ends(spec).map(|ends| ends[which].clone());
        }
        let mut own = spec.clone();
        for known in member(spec.name()).ok()?.settings {
            if let Some(bounds) = known.bounds
                && spec.setting(known.name).is_none()
            {
                own = own.with_setting(known.name, bounds[which]).ok()?;
            }
        }
        match spec.below().and_then(|below| bounded(below, which)) {
            Some(below) => own.on(&below).ok(),
            None => (own != *spec).then_some(own),
        }
    }
    Some([bounded(spec, 0)?, bounded(spec, 1)?])
}

/// The settings of a spec, with its layers, that change something only in a program of several
/// threads, by name.
pub fn settings_for_threads(spec: &BackendSpec) -> Vec<&'static str> {
    let of_layer = |layer: &BackendSpec| -> Vec<&'static str> {
        let known = member(layer.name()).map_or(&[][..], |member| member.settings);
        let set = known.iter().filter(|known| layer.setting(known.name).is_some());
        set.filter(|known| known.needs_threads).map(|known| known.name).collect()
    };
    spec.layers().flat_map(of_layer).collect()
}

/// The backend as text, layer by layer from the top: constants, rules, settings.
///
/// # Errors
/// As [`open`], but nothing is opened.
pub fn describe(spec: &BackendSpec) -> Result<String, BackendError> {
    let member = member(spec.name())?;
    let mut text = (member.details)(spec)?;
    if !member.settings.is_empty() {
        let source = member.settings_read_from.map_or_else(String::new, |source| {
            format!(", which the allocator reads from {source}")
        });
        text.push_str(&format!("settings ({}:NAME=VALUE,…){source}:\n", member.name));
        let width = member.settings.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
        for Setting { name, values, default, meaning, .. } in member.settings {
            text.push_str(&format!("  {name:width$}  {meaning}: {values} [{default}]\n"));
        }
    }
    match below(spec)? {
        Some(below) => Ok(format!("{text}on the layer below:\n{}", describe(&below)?)),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(feature = "jemalloc", feature = "mimalloc"))]
    fn a_delay_in_wall_time_has_two_bounds() {
        let of = |text: &str| {
            bounds(&text.parse().unwrap())
                .map(|[immediately, never]| format!("{immediately} {never}"))
        };
        assert_eq!(of("mimalloc").unwrap(), "mimalloc:purge_delay=0 mimalloc:purge_delay=-1");
        assert_eq!(
            of("pymalloc+jemalloc:narenas=1,muzzy_decay_ms=3").unwrap(),
            "pymalloc+jemalloc:narenas=1,muzzy_decay_ms=3,dirty_decay_ms=0 \
             pymalloc+jemalloc:narenas=1,muzzy_decay_ms=3,dirty_decay_ms=-1"
        );
        for text in
            ["malloc", "mimalloc:purge_delay=7", "pymalloc@3.9+bump", "so:/x.so", "nonsense"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_faulty_spec_is_refused_with_its_reason() {
        for text in ["", "malloc:x", "pymalloc+"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, BackendError::Malformed(_)), "{text}: {error}");
        }
        let message =
            |text: &str| parse(text).and_then(|spec| open(&spec)).err().unwrap().to_string();
        assert!(message("pymaloc").contains("did you mean `pymalloc`?"));
        assert!(!message("zzz").contains("did you mean"));
        assert!(message("malloc@2").contains("has no versions"));
        assert!(message("python@/no/such/libpython3.so").contains("no such file"));
        assert!(message("pymalloc:bases=x").contains("misaligned"));
        assert!(message("malloc:x=1").contains("no setting `x`"));
        assert!(message("bump+malloc").contains("takes no lower layer"));
        assert!(message("bump:size=1").contains("it takes reserve"));
        assert!(message("pymalloc+null").contains("gives memory"));
        assert!(message("pymalloc@2.7").contains("3.15"));
    }

    #[test]
    fn every_member_opens_and_describes_itself() {
        for member in crate::backends::BACKENDS {
            let spec = parse(member.name).unwrap();
            if spec.is_library() {
                assert!(open(&spec).err().unwrap().to_string().contains("path"));
            } else if member.name != "python" {
                // An interpreter is not on every machine, and wants a process of its own.
                assert!(!open(&spec).unwrap().version().is_empty());
            }
            assert!(describe(&spec).unwrap().starts_with(member.name));
        }
    }
}
