//! A grid of backends: braces in a spec stand for one spec a value.

use crate::backends::{self, BackendError};
use crate::spec::BackendSpec;

/// The largest grid, in backends. More is rather a mistake in typing.
const MOST_BACKENDS: usize = 64;

/// Why a text is no grid.
#[derive(Debug, thiserror::Error)]
pub enum GridError {
    /// Braces that do not enclose values.
    #[error("{text}: {expected}")]
    Braces {
        /// The whole text.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A spec that names no backend.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Too many backends.
    #[error("the grid has {backends} backends, more than {MOST_BACKENDS}; give fewer values")]
    TooLarge {
        /// How many.
        backends: usize,
    },
}

/// Every backend of a grid: `baselines`, then of each text the backend without settings and its
/// variants in their order. Each spec is there once. A text may be a list of backends.
///
/// # Errors
/// As [`GridError`].
pub fn expand_grid(baselines: &[&str], texts: &[String]) -> Result<Vec<BackendSpec>, GridError> {
    let mut all = Vec::new();
    let mut add = |spec: BackendSpec| {
        if !all.contains(&spec) {
            all.push(spec);
        }
    };
    for baseline in baselines {
        add(backends::parse(baseline)?);
    }
    for text in texts {
        let variants = expand(text)?;
        let variants = variants.iter().map(|variant| backends::parse_list(variant));
        let variants: Vec<Vec<BackendSpec>> = variants.collect::<Result<_, _>>()?;
        let variants = variants.concat();
        variants.iter().for_each(|variant| add(variant.without_settings()));
        variants.into_iter().for_each(&mut add);
    }
    match all.len() {
        backends if backends > MOST_BACKENDS => Err(GridError::TooLarge { backends }),
        _ => Ok(all),
    }
}

/// `a{1,2}b{3,4}` as its four texts.
fn expand(text: &str) -> Result<Vec<String>, GridError> {
    let refused = |expected| Err(GridError::Braces { text: text.to_owned(), expected });
    let Some((head, rest)) = text.split_once('{') else {
        return match text.contains('}') {
            true => refused("expected `{` before `}`, as in {0,1000}"),
            false => Ok(vec![text.to_owned()]),
        };
    };
    let Some((values, tail)) = rest.split_once('}') else {
        return refused("expected `}` after `{`, as in {0,1000}");
    };
    if head.contains('}') || values.contains('{') || values.split(',').any(str::is_empty) {
        return refused("expected values in braces, such as {0,1000}");
    }
    let tails = expand(tail)?;
    let values = values.split(',');
    Ok(values.flat_map(|value| tails.iter().map(move |t| format!("{head}{value}{t}"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_a_grid() {
        assert_eq!(
            expand("a:x={1,2},y={3,4}").unwrap(),
            ["a:x=1,y=3", "a:x=1,y=4", "a:x=2,y=3", "a:x=2,y=4"]
        );
        assert_eq!(expand("malloc").unwrap(), ["malloc"]);
        for text in ["a:x={1", "a:x=1}", "a:x={}", "a:x={1,{2}}", "a:x={1,}"] {
            assert!(expand(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_grid_has_the_baselines_and_each_backend_without_settings() {
        let grid = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            expand_grid(&["pymalloc", "malloc"], &texts)
        };
        assert_eq!(
            grid(&["malloc:MALLOC_ARENA_MAX={1,2}", "bump:reserve=1GiB"]).unwrap(),
            [
                "pymalloc",
                "malloc",
                "malloc:MALLOC_ARENA_MAX=1",
                "malloc:MALLOC_ARENA_MAX=2",
                "bump",
                "bump:reserve=1GiB"
            ]
        );
        assert_eq!(
            grid(&["so:/opt/c++/a:b.so:A={1,2}"]).unwrap()[2..],
            ["so:/opt/c++/a:b.so", "so:/opt/c++/a:b.so:A=1", "so:/opt/c++/a:b.so:A=2"]
        );
        let listed = grid(&["malloc:MALLOC_ARENA_MAX={1,2},bump:reserve={1GiB,2GiB}"]).unwrap();
        let bumps = listed.iter().filter(|spec| spec.name() == "bump");
        assert_eq!((listed.len(), bumps.count()), (7, 3), "{listed:?}");
        let large =
            "malloc:MALLOC_ARENA_MAX={1,2,3,4,5,6,7,8},MALLOC_ARENA_TEST={1,2,3,4,5,6,7,8,9}";
        assert!(matches!(grid(&[large]), Err(GridError::TooLarge { .. })));
        assert!(matches!(grid(&["mallco"]), Err(GridError::Backend(_))));
    }
}
