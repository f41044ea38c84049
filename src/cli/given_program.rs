//! The program at the end of a command line, with its arguments: options there that may be meant for
//! heaplay.
//!
//! `record` and `live` pass on all that stands behind the program, so an option there is the
//! program's. One that heaplay has, too, is reported. An option in the program's own place is
//! refused, as any unknown option is.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command};

use super::python_file;
use crate::spec::nearest;

/// The words of the program, and what stands before them.
pub struct GivenProgram {
    words: Vec<OsString>,
    /// Whether `--` stands before the program.
    is_marked: bool,
    /// Whether heaplay puts an interpreter in front.
    has_interpreter: bool,
}

impl GivenProgram {
    /// The program in a command line; `None` for a verb that runs none.
    pub fn of(line: &[OsString], own: &ArgMatches) -> Option<GivenProgram> {
        let words = own.try_get_raw("program").ok()??;
        let words: Vec<OsString> = words.map(OsStr::to_owned).collect();
        let before = line.len().checked_sub(words.len() + 1)?;
        let is_marked = line.get(before).is_some_and(|word| word == "--");
        let has_interpreter = own.try_contains_id("python").is_ok_and(|has| has);
        Some(GivenProgram { words, is_marked, has_interpreter })
    }

    /// Refuses an option in the program's place.
    ///
    /// # Errors
    /// That the option is unknown, with the near one.
    pub fn refuse_option(&self, verb: &Command) -> Result<(), clap::Error> {
        let Some(first) = self.words.first().filter(|_| !self.is_marked) else { return Ok(()) };
        let option = first.to_string_lossy().into_owned();
        let is_interpreters = self.has_interpreter && python_file::needs_interpreter(first);
        if !option.starts_with('-') || is_interpreters {
            return Ok(());
        }
        let mut error = clap::Error::new(ErrorKind::UnknownArgument).with_cmd(verb);
        let name = option.split('=').next().unwrap_or_default();
        let longs: Vec<String> = verb.get_arguments().flat_map(names).collect();
        let near = nearest(name, longs.iter().map(String::as_str));
        if let Some(near) = near.filter(|_| name.starts_with("--")) {
            error.insert(ContextKind::SuggestedArg, ContextValue::String(near.to_owned()));
        }
        error.insert(ContextKind::InvalidArg, ContextValue::String(name.to_owned()));
        Err(error)
    }

    /// Refuses a number in the program's place where the option before it takes its value only behind `=`:
    /// `--sites 8`.
    ///
    /// # Errors
    /// How the option is written.
    pub fn refuse_value(&self, line: &[OsString], verb: &Command) -> Result<(), clap::Error> {
        let before = line.len().checked_sub(self.words.len() + 1).and_then(|at| line.get(at));
        let (Some(first), Some(before)) = (self.words.first(), before) else { return Ok(()) };
        let (value, option) = (first.to_string_lossy(), before.to_string_lossy().into_owned());
        let takes_value = verb
            .get_arguments()
            .any(|known| names(known).contains(&option) && known.is_require_equals_set());
        if !takes_value || value.parse::<u64>().is_err() || Path::new(&*value).exists() {
            return Ok(());
        }
        let message = format!("{value} stands in the program's place; write {option}={value}\n");
        Err(clap::Error::raw(ErrorKind::InvalidValue, message).with_cmd(verb))
    }

    /// A line for each option of the verb that the program gets.
    pub fn options_of(&self, verb: &Command) -> Vec<String> {
        if self.is_marked {
            return Vec::new();
        }
        let options: Vec<String> = verb.get_arguments().flat_map(names).collect();
        let program = self.words.first().map(|first| first.to_string_lossy()).unwrap_or_default();
        let arguments = self.words.iter().skip(1).map(|word| word.to_string_lossy());
        arguments
            .take_while(|word| word != "--")
            .filter(|word| word.split('=').next().is_some_and(|name| options.iter().any(|o| o == name)))
            .map(|word| {
                let value = if word.contains('=') { "" } else { " …" };
                format!(
                    "{word} stands after {program}, so the program gets it; if it is meant for heaplay, \
                     write `heaplay {} {word}{value} -- {program} …`",
                    verb.get_name(),
                )
            })
            .collect()
    }
}

/// The names of an option that takes a value or changes what is done.
fn names(option: &Arg) -> Vec<String> {
    if matches!(option.get_id().as_str(), "help" | "version") {
        return Vec::new();
    }
    let longs = option.get_long_and_visible_aliases().unwrap_or_default();
    let shorts = option.get_short_and_visible_aliases().unwrap_or_default();
    let longs = longs.into_iter().map(|long| format!("--{long}"));
    longs.chain(shorts.into_iter().map(|short| format!("-{short}"))).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn given(line: &str) -> GivenProgram {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let matches = Cli::command().get_matches_from(&words);
        GivenProgram::of(&words, matches.subcommand().unwrap().1).unwrap()
    }

    fn built(verb: &str) -> Command {
        let mut command = Cli::command();
        command.build();
        command.find_subcommand(verb).unwrap().clone()
    }

    #[test]
    fn options_of_heaplay_behind_the_program_are_reported() {
        let reported = |line: &str| {
            let verb = line.split(' ').nth(1).unwrap();
            given(line).options_of(&built(verb)).join("\n")
        };
        let line = reported("heaplay record app.py --sites=8 --verbose");
        assert!(line.contains("--sites=8 stands after app.py"), "{line}");
        assert!(line.contains("`heaplay record --sites=8 -- app.py …`"), "{line}");
        assert!(reported("heaplay live app.py --backends x").contains("--backends stands after"));
        for line in [
            "heaplay record -- app.py --sites=8",
            "heaplay record app.py --help",
            "heaplay record --sites=8 app.py x",
            "heaplay live nice -5",
            "heaplay live app.py -- --backends x",
        ] {
            assert_eq!(reported(line), "", "{line}");
        }
    }

    #[test]
    fn an_option_in_the_place_of_the_program_is_refused() {
        let refused = |line: &str| given(line).refuse_option(&built("record")).err();
        let message = refused("heaplay record --site=8 -o x.trace -- python own.py").unwrap();
        let message = message.to_string();
        assert!(message.contains("'--site'") && message.contains("'--sites'"), "{message}");
        assert!(refused("heaplay record -m app").is_some());
        assert!(refused("heaplay record --python /opt/python -m app").is_none());
        assert!(refused("heaplay record -- python own.py").is_none());
    }
}
