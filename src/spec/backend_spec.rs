//! The type for a backend's name. The grammar is in `mod.rs`.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::SpecError;
use super::layer::{Layer, PRELOAD, SO};

/// Name of the backend that does nothing: what the harness itself costs, the lower bound of every
/// time.
pub const FLOOR: &str = "null";
/// The name of the backend that takes nothing back.
pub const BOUND: &str = "bump";

/// A backend's name, parsed: an allocator with its settings and the layer below it. It prints as it
/// was written, and two are equal when their texts are.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendSpec {
    /// The whole text as written.
    text: String,
    /// The topmost layer.
    top: Layer,
    below: Option<Box<BackendSpec>>,
}

impl BackendSpec {
    /// The whole text: the backend's name in every table.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the topmost layer: which backend of the list it is.
    pub fn name(&self) -> &str {
        &self.top.name
    }

    /// The version of the topmost layer, after `@`.
    pub fn version(&self) -> Option<&str> {
        self.top.version.as_deref()
    }

    /// The path of the library (`so:`, `preload:`).
    pub fn path(&self) -> Option<&str> {
        self.top.path.as_deref()
    }

    /// The prefix of the library's functions (`so:PATH:PREFIX`).
    pub fn prefix(&self) -> Option<&str> {
        self.top.prefix.as_deref()
    }

    /// The settings of the topmost layer in their order: key and value.
    pub fn settings(&self) -> &[(String, String)] {
        &self.top.settings
    }

    /// The value of a setting; the last one counts where it was written twice.
    pub fn setting(&self, key: &str) -> Option<&str> {
        let last = self.top.settings.iter().rev().find(|(name, _)| name == key);
        last.map(|(_, value)| value.as_str())
    }

    /// The layers below the topmost one, where they are written.
    pub fn below(&self) -> Option<&BackendSpec> {
        self.below.as_deref()
    }

    /// This spec and each below it, from the top.
    pub fn layers(&self) -> impl Iterator<Item = &BackendSpec> {
        iter::successors(Some(self), |spec| spec.below())
    }

    /// Whether it is the backend that does nothing ([`FLOOR`]).
    pub fn is_floor(&self) -> bool {
        self.text == FLOOR
    }

    /// Whether it takes nothing back ([`BOUND`]): it shows what reuse costs and is worth.
    pub fn is_bound(&self) -> bool {
        self.name() == BOUND
    }

    /// Whether the topmost layer is a library that is named by its path.
    pub fn is_library(&self) -> bool {
        self.name() == SO || self.name() == PRELOAD
    }

    /// Whether the topmost layer is a library that the child is started with.
    pub fn is_preloaded(&self) -> bool {
        self.name() == PRELOAD
    }

    /// The allocator that it belongs to, whatever its version, settings and lower layers: its name,
    /// or what a library's file is named after (`jemalloc` for `so:/usr/lib/libjemalloc.so.2`).
    pub fn family(&self) -> &str {
        let Some(path) = self.path() else { return self.name() };
        let file = path.rsplit('/').next().unwrap_or(path);
        let file = file.strip_prefix("lib").unwrap_or(file);
        file.split(['.', '_', '-']).next().unwrap_or(file)
    }

    /// The spec with one more setting of its topmost layer.
    ///
    /// # Errors
    /// A key or a value that would be read back as something else, such as a value with a `+`.
    pub fn with_setting(&self, key: &str, value: &str) -> Result<BackendSpec, SpecError> {
        let mut top = self.top.clone();
        top.settings.push((key.to_owned(), value.to_owned()));
        let expected = "a setting that reads back";
        let wrong = |text: &str| SpecError::at(text, 0, &format!("{key}={value}"), expected);
        // The text before it stays as it was written; only the new setting is added.
        let own = self.own_text();
        let mark = if self.top.settings.is_empty() { ':' } else { ',' };
        let text = with_below(format!("{own}{mark}{key}={value}"), self.below());
        let spec: BackendSpec = text.parse().map_err(|_| wrong(&text))?;
        if spec.top == top && spec.below == self.below { Ok(spec) } else { Err(wrong(&text)) }
    }

