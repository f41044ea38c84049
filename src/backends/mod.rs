//! What is measured. `allocator.rs` is the contract, each backend is a file, this
//! is the list.
//!
//! A backend is written as one word, `name[@version][:key=value,…][+below]`: [`parse`] reads it,
//! [`open`] makes it, [`describe`] tells what it is. Layers are opened from the lowest up, so that
//! no member knows another.

mod allocator;
pub mod arenas;
mod buddy;
mod bump;
mod calls;
mod dlmalloc;
pub mod freelist;
mod injected;
#[cfg(feature = "jemalloc")]
mod jemalloc;
mod library;
mod linked_list;
mod malloc;
#[cfg(feature = "mimalloc")]
mod mimalloc;
mod null;
pub mod pages;
pub mod pymalloc;
mod python;
mod region;
#[cfg(feature = "rpmalloc")]
mod rpmalloc;
#[cfg(feature = "scudo")]
mod scudo;
#[cfg(feature = "snmalloc")]
mod snmalloc;
mod talc;
#[cfg(feature = "tcmalloc")]
mod tcmalloc;
mod tlsf;

pub use allocator::{
    Allocator, Backend, BackendError, Counter, Domains, Environment, Member, Opened, Setting, Spec,
    Trim, Varies, parse_bytes,
};

pub use python::{Printed, read_print};

/// The C library of this process, as it reports itself.
pub fn libc_version() -> String {
    malloc::version()
}

/// Asks the C library of this process to give back what it can.
fn libc_trim() -> Trim {
    malloc::trim()
}

/// Empties the cache that it keeps for the calling thread: see [`Backend::drain`].
fn libc_flush() -> Trim {
    malloc::drain()
}

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

/// Reads a backend's word, the layers below included.
///
/// # Errors
/// [`BackendError::Malformed`] when it is not of the form, [`BackendError::Unknown`] when no member
/// has that name.
pub fn parse(text: &str) -> Result<Spec, BackendError> {
    let malformed = |reason: String| BackendError::Malformed { text: text.to_owned(), reason };
    if let Some((name, rest)) = text.split_once(':')
        && BY_PATH.contains(&name)
    {
        let settings = parse_path(rest).map_err(malformed)?;
        return Ok(Spec {
            text: text.to_owned(),
            name: name.to_owned(),
            version: None,
            settings,
            below: None,
        });
    }
    let (own, below) = match text.split_once('+') {
        Some((own, below)) => (own, Some(Box::new(parse(below)?))),
        None => (text, None),
    };
    let (head, settings) = match own.split_once(':') {
        Some((head, settings)) => (head, parse_settings(settings).map_err(malformed)?),
        None => (own, Vec::new()),
    };
    let (name, version) = match head.split_once('@') {
        Some((_, "")) => return Err(malformed("no version stands after `@`".to_owned())),
        Some((name, version)) => (name, Some(version.to_owned())),
        None => (head, None),
    };
    if name.is_empty() {
        return Err(malformed("a name is missing".to_owned()));
    }
    member(name)?;
    Ok(Spec { text: text.to_owned(), name: name.to_owned(), version, settings, below })
}

/// Members whose word holds a path, in which `+`, `@` and `=` mean nothing.
const BY_PATH: [&str; 2] = [library::SO.name, library::PRELOAD.name];

