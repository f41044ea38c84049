//! One layer of a backend spec: the grammar of `mod.rs`, read and written.

use std::fmt;

/// The family of libraries that are loaded by path, with their own symbols.
pub const SO: &str = "so";
/// The family of libraries that replace malloc by `LD_PRELOAD`.
pub const PRELOAD: &str = "preload";

/// The parts of one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layer {
    pub name: String,
    /// After `@`. A path where it has a `/`.
    pub version: Option<String>,
    /// Of a library.
    pub path: Option<String>,
    /// Of a library's functions.
    pub prefix: Option<String>,
    /// In the order of the text.
    pub settings: Vec<(String, String)>,
}

/// A fault of a layer: the byte where it is, what was found, what was expected.
pub(super) type LayerFault = (usize, String, &'static str);

impl Layer {
    /// Reads the first layer of `text`; the byte after its `+` where another follows.
    pub fn read(text: &str) -> Result<(Layer, Option<usize>), LayerFault> {
        let name_end = text.find(['@', ':', '+']).unwrap_or(text.len());
        let name = &text[..name_end];
        if name.is_empty() || name.contains([',', '=']) {
            return Err((0, name.to_owned(), "the name of a backend"));
        }
        let layer = Layer { name: name.to_owned(), ..Layer::default() };
        match text[name_end..].chars().next() {
            Some(':') if name == SO || name == PRELOAD => {
                layer.with_library(text, name_end + 1).map(|layer| (layer, None))
            }
            Some('@') if has_path(&text[name_end + 1..]) => {
                layer.with_path_version(text, name_end + 1).map(|layer| (layer, None))
            }
            _ => layer.with_parts(text, name_end),
        }
    }

    /// The rest of `so:PATH[:PREFIX][:NAME=VALUE,…]` from the path on.
    fn with_library(mut self, text: &str, start: usize) -> Result<Layer, LayerFault> {
        let rest = &text[start..];
        let may_have_prefix = self.name == SO;
        let (end, tail) = path_end(rest, |tail| library_tail(tail, may_have_prefix));
        if end == 0 {
            return Err((start, String::new(), "the path of a library"));
        }
        self.path = Some(unescaped(&rest[..end]));
        (self.prefix, self.settings) = tail.unwrap_or_default();
        Ok(self)
    }

    /// The rest of `NAME@PATH[:key=value,…]` from the path on.
    fn with_path_version(mut self, text: &str, start: usize) -> Result<Layer, LayerFault> {
        let rest = &text[start..];
        let (end, tail) = path_end(rest, variables);
        self.version = Some(unescaped(&rest[..end]));
        self.settings = tail.unwrap_or_default();
        Ok(self)
    }

    /// The rest of an ordinary layer from the end of its name on, up to the `+`.
    fn with_parts(
        mut self,
        text: &str,
        name_end: usize,
    ) -> Result<(Layer, Option<usize>), LayerFault> {
        let end = text.find('+').unwrap_or(text.len());
        let settings_at = text[name_end..end].find(':').map_or(end, |at| name_end + at);
        if text[name_end..].starts_with('@') {
            let version = &text[name_end + 1..settings_at];
            if version.is_empty() {
                return Err((name_end + 1, String::new(), "a version"));
            }
            self.version = Some(version.to_owned());
        }
        if settings_at < end {
            self.settings = settings(text, settings_at + 1, end)?;
        }
        Ok((self, (end < text.len()).then_some(end + 1)))
    }
}

/// The layer as it is written: what [`Layer::read`] reads back.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let mut tail = String::new();
        if let Some(prefix) = &self.prefix {
            tail.push(':');
            tail.push_str(prefix);
        }
        for (at, (key, value)) in self.settings.iter().enumerate() {
            tail.push(if at == 0 { ':' } else { ',' });
            tail.push_str(&format!("{key}={value}"));
        }
        match (&self.version, &self.path) {
            (Some(version), _) if version.contains('/') => {
                write!(f, "@{}", escaped(version, &tail, |tail| variables(tail).is_some()))?;
            }
            (Some(version), _) => write!(f, "@{version}")?,
            (None, Some(path)) => {
                let is_tail = |tail: &str| library_tail(tail, self.name == SO).is_some();
                write!(f, ":{}", escaped(path, &tail, is_tail))?;
            }
            (None, None) => {}
        }
        f.write_str(&tail)
    }
}

/// Whether what stands after `@` is a path: there is a `/` in it.
fn has_path(version: &str) -> bool {
    version.split([':', '+']).next().is_some_and(|version| version.contains('/'))
}

/// `key=value,…` between two bytes of `text`.
fn settings(text: &str, start: usize, end: usize) -> Result<Vec<(String, String)>, LayerFault> {
    let mut at = start;
    let mut settings = Vec::new();
    for pair in text[start..end].split(',') {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                settings.push((key.to_owned(), value.to_owned()));
            }
            _ => return Err((at, pair.to_owned(), "a setting, key=value,")),
        }
        at += pair.len() + 1;
    }
    Ok(settings)
}

/// What may stand behind a library's path: its prefix, its variables.
type Tail = (Option<String>, Vec<(String, String)>);

/// `PREFIX`, `NAME=VALUE,…` or `PREFIX:NAME=VALUE,…`, to the end; `None` for anything else.
fn library_tail(text: &str, may_have_prefix: bool) -> Option<Tail> {
    if let Some(variables) = variables(text) {
        return Some((None, variables));
    }
    let (prefix, rest) = match text.split_once(':') {
        Some((prefix, rest)) => (prefix, variables(rest)?),
        None => (text, Vec::new()),
    };
    (may_have_prefix && is_identifier(prefix)).then(|| (Some(prefix.to_owned()), rest))
}

/// `NAME=VALUE,…` to the end; a part without `NAME=` belongs to the value before it.
fn variables(text: &str) -> Option<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    for part in text.split(',') {
        match (part.split_once('='), found.last_mut()) {
            (Some((name, value)), _) if is_identifier(name) => {
                found.push((name.to_owned(), value.to_owned()));
            }
            (_, Some((_, value))) => {
                value.push(',');
                value.push_str(part);
            }
            (_, None) => return None,
        }
    }
    Some(found)
}

fn is_identifier(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Where a path ends, and what its tail is: at the first colon without a backslash before it whose
/// tail is complete, else at the end.
fn path_end<T>(text: &str, tail: impl Fn(&str) -> Option<T>) -> (usize, Option<T>) {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b':'
            && !is_escaped
            && let Some(tail) = tail(&text[at + 1..])
        {
            return (at, Some(tail));
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    (text.len(), None)
}

/// The path with `\:` as `:` and `\\` as `\`.
fn unescaped(text: &str) -> String {
    let mut path = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some(next @ (':' | '\\'))) => {
                path.push(*next);
                rest.next();
            }
            _ => path.push(c),
        }
    }
    path
}

/// The path so that it is read back: as it is where that is enough, else with every colon and
/// backslash escaped.
fn escaped(path: &str, tail: &str, is_tail: impl Fn(&str) -> bool) -> String {
    let plain = format!("{path}{tail}");
    let (end, _) = path_end(&plain, |tail| is_tail(tail).then_some(()));
    if end == path.len() && unescaped(path) == path {
        return path.to_owned();
    }
    path.replace('\\', "\\\\").replace(':', "\\:")
}
