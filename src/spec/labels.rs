//! What backends are called in pictures and tables.
//!
//! A picture has no space for `so:/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0:mi_`. Cut off, it
//! looks like every other library of that folder. Its label is `so:libmimalloc`.

use std::collections::HashSet;

use super::backend_spec::BackendSpec;

/// How much of a path is in a label.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathLabel {
    /// `libmimalloc`, and no prefix of functions.
    LibraryName,
    /// `libmimalloc.so.2.0`.
    FileName,
}

impl BackendSpec {
    /// The shortest label: of a library its name (`so:libmimalloc`), of all else the whole text.
    /// Two specs may have the same label; [`labels`] gives each its own.
    pub fn label(&self) -> String {
        shortened(self, PathLabel::LibraryName)
    }

    /// The label with the file names of libraries (`so:libmimalloc.so.2.0:mi_`), without their
    /// folders.
    pub fn file_label(&self) -> String {
        shortened(self, PathLabel::FileName)
    }
}

/// A label for each spec, in their order: as short as they can be while all differ. That is the
/// library's name, its file's name, or the whole text.
pub fn labels(specs: &[BackendSpec]) -> Vec<String> {
    for path_label in [PathLabel::LibraryName, PathLabel::FileName] {
        let short: Vec<String> = specs.iter().map(|spec| shortened(spec, path_label)).collect();
        if short.iter().collect::<HashSet<_>>().len() == specs.len() {
            return short;
        }
    }
    specs.iter().map(BackendSpec::to_string).collect()
}

/// The text with its path shortened. Only the lowest layer has one.
fn shortened(spec: &BackendSpec, path_label: PathLabel) -> String {
    let Some(lowest) = spec.layers().last() else { return spec.to_string() };
    let above = &spec.as_str()[..spec.as_str().len() - lowest.as_str().len()];
    let file = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let is_name = path_label == PathLabel::LibraryName;
    let mut label = format!("{above}{}", lowest.name());
    match (lowest.path(), lowest.version()) {
        (Some(path), _) => {
            let file = file(path);
            let library = file.split_once(".so").map_or(file.as_str(), |(library, _)| library);
            label.push_str(&format!(":{}", if is_name { library } else { &file }));
            if let Some(prefix) = lowest.prefix().filter(|_| !is_name) {
                label.push_str(&format!(":{prefix}"));
            }
        }
        // `python@3.11` names a version. An interpreter's whole file name distinguishes it.
        (None, Some(version)) if version.contains('/') => {
            label.push_str(&format!("@{}", file(version)));
        }
        _ => return spec.to_string(),
    }
    for (at, (key, value)) in lowest.settings().iter().enumerate() {
        label.push_str(&format!("{}{key}={value}", if at == 0 { ':' } else { ',' }));
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Vec<String> {
        labels(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn labels_are_short_and_differ() {
        assert_eq!(
            of(&["malloc", "so:/usr/lib/libmimalloc.so.2.0:mi_", "so:/usr/lib/libjemalloc.so.2"]),
            ["malloc", "so:libmimalloc", "so:libjemalloc"]
        );
        assert_eq!(
            of(&["so:/a/libx.so.1:x_", "so:/a/libx.so.2:x_", "preload:/a/libx.so.1"]),
            ["so:libx.so.1:x_", "so:libx.so.2:x_", "preload:libx.so.1"]
        );
        let texts = ["so:/a/libx.so", "so:/b/libx.so"];
        assert_eq!(of(&texts), texts);
        assert_eq!(
            of(&[
                "so:x.so:MALLOC_CONF=narenas:1",
                "so:/a/x.so:x_:A=1",
                "pymalloc+so:/usr/lib/libx.so"
            ]),
            ["so:x:MALLOC_CONF=narenas:1", "so:x:A=1", "pymalloc+so:libx"]
        );
        assert_eq!(
            of(&["python@3.11", "python@/usr/bin/python3.11"]),
            ["python@3.11", "python@python3.11"]
        );
        assert_eq!(
            of(&["freelist@3.9+so:/opt/c++/liba.so", "preload:/a:b/libb.so"]),
            ["freelist@3.9+so:liba", "preload:libb"]
        );
    }

    #[test]
    fn a_file_label_has_the_whole_file_name() {
        let spec: BackendSpec = "so:/usr/lib/libmimalloc.so.2.0:mi_".parse().unwrap();
        assert_eq!(spec.file_label(), "so:libmimalloc.so.2.0:mi_");
    }
}