/// `PATH[:PREFIX][:NAME=VALUE,…]`: the path ends at the first colon; a part without `=` behind a
/// comma belongs to the value before it (`MALLOC_CONF=dirty_decay_ms:0,narenas:1`).
fn parse_path(text: &str) -> Result<Vec<(String, String)>, String> {
    let (path, rest) = text.split_once(':').unwrap_or((text, ""));
    if path.is_empty() {
        return Err("a path is missing after the colon".to_owned());
    }
    let mut settings = vec![("path".to_owned(), path.to_owned())];
    let (head, tail) = rest.split_once(':').unwrap_or((rest, ""));
    let variables = match head {
        "" => tail,
        head if head.contains('=') => rest,
        prefix => {
            settings.push(("prefix".to_owned(), prefix.to_owned()));
            tail
        }
    };
    for part in variables.split(',').filter(|part| !part.is_empty()) {
        match (part.split_once('='), settings.last_mut()) {
            (Some((key, value)), _) => settings.push((key.to_owned(), value.to_owned())),
            (None, Some((key, value))) if key != "path" && key != "prefix" => {
                value.push(',');
                value.push_str(part);
            }
            _ => return Err(format!("`{part}` is no setting")),
        }
    }
    Ok(settings)
}

fn parse_settings(text: &str) -> Result<Vec<(String, String)>, String> {
    let setting = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(format!("`{pair}` is no setting")),
    };
    text.split(',').map(setting).collect()
}

fn member(name: &str) -> Result<&'static Member, BackendError> {
    BACKENDS.iter().find(|member| member.name == name).ok_or_else(|| {
        match OPTIONAL.contains(&name) {
            true => BackendError::NotBuilt { name: name.to_owned() },
            false => BackendError::Unknown { name: name.to_owned(), nearest: nearest(name) },
        }
    })
}

/// The known name that looks most like `name`, when one is close.
fn nearest(name: &str) -> Option<String> {
    let likeness = |member: &Member| (strsim::jaro_winkler(name, member.name), member.name);
    let best = BACKENDS.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then(|| best.1.to_owned())
}

/// The layer below: the one that is written, else the member's own default, else none.
fn below(spec: &Spec) -> Result<Option<Spec>, BackendError> {
    match (member(&spec.name)?.below, &spec.below) {
        (None, Some(below)) => {
            Err(spec.refused(format!("takes no lower layer, so not `+{}`", below.text)))
        }
        (None, None) => Ok(None),
        (Some(_), Some(below)) => Ok(Some((**below).clone())),
        (Some(name), None) => parse(name).map(Some),
    }
}

/// Makes the backend, its lower layers first.
///
/// # Errors
/// [`BackendError::Refused`] for a version, setting or lower layer that a member does not take, and
/// [`BackendError::Unavailable`] when it cannot be had on this machine.
pub fn open(spec: &Spec) -> Opened {
    let below = below(spec)?.map(|below| open(&below)).transpose()?;
    if below.as_ref().is_some_and(|below| !below.backs_memory()) {
        return Err(spec.refused("needs a lower layer that gives memory".to_owned()));
    }
    (member(&spec.name)?.open)(spec, below)
}

/// What the environment of a child has to hold for the backend, all its layers.
///
/// # Errors
/// [`BackendError::Unavailable`] when it cannot be had on this machine, which is known before a
/// child is started.
pub fn environment(spec: &Spec) -> Environment {
    let mut all = (member(&spec.name)?.environment)(spec)?;
    if let Some(below) = below(spec)? {
        all.extend(environment(&below)?);
    }
    Ok(all)
}

/// The backend's word with one more setting of its topmost layer.
///
/// # Errors
/// As [`parse`].
pub fn with_setting(word: &str, key: &str, value: &str) -> Result<String, BackendError> {
    let spec = parse(word)?;
    let (own, below) = word.split_once('+').map_or((word, None), |(own, below)| (own, Some(below)));
    let mark = if spec.settings.is_empty() { ':' } else { ',' };
    let text = format!("{own}{mark}{key}={value}");
    Ok(below.map_or(text.clone(), |below| format!("{text}+{below}")))
}

