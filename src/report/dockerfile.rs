//! The line of a Dockerfile by which a program gets an allocator. Those with settings need a look at the
//! machine, and `heaplay sweep` and `heaplay live` print theirs.

use crate::environment::{LD_PRELOAD, PYTHONMALLOC};
use crate::spec::{BackendSpec, preloaded_library};

/// How a program gets an allocator.
#[derive(Debug, PartialEq, Eq)]
pub enum DockerfileLine {
    /// It has it without any line.
    None,
    /// By this line.
    Env(String),
}

/// The line for the backend of a spec; `None` where no program can have it, or it has settings.
pub fn dockerfile_line(spec: &str, is_python: bool) -> Option<DockerfileLine> {
    let spec: BackendSpec = spec.parse().ok()?;
    if spec.layers().any(|layer| !layer.settings().is_empty()) {
        return None;
    }
    let mut variables: Vec<String> = Vec::new();
    let lowest = if spec.name() == "pymalloc" {
        // Only a build of the interpreter gives a program another version.
        let Some(below) = spec.below() else { return Some(DockerfileLine::None) };
        below
    } else {
        variables.extend(is_python.then(|| format!("{PYTHONMALLOC}=malloc")));
        &spec
    };
    let library = preloaded_library(lowest).ok()?;
    variables.extend(library.map(|library| format!("{LD_PRELOAD}={library}")));
    Some(match variables.as_slice() {
        [] => DockerfileLine::None,
        some => DockerfileLine::Env(format!("ENV {}", some.join(" "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_given_where_one_is_needed() {
        let env = |text: &str| Some(DockerfileLine::Env(text.to_owned()));
        assert_eq!(dockerfile_line("pymalloc", true), Some(DockerfileLine::None));
        assert_eq!(dockerfile_line("malloc", false), Some(DockerfileLine::None));
        assert_eq!(dockerfile_line("malloc", true), env("ENV PYTHONMALLOC=malloc"));
        assert_eq!(dockerfile_line("mimalloc", false), env("ENV LD_PRELOAD=libmimalloc.so.2"));
        assert_eq!(
            dockerfile_line("so:/opt/libx.so", true),
            env("ENV PYTHONMALLOC=malloc LD_PRELOAD=/opt/libx.so")
        );
        assert_eq!(dockerfile_line("malloc:MALLOC_ARENA_MAX=1", true), None, "it has settings");
        assert_eq!(dockerfile_line("bump", true), None);
    }
}
