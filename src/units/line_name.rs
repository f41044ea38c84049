//! The names of sites: their lines, one for each frame; the short names, as reports print them; and the
//! lines that a typed name means, so that each printed name can be typed back.

/// The separator in a site between a line and the line that called it.
pub const CALLED_FROM: &str = " < ";

/// Stands in a frame between a Python line and the native function that it reached.
pub const VIA: &str = " via ";

/// The line of a frame, without the native function that it reached.
pub fn without_native(frame: &str) -> &str {
    frame.split(VIA).next().unwrap_or(frame)
}

/// The line of a site: the Python line, whatever native functions it reached, or a native function where
/// there is no Python line; without callers.
pub fn line_of(site: &str) -> &str {
    without_native(innermost(site))
}

/// The frames of a site, `file:line` each, newest first.
pub fn frames(site: &str) -> impl Iterator<Item = &str> {
    site.split(CALLED_FROM)
}

/// The line that allocated: the newest frame of a site, without its callers.
pub fn innermost(site: &str) -> &str {
    frames(site).next().unwrap_or(site)
}

/// A site as it was typed, without the names of functions that tables print: `a.py:3 (load)` is `a.py:3`.
pub fn without_functions(typed: &str) -> String {
    let line = |frame| match str::split_once(frame, " (") {
        Some((line, function)) if function.ends_with(')') && is_numbered(line) => line,
        _ => frame,
    };
    frames(typed).map(line).collect::<Vec<_>>().join(CALLED_FROM)
}

fn is_numbered(line: &str) -> bool {
    line.rsplit_once(':').is_some_and(|(_, number)| number.parse::<u64>().is_ok())
}

/// A line's name as a person knows it: the file, without its folders, and the number. A file whose
/// name every package has, such as `__init__.py`, has its folder, too.
pub fn short_line(line: &str) -> String {
    if line.is_empty() {
        return "(no line)".to_owned();
    }
    frames(line).map(short_frame).collect::<Vec<_>>().join(CALLED_FROM)
}

fn short_frame(frame: &str) -> String {
    if let Some(frozen) = frame.strip_prefix("<frozen ") {
        return frozen.replacen('>', "", 1);
    }
    let Some((folders, file)) = frame.rsplit_once('/') else { return frame.to_owned() };
    let folder = folders.rsplit('/').next().filter(|folder| !folder.is_empty());
    match folder.filter(|_| file.starts_with("__")) {
        Some(folder) => format!("{folder}/{file}"),
        None => file.to_owned(),
    }
}

/// Whether a frame may be meant by `name`: the frame itself, the end of its path, or its short name.
pub fn is_frame_named(frame: &str, name: &str) -> bool {
    // A line stands for all native functions that it reached.
    let frame = if name.contains(VIA) { frame } else { without_native(frame) };
    let is_end = || frame.strip_suffix(name).is_some_and(|folders| folders.ends_with('/'));
    frame == name || is_end() || frame.starts_with("<frozen ") && short_frame(frame) == name
}

/// The same of a site with as many callers: the end of a longer chain is another line.
pub fn is_site_named(site: &str, name: &str) -> bool {
    frames(site).count() == frames(name).count()
        && frames(site).zip(frames(name)).all(|(frame, name)| is_frame_named(frame, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_short_names() {
        assert_eq!(short_line("/usr/lib/python3.11/json/decoder.py:353"), "decoder.py:353");
        assert_eq!(short_line("<frozen importlib._bootstrap>:241"), "importlib._bootstrap:241");
        assert_eq!(short_line("/usr/lib/python3.11/json/__init__.py:346"), "json/__init__.py:346");
        assert_eq!(short_line("/__main__.py:1"), "__main__.py:1");
        assert_eq!((short_line(""), short_line("a.py:1")), ("(no line)".into(), "a.py:1".into()));
    }

    #[test]
    fn functions_of_a_table_are_left_out() {
        let plain = without_functions;
        assert_eq!(plain("a.py:3 (load) < main.py:9 (main)"), "a.py:3 < main.py:9");
        for name in ["a.py:3", "lib.so!f (int)", "my (own) a.py:3", "a.py:3 (load"] {
            assert_eq!(plain(name), name);
        }
    }

    #[test]
    fn a_printed_name_can_be_typed_back() {
        for line in [
            "/usr/lib/python3.11/json/decoder.py:353",
            "/usr/lib/python3.11/json/__init__.py:346",
            "/usr/lib/python3.11/json/decoder.py:353 via libc.so.6!malloc",
            "<frozen importlib._bootstrap_external>:729",
            "own.py:3",
            "libc.so.6+0x39221",
            "/usr/lib/x.py:3 < <frozen importlib._bootstrap>:241 < /srv/own.py:1",
        ] {
            assert!(is_site_named(line, &short_line(line)), "{line}");
            assert!(is_site_named(line, line), "{line}");
        }
        assert!(is_site_named("/srv/a/x.py:1", "a/x.py:1"));
        assert!(!is_site_named("/srv/a/x.py:1", ".py:1"));
        assert!(!is_site_named("/srv/x.py:1 < /srv/y.py:2", "x.py:1"), "with its callers");
    }
}