    /// The spec without the settings of any layer; versions, paths and prefixes stay.
    pub fn without_settings(&self) -> BackendSpec {
        let top = Layer { settings: Vec::new(), ..self.top.clone() };
        let below = self.below().map(|below| Box::new(below.without_settings()));
        let text = with_below(top.to_string(), below.as_deref());
        BackendSpec { text, top, below }
    }

    /// The topmost layer on another one.
    ///
    /// # Errors
    /// A layer that takes everything after it as its path.
    pub fn on(&self, below: &BackendSpec) -> Result<BackendSpec, SpecError> {
        let text = with_below(self.own_text().to_owned(), Some(below));
        let spec: BackendSpec = text.parse()?;
        if spec.top == self.top && spec.below() == Some(below) {
            return Ok(spec);
        }
        Err(SpecError::at(&text, 0, self.own_text(), "a layer that takes another below it"))
    }

    /// A library by its path, escaped where it has to be.
    ///
    /// # Errors
    /// An empty path, or a family that is neither [`SO`] nor [`PRELOAD`].
    pub fn library(family: &str, path: &str) -> Result<BackendSpec, SpecError> {
        let top =
            Layer { name: family.to_owned(), path: Some(path.to_owned()), ..Layer::default() };
        let text = top.to_string();
        let spec: BackendSpec = text.parse()?;
        if spec.top == top {
            return Ok(spec);
        }
        Err(SpecError::at(&text, 0, family, "`so` or `preload`"))
    }

    /// The spec with another path of its library, which is in the lowest layer.
    ///
    /// # Errors
    /// A path that would be read back as something else.
    pub fn with_library_path(&self, path: &str) -> Result<BackendSpec, SpecError> {
        if let Some(below) = self.below() {
            return self.on(&below.with_library_path(path)?);
        }
        let top = Layer { path: Some(path.to_owned()), ..self.top.clone() };
        let text = top.to_string();
        let spec: BackendSpec = text.parse()?;
        if spec.top == top {
            return Ok(spec);
        }
        Err(SpecError::at(&text, 0, path, "the path of a library"))
    }

    /// The text of the topmost layer.
    fn own_text(&self) -> &str {
        let below = self.below().map_or(0, |below| below.text.len() + 1);
        &self.text[..self.text.len() - below]
    }
}

/// The text of a layer with what lies below it.
fn with_below(own: String, below: Option<&BackendSpec>) -> String {
    match below {
        Some(below) => format!("{own}+{below}"),
        None => own,
    }
}

impl FromStr for BackendSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<BackendSpec, SpecError> {
        // From the top down; each layer knows where the next begins.
        let mut layers = Vec::new();
        let mut start = Some(0);
        while let Some(at) = start {
            let (layer, next) = Layer::read(&text[at..]).map_err(|(byte, found, expected)| {
                SpecError::at(text, at + byte, &found, expected)
            })?;
            layers.push((at, layer));
            start = next.map(|next| at + next);
        }
        let below = |below, (at, top): (usize, Layer)| {
            Some(Box::new(BackendSpec { text: text[at..].to_owned(), top, below }))
        };
        let whole = layers.into_iter().rev().fold(None, below);
        whole.map(|spec| *spec).ok_or_else(|| SpecError::at(text, 0, text, "the name of a backend"))
    }
}

impl fmt::Display for BackendSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for BackendSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl TryFrom<String> for BackendSpec {
    type Error = SpecError;

    fn try_from(text: String) -> Result<BackendSpec, SpecError> {
        text.parse()
    }
}

impl From<BackendSpec> for String {
    fn from(spec: BackendSpec) -> String {
        spec.text
    }
}