/// The word with memory given back at once, and never, where its allocator does so by the clock and
/// the word does not say how: the two ends between which any pace of a replay lies. `None` where
/// the clock has no say, or no setting changes it.
pub fn bounds(word: &str) -> Option<[String; 2]> {
    fn bounded(spec: &Spec, which: usize) -> Option<String> {
        let own = spec.text.split('+').next().unwrap_or_default();
        let delays = member(&spec.name)
            .ok()?
            .settings
            .iter()
            .filter(|known| spec.setting(known.name).is_none());
        let added: Vec<String> = delays
            .filter_map(|known| Some(format!("{}={}", known.name, known.bounds?[which])))
            .collect();
        let below = spec.below.as_ref().and_then(|below| bounded(below, which));
        if added.is_empty() && below.is_none() {
            return None;
        }
        let mut text = own.to_owned();
        if !added.is_empty() {
            text.push(if spec.settings.is_empty() { ':' } else { ',' });
            text.push_str(&added.join(","));
        }
        let below = below.or_else(|| spec.below.as_ref().map(|below| below.text.clone()));
        Some(below.map_or(text.clone(), |below| format!("{text}+{below}")))
    }
    let spec = parse(word).ok().filter(|spec| !BY_PATH.contains(&spec.name.as_str()))?;
    Some([bounded(&spec, 0)?, bounded(&spec, 1)?])
}

/// What the backend is, layer by layer from the top: constants, settings with their values, rules.
///
/// # Errors
/// As [`open`], but nothing is opened.
pub fn describe(spec: &Spec) -> Result<String, BackendError> {
    let member = member(&spec.name)?;
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
    fn a_word_is_read_in_parts() {
        let spec = parse("pymalloc@3.11:a=1,b=2KiB+bump:reserve=1GiB").unwrap();
        assert_eq!((spec.name.as_str(), spec.version.as_deref()), ("pymalloc", Some("3.11")));
        assert_eq!((spec.setting("b"), spec.setting("c")), (Some("2KiB"), None));
        let below = spec.below.unwrap();
        assert_eq!((below.name.as_str(), below.setting("reserve")), ("bump", Some("1GiB")));
    }

    #[test]
    #[cfg(all(feature = "jemalloc", feature = "mimalloc"))]
    fn what_goes_by_the_clock_has_two_bounds() {
        let of = |word: &str| bounds(word).map(|[at_once, never]| format!("{at_once} {never}"));
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
    fn a_word_with_a_path_is_read_in_parts() {
        let read = |text: &str| parse(text).unwrap().settings;
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(read("so:/a+b@c/x.so"), pairs(&[("path", "/a+b@c/x.so")]));
        assert_eq!(read("so:x.so:mi_"), pairs(&[("path", "x.so"), ("prefix", "mi_")]));
        assert_eq!(
            read("so:x.so:je_:MALLOC_CONF=a:0,b:1,C=2"),
            pairs(&[("path", "x.so"), ("prefix", "je_"), ("MALLOC_CONF", "a:0,b:1"), ("C", "2")])
        );
        assert_eq!(read("preload:x.so:A=1"), pairs(&[("path", "x.so"), ("A", "1")]));
        assert_eq!(parse("pymalloc+so:x.so:mi_").unwrap().below.unwrap().name, "so");
        assert!(parse("so:").is_err() && parse("so:x:mi_:y").is_err());
    }

    #[test]
    fn faulty_words_say_what_is_wrong() {
        for text in [
            "",
            "@3",
            "malloc@",
            "malloc:",
            "malloc:x",
            "malloc:=1",
            "malloc:x=",
            "malloc+",
            "+malloc",
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, BackendError::Malformed { .. }), "{text}: {error}");
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
            if BY_PATH.contains(&member.name) {
                assert!(open(&spec).err().unwrap().to_string().contains("path"));
            } else if member.name != "python" {
                // An interpreter is not on every machine, and wants a process of its own.
                assert!(!open(&spec).unwrap().version().is_empty());
            }
            assert!(describe(&spec).unwrap().starts_with(member.name));
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("256KiB"), Some(256 << 10));
        assert_eq!(parse_bytes("64GiB"), Some(64 << 30));
        assert_eq!(parse_bytes("17"), Some(17));
        for text in ["", "KiB", "1kb", "-1", "1.5MiB", "99999999999TiB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
