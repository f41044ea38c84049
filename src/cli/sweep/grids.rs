//! What a grid may vary: the settings of each backend, and an example to type.

use crate::backends::BACKENDS;

/// The longest line of settings.
const WIDTH: usize = 96;

/// How to write a grid, and the settings of each backend.
pub fn grid_advice() -> String {
    let mut text = "a grid is a backend with values of a setting in braces:\n".to_owned();
    text += &format!("    heaplay sweep TRACE -b '{}'\n", example());
    text += "The settings of each backend (`heaplay backends NAME` has their values):";
    let width = BACKENDS.iter().map(|member| member.name.len()).max().unwrap_or(0);
    for member in BACKENDS.iter().filter(|member| !member.settings.is_empty()) {
        let mut line = format!("    {:width$} ", member.name);
        for (at, setting) in member.settings.iter().enumerate() {
            let comma = if at + 1 < member.settings.len() { "," } else { "" };
            if line.len() + 1 + setting.name.len() + comma.len() > WIDTH {
                text += &format!("\n{line}");
                line = format!("    {:width$} ", "");
            }
            line += &format!(" {}{comma}", setting.name);
        }
        text += &format!("\n{line}");
    }
    text
}

/// A grid that this build can measure.
fn example() -> &'static str {
    match BACKENDS.iter().any(|member| member.name == "jemalloc") {
        true => "jemalloc:dirty_decay_ms={0,1000},narenas={1,4}",
        false => "malloc:MALLOC_ARENA_MAX={1,4}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::expand_grid;

    #[test]
    fn the_advice_names_settings_and_a_grid() {
        let text = grid_advice();
        assert!(text.contains("MALLOC_ARENA_MAX,") && text.contains("pymalloc"), "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(expand_grid(&[], &[example().to_owned()]).unwrap().len() > 2);
    }
}
