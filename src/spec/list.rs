//! Several specs in one text, as options take them: `malloc,pymalloc@3.9,jemalloc:narenas=1`.

use super::layer::{PRELOAD, SO};

/// The texts of the specs in a list. A comma separates two specs, and two settings of one spec.
///
/// - Behind a path, a comma separates specs only where the name of a backend follows it: `is_known`
///   answers that.
/// - Elsewhere, a part with a `=` before any `:` is a setting of the spec before it.
pub fn split_list<'a>(list: &'a str, is_known: &dyn Fn(&str) -> bool) -> Vec<&'a str> {
    let mut specs: Vec<&str> = Vec::new();
    let (mut start, mut end) = (0, 0);
    for part in list.split(',') {
        let next = end + part.len();
        if end > 0 {
            let before = &list[start..end - 1];
            let continues = match has_path(before) {
                true => !is_known(part.trim().split(['@', ':', '+']).next().unwrap_or_default()),
                false => part.find('=').is_some_and(|at| !part[..at].contains(':')),
            };
            if !continues {
                specs.push(before.trim());
                start = end;
            }
        }
        end = next + 1;
    }
    specs.push(list[start..].trim());
    specs
}

/// Whether a spec's lowest layer is named by a path.
fn has_path(spec: &str) -> bool {
    let starts = |family: &str| {
        let head = format!("{family}:");
        spec.trim_start().starts_with(&head) || spec.contains(&format!("+{head}"))
    };
    starts(SO) || starts(PRELOAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_specs_and_settings() {
        let known = |name: &str| ["malloc", "so", "bump", "jemalloc"].contains(&name);
        let split = |list| split_list(list, &known);
        assert_eq!(split("malloc"), ["malloc"]);
        assert_eq!(split("malloc, bump"), ["malloc", "bump"]);
        assert_eq!(split("jemalloc:a=0,b=1,malloc"), ["jemalloc:a=0,b=1", "malloc"]);
        assert_eq!(split("malloc,so:x.so:A=1,bump"), ["malloc", "so:x.so:A=1", "bump"]);
        assert_eq!(
            split("so:x.so:MALLOC_CONF=a:0,b:1,C=2,jemalloc:a=1"),
            ["so:x.so:MALLOC_CONF=a:0,b:1,C=2", "jemalloc:a=1"]
        );
        assert_eq!(split("bump+so:/a,b/x.so,malloc+bump"), ["bump+so:/a,b/x.so", "malloc+bump"]);
        // What is no backend is refused by name later.
        assert_eq!(split("malloc,jemaloc,"), ["malloc", "jemaloc", ""]);
    }
}