impl AsRef<str> for BackendSpec {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// A map by spec is searched by text, too: equality, order and hash are those of the text.
impl Borrow<str> for BackendSpec {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl PartialEq for BackendSpec {
    fn eq(&self, other: &BackendSpec) -> bool {
        self.text == other.text
    }
}

impl Eq for BackendSpec {}

impl PartialEq<str> for BackendSpec {
    fn eq(&self, other: &str) -> bool {
        self.text == other
    }
}

impl PartialEq<&str> for BackendSpec {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl PartialOrd for BackendSpec {
    fn partial_cmp(&self, other: &BackendSpec) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BackendSpec {
    fn cmp(&self, other: &BackendSpec) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for BackendSpec {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(text: &str) -> BackendSpec {
        text.parse().unwrap()
    }

    fn pairs(spec: &BackendSpec) -> Vec<(&str, &str)> {
        spec.settings().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn a_spec_has_parts() {
        let top = spec("pymalloc@3.11:a=1,b=2KiB+bump:reserve=1GiB");
        assert_eq!((top.name(), top.version()), ("pymalloc", Some("3.11")));
        assert_eq!((top.setting("b"), top.setting("c")), (Some("2KiB"), None));
        let below = top.below().unwrap();
        assert_eq!((below.name(), below.setting("reserve")), ("bump", Some("1GiB")));
        assert_eq!(below.as_str(), "bump:reserve=1GiB");
        assert_eq!(top.layers().map(BackendSpec::name).collect::<Vec<_>>(), ["pymalloc", "bump"]);
    }

    #[test]
    fn a_library_has_a_path_a_prefix_and_variables() {
        type Case = (
            &'static str,
            &'static str,
            Option<&'static str>,
            &'static [(&'static str, &'static str)],
        );
        let cases: [Case; 15] = [
            ("so:/a+b@c/x.so", "/a+b@c/x.so", None, &[]),
            ("so:/opt/c++/lib.so", "/opt/c++/lib.so", None, &[]),
            ("so:/opt/c++/lib.so+malloc", "/opt/c++/lib.so+malloc", None, &[]),
            ("so:/opt/c++/lib.so:x_", "/opt/c++/lib.so", Some("x_"), &[]),
            ("so:x.so:mi_", "x.so", Some("mi_"), &[]),
            ("so:x.so:A=1+2", "x.so", None, &[("A", "1+2")]),
            (
                "so:x.so:je_:MALLOC_CONF=a:0,b:1,C=2",
                "x.so",
                Some("je_"),
                &[("MALLOC_CONF", "a:0,b:1"), ("C", "2")],
            ),
            ("preload:x.so:A=1", "x.so", None, &[("A", "1")]),
            ("preload:/a:b/lib.so", "/a:b/lib.so", None, &[]),
            ("preload:/a:b", "/a:b", None, &[]),
            ("so:/a:b/lib.so:mi_", "/a:b/lib.so", Some("mi_"), &[]),
            (r"so:/a\:b", "/a:b", None, &[]),
            (r"so:/a\\:b", r"/a\", Some("b"), &[]),
            (r"so:/a\b", r"/a\b", None, &[]),
            ("so:/a,b=c/x.so:A=1,,B=", "/a,b=c/x.so", None, &[("A", "1,"), ("B", "")]),
        ];
        for (text, path, prefix, settings) in cases {
            let found = spec(text);
            assert_eq!((found.path(), found.prefix()), (Some(path), prefix), "{text}");
            assert_eq!(pairs(&found), settings, "{text}");
            assert_eq!(found.below(), None, "{text}");
            let on = spec(&format!("pymalloc+{text}"));
            assert_eq!(on.below(), Some(&found), "{text}");
        }
    }

    #[test]
    fn a_version_with_a_slash_is_a_path() {
        let python = spec("python@/opt/c++/a:b/libpython3.12.so:bases=aligned");
        assert_eq!(python.version(), Some("/opt/c++/a:b/libpython3.12.so"));
        assert_eq!((python.setting("bases"), python.below()), (Some("aligned"), None));
        assert_eq!(spec("freelist@3.9+so:/x/y").version(), Some("3.9"));
    }

    #[test]
    fn a_faulty_spec_is_refused_with_its_place() {
        for (text, character, found, expected) in [
            ("", 1, "", "the name of a backend"),
            ("@3", 1, "", "the name of a backend"),
            ("a=b", 1, "a=b", "the name of a backend"),
            ("malloc@", 8, "", "a version"),
            ("malloc:", 8, "", "a setting, key=value,"),
            ("ä@1:x=1,y", 9, "y", "a setting, key=value,"),
            ("malloc:=1", 8, "=1", "a setting, key=value,"),
            ("malloc:x=", 8, "x=", "a setting, key=value,"),
            ("malloc+", 8, "", "the name of a backend"),
            ("+malloc", 1, "", "the name of a backend"),
            ("pymalloc+bump:reserve", 15, "reserve", "a setting, key=value,"),
            ("so:", 4, "", "the path of a library"),
            ("pymalloc+so::x_", 13, "", "the path of a library"),
        ] {
            let error = text.parse::<BackendSpec>().unwrap_err();
            assert_eq!((error.character, error.found.as_str()), (character, found), "{text}");
            assert_eq!((error.expected, error.text.as_str()), (expected, text));
        }
        assert_eq!(
            "malloc:x".parse::<BackendSpec>().unwrap_err().to_string(),
            "backend `malloc:x`: expected a setting, key=value, at character 8, found `x`; \
             the form is name[@version][:key=value,…][+below]"
        );
    }

    #[test]
    fn a_setting_goes_to_the_topmost_layer() {
        let with = |text: &str, key: &str, value: &str| {
            spec(text).with_setting(key, value).map(String::from)
        };
        assert_eq!(with("pymalloc+bump", "a", "1").unwrap(), "pymalloc:a=1+bump");
        assert_eq!(with("pymalloc:a=1+bump", "b", "2").unwrap(), "pymalloc:a=1,b=2+bump");
        assert_eq!(with("so:/c++/x.so:mi_", "A", "1").unwrap(), "so:/c++/x.so:mi_:A=1");
        assert_eq!(with("so:/c++/x.so:A=1", "B", "a+b").unwrap(), "so:/c++/x.so:A=1,B=a+b");
        for (text, key, value) in [("bump", "a", "1+2"), ("bump", "a", ""), ("so:x", "a b", "1")] {
            assert!(with(text, key, value).is_err(), "{text} {key}={value}");
        }
    }

    #[test]
    fn families_floor_and_layers() {
        for (text, family) in [
            ("malloc:MALLOC_ARENA_MAX=1", "malloc"),
            ("pymalloc@3.9+bump", "pymalloc"),
            ("so:/usr/lib/libjemalloc.so.2", "jemalloc"),
            ("preload:libtcmalloc_minimal.so.4:A=1", "tcmalloc"),
            ("so:libmimalloc", "mimalloc"),
            ("python@/usr/lib/libpython3.11.so", "python"),
            ("so", "so"),
        ] {
            assert_eq!(spec(text).family(), family, "{text}");
        }
        assert!(spec("null").is_floor() && !spec("pymalloc+null").is_floor());
        assert_eq!(spec("pymalloc:a=1+so:/a\\:b:x_:A=1").without_settings(), "pymalloc+so:/a:b:x_");
        assert_eq!(spec("pymalloc@3+bump").on(&spec("so:x+y")).unwrap(), "pymalloc@3+so:x+y");
        assert!(spec("so:x").on(&spec("bump")).is_err());
        assert!(BackendSpec::library("so", "").is_err());
        assert!(BackendSpec::library("malloc", "/x").is_err());
    }

    #[test]
    fn serde_writes_a_string() {
        let found: BackendSpec = serde_json::from_str("\"pymalloc+bump\"").unwrap();
        assert_eq!(serde_json::to_string(&found).unwrap(), "\"pymalloc+bump\"");
        assert!(serde_json::from_str::<BackendSpec>("\"malloc:\"").is_err());
    }

    /// Texts of the characters that mean something, so that many are specs and many are not.
    fn texts() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("so:"),
            Just("preload:"),
            Just("python@/"),
            Just("malloc"),
            Just("@3"),
            Just(":"),
            Just("+"),
            Just("a=1"),
            Just(","),
            Just("="),
            Just("/x"),
            Just("\\"),
            Just("mi_"),
            Just("ä"),
            Just("A=b:c")
        ];
        prop::collection::vec(part, 0..9).prop_map(|parts| parts.concat())
    }

    fn layers() -> impl Strategy<Value = Layer> {
        let settings = prop::collection::vec(("[a-z_]{1,5}", "[a-z0-9:=/.@]{1,5}"), 0..3);
        let variables =
            prop::collection::vec(("[A-Z_][A-Z_0-9]{0,3}", "[a-z0-9:/.@+\\\\]{0,5}"), 0..3);
        prop_oneof![
            ("[a-z]{1,6}2", prop::option::of("[0-9.a-z]{1,5}"), settings).prop_map(
                |(name, version, settings)| Layer { name, version, settings, ..Layer::default() }
            ),
            ("[-a-z/.+:@=,\\\\_ä]{1,9}", prop::option::of("[a-z_]{1,4}"), variables.clone())
                .prop_map(|(path, prefix, settings)| Layer {
                    name: SO.to_owned(),
                    path: Some(path),
                    prefix,
                    settings,
                    ..Layer::default()
                }),
            ("/[-a-z/.+:@=,\\\\_]{0,9}", variables.clone()).prop_map(|(path, settings)| Layer {
                name: PRELOAD.to_owned(),
                path: Some(path),
                settings,
                ..Layer::default()
            }),
            ("/[-a-z/.+:@=,\\\\_]{0,9}", variables).prop_map(|(path, settings)| Layer {
                name: "python".to_owned(),
                version: Some(path),
                settings,
                ..Layer::default()
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_read_prints_as_it_was_written(text in texts()) {
            if let Ok(found) = text.parse::<BackendSpec>() {
                prop_assert_eq!(found.to_string(), text);
                // The parts write a text of the same parts.
                let mut layers = found.layers().map(|layer| layer.top.to_string());
                let again = spec(&layers.by_ref().collect::<Vec<_>>().join("+"));
                for (one, other) in found.layers().zip(again.layers()) {
                    prop_assert_eq!(&one.top, &other.top);
                }
            }
        }

        #[test]
        fn what_is_written_reads_back(layer in layers(), above in "[a-z]{1,3}") {
            // A colon at a path's start would leave the path empty.
            let single = spec(&layer.to_string());
            prop_assert_eq!(&single.top, &layer);
            let on = spec(&format!("{above}2+{layer}"));
            prop_assert_eq!(on.below(), Some(&single));
        }

        #[test]
        fn every_path_can_be_written(path in ".{1,12}", family in 0_usize..2) {
            let found = BackendSpec::library([SO, PRELOAD][family], &path).unwrap();
            prop_assert_eq!(found.path(), Some(path.as_str()));
        }

        #[test]
        fn a_setting_added_is_read_back(
            text in texts(), key in "[a-z]{1,3}", value in "[a-z:0-9]{1,4}"
        ) {
            if let Ok(found) = text.parse::<BackendSpec>()
                && let Ok(with) = found.with_setting(&key, &value)
            {
                prop_assert_eq!(with.setting(&key), Some(value.as_str()));
                prop_assert_eq!(with.settings().len(), found.settings().len() + 1);
                prop_assert_eq!(with.below(), found.below());
            }
        }
    }
}
