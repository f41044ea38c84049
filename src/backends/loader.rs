//! The dynamic loader: which libraries it finds by name, and what it reports. Nothing is loaded here.
//!
//! A label such as `so:libjemalloc` names a library by its stem. [`with_installed_library`] replaces
//! the stem by the path of the one installed library of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::elf::Machine;
use super::error::BackendError;
use crate::environment::LD_LIBRARY_PATH;
use crate::spec::{BackendSpec, did_you_mean};

/// Where libraries are looked up, as messages say it.
const PLACES: &str = "LD_LIBRARY_PATH and `ldconfig -p`";

/// What the loader reports: the error itself only says that `dlopen` failed.
pub fn reported(error: &libloading::Error) -> String {
    let reported = std::error::Error::source(error).map(ToString::to_string);
    reported.unwrap_or_else(|| error.to_string())
}

/// The paths in the dynamic linker's list.
pub fn linked() -> Vec<PathBuf> {
    let listed = ["ldconfig", "/sbin/ldconfig"]
        .iter()
        .find_map(|program| Command::new(program).arg("-p").output().ok())
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    listed.lines().filter_map(|line| line.split(" => ").nth(1)).map(PathBuf::from).collect()
}

/// The spec with the path of the installed library that its lowest layer names by the stem:
/// `so:/usr/lib/libjemalloc.so.2` for `so:libjemalloc`. `None` for any other spec: a path, or the name
/// of a file, such as `libjemalloc.so.2`, which the loader finds by itself.
///
/// # Errors
/// No installed library has that stem or that name, or several have the stem.
pub fn with_installed_library(spec: &BackendSpec) -> Result<Option<BackendSpec>, BackendError> {
    let library = spec.layers().last().filter(|layer| layer.is_library());
    let Some((family, stem)) = library.and_then(|layer| Some((layer.name(), layer.path()?))) else {
        return Ok(None);
    };
    if stem.contains('/') {
        return Ok(None);
    }
    let installed = Installed::of(loaders_folders(), linked());
    if installed.files.contains_key(stem) {
        return Ok(None);
    }
    let unavailable = |reason| BackendError::Unavailable { backend: spec.to_string(), reason };
    if stem.contains(".so") {
        installed.look_for(family, stem).map_err(unavailable)?;
        return Ok(None);
    }
    let path = installed.find(family, stem).map_err(unavailable)?;
    Ok(Some(spec.with_library_path(&path.to_string_lossy())?))
}

/// A hint at the installed libraries of the same stem as a file's name; empty where there are none.
pub fn same_stem_hint(family: &str, file: &str) -> String {
    Installed::of(loaders_folders(), linked()).same_stem_hint(family, file)
}

/// A hint at a file of this name in the current folder, where the loader does not look.
fn here_hint(family: &str, file: &str) -> String {
    match Path::new(file).is_file() {
        true => format!("; the file here is {family}:./{file}"),
        false => String::new(),
    }
}

/// The folders that the loader searches before its list.
fn loaders_folders() -> Vec<PathBuf> {
    let value = std::env::var_os(LD_LIBRARY_PATH).unwrap_or_default();
    std::env::split_paths(&value).collect()
}

/// The part of a file's name before `.so`.
fn stem_of(file: &str) -> &str {
    file.split_once(".so").map_or(file, |(stem, _)| stem)
}

/// The libraries that the loader finds: for each name of a file the path that it takes.
struct Installed {
    files: BTreeMap<String, PathBuf>,
}

