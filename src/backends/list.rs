//! The list of backends, and what is made of a spec: [`parse`] reads it, [`open`] makes the backend,
//! [`describe`] prints what it is. Layers are opened from the lowest up, so that no backend imports
//! another.

use super::allocator::{BackendError, Environment, Member, Opened, Setting};
#[cfg(feature = "jemalloc")]
use super::jemalloc;
#[cfg(feature = "mimalloc")]
use super::mimalloc;
#[cfg(feature = "rpmalloc")]
use super::rpmalloc;
#[cfg(feature = "scudo")]
use super::scudo;
#[cfg(feature = "snmalloc")]
use super::snmalloc;
use super::spec_checks::SpecChecks;
#[cfg(feature = "tcmalloc")]
use super::tcmalloc;
use super::{
    buddy, bump, dlmalloc, embedded, freelist, injected, library, linked_list, malloc, null,
    pymalloc, python, talc, tlsf,
};
use crate::spec::{BackendSpec, split_list};

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
    library::SO,
    library::PRELOAD,
    injected::MEMBER,
    bump::MEMBER,
    null::MEMBER,
];

/// Members that a build may leave out, by the name of their feature.
const OPTIONAL: [&str; 6] = ["jemalloc", "mimalloc", "rpmalloc", "scudo", "snmalloc", "tcmalloc"];

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
    let is_known = |name: &str| OPTIONAL.contains(&name) || all().any(|member| member.name == name);
    split_list(text, &is_known).into_iter().map(parse).collect()
}

/// Every backend, with those that the program around heaplay has registered.
fn all() -> impl Iterator<Item = &'static Member> {
    BACKENDS.iter().chain(embedded::members())
}

fn member(name: &str) -> Result<&'static Member, BackendError> {
    let listed = BACKENDS.iter().find(|member| member.name == name);
    listed.or_else(|| embedded::member(name)).ok_or_else(|| match OPTIONAL.contains(&name) {
        true => BackendError::NotBuilt { name: name.to_owned() },
        false => BackendError::Unknown { name: name.to_owned(), nearest: nearest(name) },
    })
}

/// The known name that looks most like `name`, when one is close.
fn nearest(name: &str) -> Option<String> {
    let likeness = |member: &Member| (strsim::jaro_winkler(name, member.name), member.name);
    let best = all().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then(|| best.1.to_owned())
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
/// [`BackendError::Refused`] for a version, setting or lower layer that a backend does not take, and
/// [`BackendError::Unavailable`] when it cannot be had on this machine.
pub fn open(spec: &BackendSpec) -> Opened {
    let below = below(spec)?.map(|below| open(&below)).transpose()?;
    if below.as_ref().is_some_and(|below| !below.backs_memory()) {
        return Err(spec.refused("needs a lower layer that gives memory".to_owned()));
    }
    (member(spec.name())?.open)(spec, below)
}

/// What the environment of a child has to hold for the backend, all its layers.
///
/// # Errors
/// [`BackendError::Unavailable`] when it cannot be had on this machine, which is known before a
/// child is started.
pub fn environment(spec: &BackendSpec) -> Environment {
    let mut all = (member(spec.name())?.environment)(spec)?;
    if let Some(below) = below(spec)? {
        all.extend(environment(&below)?);
    }
    Ok(all)
}

/// The spec with unused memory returned immediately, and with it never returned, where its allocator
/// returns memory after a delay in wall time and the spec does not set that delay. Any pace of a
/// replay lies between the two. `None` where no layer has such a delay, or every one is set.
pub fn bounds(spec: &BackendSpec) -> Option<[BackendSpec; 2]> {
    fn bounded(spec: &BackendSpec, which: usize) -> Option<BackendSpec> {
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

/// What the backend is, layer by layer from the top: constants, settings with their values, rules.
///
/// # Errors
/// As [`open`], but nothing is opened.
pub fn describe(spec: &BackendSpec) -> Result<String, BackendError> {
    let member = member(spec.name())?;
    let mut own = (member.details)(spec)?;
    if !member.settings.is_empty() {
        own.push_str(&format!("settings ({}:NAME=VALUE,…):\n", member.name));
        let width = member.settings.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
        for Setting { name, default, meaning, .. } in member.settings {
            own.push_str(&format!("  {name:width$}  {meaning} [{default}]\n"));
        }
    }
    match below(spec)? {
        Some(below) => Ok(own + &describe(&below)?),
        None => Ok(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(feature = "jemalloc", feature = "mimalloc"))]
    fn what_goes_by_the_clock_has_two_bounds() {
        let of = |word: &str| {
            bounds(&word.parse().unwrap()).map(|[at_once, never]| format!("{at_once} {never}"))
        };
        assert_eq!(of("mimalloc").unwrap(), "mimalloc:purge_delay=0 mimalloc:purge_delay=-1");
        assert_eq!(
            of("pymalloc+jemalloc:narenas=1,muzzy_decay_ms=3").unwrap(),
            "pymalloc+jemalloc:narenas=1,muzzy_decay_ms=3,dirty_decay_ms=0 \
             pymalloc+jemalloc:narenas=1,muzzy_decay_ms=3,dirty_decay_ms=-1"
        );
        for word in
            ["malloc", "mimalloc:purge_delay=7", "pymalloc@3.9+bump", "so:/x.so", "nonsense"]
        {
            assert_eq!(of(word), None, "{word}");
        }
    }

    #[test]
    fn faulty_words_say_what_is_wrong() {
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
        assert!(message("pymalloc@2.7").contains("3.14"));
    }

    #[test]
    fn every_member_opens_and_describes_itself() {
        for member in BACKENDS {
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
