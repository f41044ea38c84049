//! How a program gets a backend: environment variables and a library to preload. The lines for a
//! Dockerfile and a service file are made of them, and `heaplay live` runs programs with them.

use crate::backends;
use crate::environment::{GLIBC_TUNABLES, LD_PRELOAD, MALLOC_CONF, PYTHONMALLOC, RJEM_MALLOC_CONF};
use crate::spec::{BackendSpec, preloaded_library};

/// Settings of glibc's malloc in this variable begin so.
const MALLOC_TUNABLE: &str = "glibc.malloc.";

/// Why no program can have a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDeployable {
    /// The backend is a model, or is compiled into heaplay only.
    #[error("no library of it can be loaded into a program; only a replay can measure it")]
    NoLibrary,
    /// A setting that the interpreter has from its build.
    #[error("the interpreter has this setting from its build; only a replay can change it")]
    BuiltIn,
    /// A setting that this machine's C library does not have.
    #[error("this machine does not have the backend or its settings")]
    Unavailable,
}

/// What gives a program a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// Variables by name, in their order, without `LD_PRELOAD`.
    pub variables: Vec<(String, String)>,
    /// The library to preload: a path, or a name that the dynamic linker finds.
    pub preload: Option<String>,
    /// Whether CPython's own pymalloc serves its object domain.
    pub has_pymalloc: bool,
    /// The version of CPython whose pymalloc it is, such as `3.11`; `None` for any.
    pub python: Option<String>,
}

impl Deployment {
    /// What gives a program the backend of a spec.
    ///
    /// # Errors
    /// When no program can have it.
    pub fn of(spec: &BackendSpec) -> Result<Deployment, NotDeployable> {
        let mut deployment = Deployment::default();
        let own = if spec.name() == "pymalloc" {
            if !spec.settings().is_empty() {
                return Err(NotDeployable::BuiltIn);
            }
            deployment.has_pymalloc = true;
            deployment.python = spec.version().map(str::to_owned);
            match spec.below() {
                Some(below) => below,
                None => return Ok(deployment),
            }
        } else {
            // Every call of the trace goes to this backend, without pymalloc in front of it.
            deployment.variables.push((PYTHONMALLOC.to_owned(), "malloc".to_owned()));
            spec
        };
        let library = preloaded_library(own).map_err(|_| NotDeployable::NoLibrary)?;
        deployment.preload = library.map(str::to_owned);
        let variables = backends::environment(own).map_err(|_| NotDeployable::Unavailable)?;
        for (name, value) in variables {
            deployment.add(name, value.to_string_lossy().into_owned());
        }
        Ok(deployment)
    }

    /// Adds a variable of a child's environment, as a program outside heaplay needs it.
    fn add(&mut self, name: String, value: String) {
        match name.as_str() {
            LD_PRELOAD => {}
            GLIBC_TUNABLES if value.starts_with("glibc.rtld.") => {}
            // The compiled-in jemalloc has a prefix, an installed one has none.
            RJEM_MALLOC_CONF => self.variables.push((MALLOC_CONF.to_owned(), value)),
            _ => match self.variables.iter_mut().find(|(known, _)| *known == name) {
                Some((_, present)) => {
                    present.push(':');
                    present.push_str(&value);
                }
                None => self.variables.push((name, value)),
            },
        }
    }

    /// The value of a variable; `None` where the backend does not set it.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The lines for a Dockerfile and for a service file; empty where a program has the backend
    /// without any. Only `is_python` needs [`PYTHONMALLOC`].
    pub fn lines(&self, is_python: bool) -> String {
        let (mut python, others): (Vec<_>, Vec<_>) =
            self.variables.iter().partition(|(name, _)| name == PYTHONMALLOC);
        python.retain(|_| is_python);
        let pair = |(name, value): &(String, String)| format!("{name}={value}");
        let preload = self.preload.iter().map(|library| format!("{LD_PRELOAD}={library}"));
        let pairs: Vec<String> = python
            .into_iter()
            .map(pair)
            .chain(preload)
            .chain(others.into_iter().map(pair))
            .collect();
        if pairs.is_empty() {
            return String::new();
        }
        let pairs = pairs.join(" ");
        format!("  Dockerfile:    ENV {pairs}\n  service file:  Environment={pairs}\n")
    }

    /// The value of `GLIBC_TUNABLES` for a program whose environment has the value `present`:
    /// tunables that are not malloc's stay.
    pub fn tunables(&self, present: &str) -> String {
        let others = present
            .split(':')
            .filter(|tunable| !tunable.is_empty() && !tunable.starts_with(MALLOC_TUNABLE));
        others.chain(self.variable(GLIBC_TUNABLES)).collect::<Vec<_>>().join(":")
    }
}

/// Whether a variable chooses or sets an allocator. A program that is run under a backend gets only
/// the backend's own.
pub fn sets_allocator(name: &str) -> bool {
    let prefixes = ["MALLOC_", "MIMALLOC_", "TCMALLOC_", "PYTHON_PYMALLOC_"];
    [PYTHONMALLOC, RJEM_MALLOC_CONF].contains(&name)
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spec: &str) -> Result<Deployment, NotDeployable> {
        Deployment::of(&spec.parse().unwrap())
    }

    #[test]
    fn lines_are_what_the_program_needs() {
        let line = |spec: &str| {
            let lines = of(spec).map(|deployment| deployment.lines(true)).unwrap_or_default();
            lines.lines().next().unwrap_or_default().trim().to_owned()
        };
        assert_eq!(
            line("pymalloc+malloc:MALLOC_TOP_PAD_=64K"),
            "Dockerfile:    ENV MALLOC_TOP_PAD_=65536"
        );
        assert_eq!(
            line("malloc:glibc.malloc.arena_max=1,glibc.malloc.tcache_count=0"),
            "Dockerfile:    ENV PYTHONMALLOC=malloc \
             GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"
        );
        assert_eq!(
            line("so:/usr/lib/libx.so:x_:MALLOC_CONF=narenas:1"),
            "Dockerfile:    ENV PYTHONMALLOC=malloc LD_PRELOAD=/usr/lib/libx.so MALLOC_CONF=narenas:1"
        );
        let of_c = of("malloc:MALLOC_ARENA_MAX=1").unwrap().lines(false);
        assert_eq!(of_c.lines().next(), Some("  Dockerfile:    ENV MALLOC_ARENA_MAX=1"));
        assert_eq!(of("malloc").unwrap().lines(false), "");
        assert_eq!(line("tlsf"), "");
        assert_eq!(line("pymalloc"), "");
    }

    #[test]
    fn a_program_cannot_have_every_backend() {
        for spec in ["bump", "null", "tlsf", "bump:chunk=1MiB"] {
            assert_eq!(of(spec), Err(NotDeployable::NoLibrary), "{spec}");
        }
        assert_eq!(of("pymalloc:arena=1MiB"), Err(NotDeployable::BuiltIn));
        let own = of("pymalloc@3.9").unwrap();
        assert_eq!((own.has_pymalloc, own.python.as_deref()), (true, Some("3.9")));
        assert!(own.variables.is_empty() && own.preload.is_none());
    }

    #[test]
    fn other_tunables_stay() {
        let arenas = of("malloc:glibc.malloc.arena_max=1").unwrap();
        assert_eq!(
            arenas.tunables("glibc.cpu.hwcaps=-AVX2:glibc.malloc.check=3"),
            "glibc.cpu.hwcaps=-AVX2:glibc.malloc.arena_max=1"
        );
        assert_eq!(of("pymalloc").unwrap().tunables(""), "");
    }
}