impl Installed {
    /// The libraries in folders, and those of a list behind them. The first of a name counts.
    fn of(folders: Vec<PathBuf>, list: Vec<PathBuf>) -> Installed {
        let read = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok());
        let in_folders = read.flatten().flatten().map(|file| file.path());
        let mut files = BTreeMap::new();
        for path in in_folders.chain(list) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            files.entry(name.to_owned()).or_insert(path);
        }
        Installed { files }
    }

    /// The libraries of a stem, one path a file, each for this machine's processor.
    fn of_stem(&self, stem: &str) -> Vec<&Path> {
        let is_of_stem = |name: &str| {
            let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix(".so"));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let own = Machine::own();
        let is_library = |path: &Path| {
            Machine::of(path).is_ok_and(|machine| machine.is_some() && machine == own)
        };
        let mut files: BTreeMap<PathBuf, &Path> = BTreeMap::new();
        // In the order of their names, so that of two links to one file the shorter counts.
        for (_, path) in
            self.files.iter().filter(|(name, path)| is_of_stem(name) && is_library(path))
        {
            files.entry(fs::canonicalize(path).unwrap_or_else(|_| path.clone())).or_insert(path);
        }
        files.into_values().collect()
    }

    /// Looks for a file of that name where the loader does, which may not have been listed yet.
    ///
    /// # Errors
    /// There is none: what was looked for and where, and what to write.
    fn look_for(&self, family: &str, file: &str) -> Result<(), String> {
        let folders = self.files.values().filter_map(|path| path.parent());
        let folders: BTreeSet<&Path> = folders.collect();
        // Without a list nothing is known.
        if self.files.is_empty() || folders.iter().any(|folder| folder.join(file).exists()) {
            return Ok(());
        }
        Err(format!(
            "no installed library is {file}: looked in {PLACES}{}{}; write its path, as in \
             {family}:/usr/lib/{file}, or choose one of `heaplay backends`",
            did_you_mean(
                file,
                self.files.keys().map(String::as_str).filter(|name| name.contains(".so"))
            ),
            self.same_stem_hint(family, file)
        ))
    }

    /// See [`same_stem_hint`].
    fn same_stem_hint(&self, family: &str, file: &str) -> String {
        match self.of_stem(stem_of(file)).as_slice() {
            [] => here_hint(family, file),
            paths => format!("; installed is {}", specs_of(family, paths)),
        }
    }

    /// The one library of a stem.
    ///
    /// # Errors
    /// What was looked for and where, and what to write.
    fn find(&self, family: &str, stem: &str) -> Result<&Path, String> {
        match self.of_stem(stem).as_slice() {
            [path] => Ok(path),
            [] => {
                let stems = self.files.keys().filter(|name| name.contains(".so"));
                Err(format!(
                    "no installed library is {stem}.so or {stem}.so.N: looked in {PLACES}{}{}; write its \
                     path, as in {family}:/usr/lib/{stem}.so, or choose one of `heaplay backends`",
                    did_you_mean(stem, stems.map(|name| stem_of(name))),
                    here_hint(family, &format!("{stem}.so"))
                ))
            }
            several => Err(format!(
                "{} installed libraries are {stem}.so or {stem}.so.N; write one of {}",
                several.len(),
                specs_of(family, several)
            )),
        }
    }
}

/// The specs of paths, as a sentence lists them.
fn specs_of(family: &str, paths: &[&Path]) -> String {
    let specs = paths.iter().map(|path| format!("{family}:{}", path.display()));
    specs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with files that are libraries of this machine, and links to them.
    fn folder(files: &[&str], links: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let head = &fs::read("/proc/self/exe").unwrap()[..64];
        for file in files {
            fs::write(folder.path().join(file), head).unwrap();
        }
        for (link, file) in links {
            symlink(file, folder.path().join(link)).unwrap();
        }
        folder
    }

    #[test]
    fn a_stem_is_the_installed_library() {
        let links = [("libone.so.2", "libone.so.2.0"), ("libone.so", "libone.so.2")];
        let first =
            folder(&["libone.so.2.0", "libtwo.so.1", "libtwo.so.2", "libonemore.so"], &links);
        let second = folder(&["libtwo.so.1", "libthree.so"], &[]);
        fs::write(second.path().join("libtext.so"), "GROUP ( libm.so )").unwrap();
        let folders = [&first, &second].map(|folder| folder.path().to_owned());
        let installed = Installed::of(folders.to_vec(), Vec::new());
        let find = |stem| installed.find("so", stem);
        assert_eq!(find("libone"), Ok(first.path().join("libone.so").as_path()));
        assert_eq!(find("libthree"), Ok(second.path().join("libthree.so").as_path()));
        let several = find("libtwo").unwrap_err();
        for number in [1, 2] {
            let path = first.path().join(format!("libtwo.so.{number}"));
            assert!(several.contains(&format!("so:{}", path.display())), "{several}");
        }
        for none in ["libon", "libtext", "libtre"] {
            let message = find(none).unwrap_err();
            for part in [&format!("{none}.so.N"), PLACES, &format!("so:/usr/lib/{none}.so")] {
                assert!(message.contains(part), "no {part} in: {message}");
            }
        }
        assert!(find("libtre").unwrap_err().contains("did you mean `libt"));
        // A name of a file is looked for as the loader does.
        let file = |name| installed.look_for("so", name);
        assert_eq!((file("libtwo.so.1"), file("libtext.so")), (Ok(()), Ok(())));
        assert!(file("libthre.so").unwrap_err().contains("did you mean `libthree.so`?"));
        let other = file("libtwo.so.3").unwrap_err();
        assert!(other.contains("; installed is so:/") && other.contains("libtwo.so.2"), "{other}");
        assert_eq!(Installed::of(vec![], vec![]).look_for("so", "libx.so.1"), Ok(()));
        // The loader's list comes behind the folders.
        let listed = Installed::of(vec![], vec![second.path().join("libthree.so")]);
        assert!(listed.find("preload", "libthree").is_ok());
    }

    #[test]
    fn names_without_a_path_are_looked_up() {
        for text in ["so:libc.so.6", "so:/none/libnone", "malloc", "pymalloc+preload:libc.so.6"] {
            let spec: BackendSpec = text.parse().unwrap();
            assert_eq!(with_installed_library(&spec).unwrap(), None, "{text}");
        }
        for text in ["pymalloc+preload:libheaplay-none", "pymalloc+preload:libheaplay-none.so"] {
            let spec: BackendSpec = text.parse().unwrap();
            let message = with_installed_library(&spec).unwrap_err().to_string();
            assert!(message.contains("preload:/usr/lib/libheaplay-none.so"), "{message}");
        }
    }
}
