//! How a program gets a backend: the environment variables for a Dockerfile and a service file.

use crate::backends;
use crate::environment::{GLIBC_TUNABLES, LD_PRELOAD, MALLOC_CONF, PYTHONMALLOC, RJEM_MALLOC_CONF};
use crate::spec::BackendSpec;

/// Libraries by which a program gets an allocator that is compiled into heaplay.
const LIBRARIES: [(&str, &str); 3] = [
    ("jemalloc", "libjemalloc.so.2"),
    ("mimalloc", "libmimalloc.so.2"),
    ("tcmalloc", "libtcmalloc_minimal.so.4"),
];

/// Variables by name, in their order.
type Variables = Vec<(String, String)>;

/// The lines for a Dockerfile and for a service file; empty for a backend that is no library.
pub fn deployment(spec: &str) -> String {
    let variables = spec.parse().ok().and_then(|spec| variables(&spec));
    let Some(variables) = variables else { return String::new() };
    let pairs: Vec<String> =
        variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let pairs = pairs.join(" ");
    format!("  Dockerfile:    ENV {pairs}\n  service file:  Environment={pairs}\n")
}

/// The variables that give a program the backend.
fn variables(spec: &BackendSpec) -> Option<Variables> {
    let mut variables = Variables::new();
    let own = match spec.below() {
        Some(below) if spec.name() == "pymalloc" => below,
        // Every call of the trace goes to this backend, without pymalloc in front of it.
        _ => {
            variables.push((PYTHONMALLOC.to_owned(), "malloc".to_owned()));
            spec
        }
    };
    match (own.name(), own.path()) {
        (_, Some(path)) => variables.push((LD_PRELOAD.to_owned(), path.to_owned())),
        ("malloc", _) => {}
        (name, _) => {
            let (_, library) = LIBRARIES.iter().find(|(known, _)| *known == name)?;
            variables.push((LD_PRELOAD.to_owned(), (*library).to_owned()));
        }
    }
    for (name, value) in backends::environment(own).unwrap_or_default() {
        add(&mut variables, name, value.to_string_lossy().into_owned());
    }
    Some(variables)
}

/// Adds a variable of a child's environment, as a program outside heaplay needs it.
fn add(variables: &mut Variables, name: String, value: String) {
    match name.as_str() {
        LD_PRELOAD => {}
        GLIBC_TUNABLES if value.starts_with("glibc.rtld.") => {}
        // The compiled-in jemalloc has a prefix, an installed one has none.
        RJEM_MALLOC_CONF => variables.push((MALLOC_CONF.to_owned(), value)),
        _ => match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, present)) => {
                present.push(':');
                present.push_str(&value);
            }
            None => variables.push((name, value)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_program_needs() {
        let line =
            |spec: &str| deployment(spec).lines().next().unwrap_or_default().trim().to_owned();
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
        assert_eq!(line("tlsf"), "");
    }
}
