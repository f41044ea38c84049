//! What the parser of the command line refuses, with the next step as a tip.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches};

use super::command_line::Cli;
use super::given_program::GivenProgram;
use super::python_file;
use super::sweep::grid_advice;
use super::terminal::note;
use crate::spec::nearest;

/// A command line that works, for each verb that does nothing without arguments.
const EXAMPLES: [(&str, &str); 18] = [
    ("record", "heaplay record -- python3 app.py"),
    ("recorder", "heaplay recorder /opt/heaplay"),
    ("selftest", "heaplay selftest app.trace --aa"),
    ("import", "heaplay import log -o app.trace"),
    ("inspect", "heaplay inspect app.trace"),
    ("run", "heaplay run app.trace -b malloc,jemalloc"),
    ("plan", "heaplay plan app.trace -b malloc,jemalloc"),
    ("scale", "heaplay scale app.trace --threads 1,2,4"),
    ("live", "heaplay live -b malloc,jemalloc -- ./server --port 80"),
    ("report", "heaplay report reports/app"),
    ("diff", "heaplay diff before.trace after.trace"),
    ("export", "heaplay export app.trace --to pprof"),
    ("calibrate", "heaplay calibrate app.trace --build malloc"),
    ("merge", "heaplay merge part1 part2 -o whole"),
    ("whatif", "heaplay whatif app.trace --drop-site app.py:12"),
    ("convert", "heaplay convert app.csv app.trace"),
    ("man", "heaplay man /usr/local/share/man/man1"),
    ("generate", "heaplay generate made.trace --calls 100000"),
];

/// What `whatif` needs beside the trace.
const WHATIF_TIP: &str = "--move-site or --drop-site, such as `heaplay whatif app.trace --drop-site \
                          app.py:12`; `heaplay inspect app.trace` lists the lines";

/// Reads a command line, whose first word is the program.
///
/// # Errors
/// What the parser refuses, with a tip for the next step.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    let verb = words.get(1).map(|verb| verb.to_string_lossy().into_owned()).unwrap_or_default();
    let parsed = command().try_get_matches_from(&words).and_then(|matches| {
        let given = matches.subcommand().and_then(|(_, own)| GivenProgram::of(&words, own));
        if let Some(given) = given {
            let mut whole = command();
            whole.build();
            if let Some(own) = whole.find_subcommand(&verb) {
                given.refuse_option(own)?;
                given.refuse_value(&words, own)?;
                given.options_of(own).into_iter().for_each(note);
            }
        }
        Cli::from_arg_matches(&matches)
    });
    parsed.map_err(|error| with_tips(error, &verb))
}

/// The command line, with options that take `-1` for a value, which their parsers refuse with what they
/// expect. Otherwise it is an unknown option.
fn command() -> Command {
    let with_negatives = |option: Arg| match option.get_action().takes_values() {
        true if !option.is_positional() => option.allow_negative_numbers(true),
        _ => option,
    };
    Cli::command().mut_subcommands(|verb| verb.mut_args(with_negatives))
}

/// The error, with a tip for the next step.
fn with_tips(mut error: clap::Error, verb: &str) -> clap::Error {
    let tips: Vec<String> = match error.kind() {
        ErrorKind::InvalidValue => {
            expected_value(&error, verb).or_else(|| picture_format(&error)).into_iter().collect()
        }
        ErrorKind::ArgumentConflict => {
            let tip = given_twice(&error)
                .or_else(|| resume_conflict(&error))
                .or_else(|| budget_conflict(&error));
            tip.into_iter().collect()
        }
        ErrorKind::InvalidSubcommand => vec![near_verb(&error)],
        ErrorKind::UnknownArgument => unknown_option(&error, verb).into_iter().collect(),
        ErrorKind::MissingRequiredArgument if verb == "sweep" => vec![grid_advice()],
        ErrorKind::MissingRequiredArgument if verb == "whatif" => vec![WHATIF_TIP.to_owned()],
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues => {
            let example = EXAMPLES.into_iter().find(|(name, _)| *name == verb);
            example.map(|(_, line)| format!("an example: {line}")).into_iter().collect()
        }
        _ => Vec::new(),
    };
    if !tips.is_empty() {
        let tips = tips.into_iter().map(Into::into).collect();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// The verb that a mistyped one is most like.
fn near_verb(error: &clap::Error) -> String {
    let command = command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(Command::get_name);
    let mistyped = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
    let all = "`heaplay --help` lists the verbs";
    match nearest(&mistyped, verbs) {
        Some(near) => format!("did you mean `heaplay {near}`? {all}"),
        None => all.to_owned(),
    }
}

/// The next step for an option that a verb has not: the verbs that have it, if there are any. `None`
/// where the parser names a near option.
fn unknown_option(error: &clap::Error, verb: &str) -> Option<String> {
    let option = text(error, ContextKind::InvalidArg)?;
    let command = command();
    let own = command.find_subcommand(verb);
    let runs_program =
        own.is_some_and(|own| own.get_positionals().any(|p| p.get_id() == "program"));
    if runs_program && python_file::needs_interpreter(option.as_ref()) {
        return Some(format!(
            "put the interpreter in front: `heaplay {verb} -- python3 {option} …`"
        ));
    }
    if let Some(own) = own.filter(|_| !option.starts_with('-')) {
        let names: Vec<String> = own
            .get_positionals()
            .map(|p| format!("<{}>", p.get_id().as_str().to_uppercase()))
            .collect();
        return Some(match names.is_empty() {
            true => format!("`heaplay {verb}` takes options only"),
            false => format!("`heaplay {verb}` takes {} and no more", names.join(" ")),
        });
    }
    let long =
        option.strip_prefix("--").and_then(|long| long.split('=').next()).unwrap_or_default();
    let has_it = |other: &&Command| {
        let is_other = !other.is_hide_set() && other.get_name() != verb;
        is_other && other.get_arguments().any(|own| longs(own).contains(&long))
    };
    let others = command.get_subcommands().filter(has_it);
    let others: Vec<String> =
        others.map(|other| format!("`heaplay {}`", other.get_name())).collect();
    match others.split_last() {
        Some((last, [])) => Some(format!("{last} has --{long}")),
        Some((last, first)) => Some(format!("{} and {last} have --{long}", first.join(", "))),
        None if error.get(ContextKind::SuggestedArg).is_some() => None,
        None if own.is_some() => Some(format!("`heaplay {verb} --help` lists its options")),
        None => Some("`heaplay --help` lists the verbs; each has options of its own".to_owned()),
    }
}

/// The long names of an option.
fn longs(option: &Arg) -> Vec<&str> {
    option.get_long_and_visible_aliases().unwrap_or_default()
}

/// What an option takes that was given without a value: what its parser says, else its help.
fn expected_value(error: &clap::Error, verb: &str) -> Option<String> {
    let is_missing = matches!(
        error.get(ContextKind::InvalidValue),
        Some(ContextValue::String(value)) if value.is_empty()
    );
    let name = text(error, ContextKind::InvalidArg).filter(|_| is_missing)?;
    let long = name.strip_prefix("--")?.split([' ', '[', '=']).next()?.to_owned();
    let refused = command().try_get_matches_from(["heaplay", verb, &format!("--{long}=")]).err();
    let refused = refused.filter(|refused| refused.kind() == ErrorKind::ValueValidation);
    if let Some(reason) = refused.as_ref().and_then(std::error::Error::source) {
        return Some(reason.to_string());
    }
    let command = command();
    let option = command.find_subcommand(verb)?.get_arguments();
    let option = option.into_iter().find(|option| option.get_long() == Some(&long))?;
    if !option.get_possible_values().is_empty() {
        return None; // The parser lists them itself.
    }
    Some(format!("--{long}: {}", option.get_help()?))
}

/// The next step for an option that was given a second time.
fn given_twice(error: &clap::Error) -> Option<String> {
    let given = text(error, ContextKind::InvalidArg)?;
    (prior(error)? == given)
        .then(|| format!("it takes one value: run heaplay once for each {given}"))
}

/// The options that a refused one is in conflict with.
fn prior(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::PriorArg) {
        Some(ContextValue::Strings(names)) => Some(names.join(" ")),
        Some(ContextValue::String(name)) => Some(name.clone()),
        _ => None,
    }
}

/// Why a run that goes on takes neither traces nor options of a plan.
fn resume_conflict(error: &clap::Error) -> Option<String> {
    let is_resume = |text: String| text.contains("--resume ");
    let sides = [text(error, ContextKind::InvalidArg), prior(error)];
    sides.into_iter().flatten().any(is_resume).then(|| {
        "the run folder has its plan (traces, backends, passes): `heaplay run --resume RUN` is enough"
            .to_owned()
    })
}

/// Where the pictures are, for a format of pictures that `export` does not have.
fn picture_format(error: &clap::Error) -> Option<String> {
    let format = text(error, ContextKind::InvalidValue)?.to_lowercase();
    let is_picture = ["svg", "png", "html", "pdf"].contains(&format.as_str());
    is_picture.then(|| {
        "the pictures and the page are in the run folder (PNG, index.html); `heaplay report RUN` draws \
         them again"
            .to_owned()
    })
}

/// Why a fixed number of repetitions or rounds takes no budget.
fn budget_conflict(error: &clap::Error) -> Option<String> {
    let both = format!("{} {}", text(error, ContextKind::InvalidArg)?, prior(error)?);
    let counted =
        ["repetitions", "rounds"].into_iter().find(|name| both.contains(&format!("--{name} ")))?;
    both.contains("--budget ").then(|| {
        format!(
            "-r fixes the number of {counted}, so a budget has no effect; leave out --budget, or leave \
             out -r to measure until each comparison is decided or the budget is spent"
        )
    })
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> String {
        let words = std::iter::once("heaplay").chain(words.iter().copied());
        parse(words.map(OsString::from)).err().unwrap().to_string()
    }

    #[test]
    fn a_missing_value_is_described() {
        let message = refused(&["run", "a.trace", "-r"]);
        assert!(
            message.contains("tip: expected a number of repetitions from 1 to 255"),
            "{message}"
        );
        let message = refused(&["run", "a.trace", "--budget"]);
        assert!(message.contains("tip: expected seconds up to 604800, such as 60"), "{message}");
        let message = refused(&["run", "a.trace", "--out"]);
        assert!(message.contains("tip: --out: The run folder"), "{message}");
        let message = refused(&["run", "a.trace", "-b"]);
        assert!(message.contains("tip: --backends: Backends, separated by commas"), "{message}");
    }

    #[test]
    fn a_negative_number_is_a_value() {
        for words in [["run", "a", "-r", "-1"], ["inspect", "a", "--sites", "-1"]] {
            let message = refused(&words);
            assert!(message.contains("expected a number of"), "{message}");
        }
        let message = refused(&["run", "a", "--budget", "-5"]);
        assert!(message.contains("expected seconds up to"), "{message}");
        // It stays one of the program.
        assert!(parse(["heaplay", "live", "-r", "1", "nice", "-5"].map(OsString::from)).is_ok());
        let message = refused(&["merge", "a", "-o", "b"]);
        assert!(message.contains("tip: an example: heaplay merge"), "{message}");
    }

    #[test]
    fn a_budget_beside_a_fixed_number_has_its_reason() {
        for words in [
            ["run", "a.trace", "-r", "3", "--budget", "10"].as_slice(),
            &["run", "a.trace", "--budget", "10", "-r", "3"],
            &["sweep", "a.trace", "-b", "jemalloc", "-r", "5", "--budget", "10"],
            &["live", "-r", "3", "--budget", "10", "--", "true"],
        ] {
            let message = refused(words);
            let counted = if words[0] == "live" { "rounds" } else { "repetitions" };
            for part in
                [&format!("the number of {counted}"), "leave out --budget", "--budget <SECONDS>"]
            {
                assert!(message.contains(part), "no {part} in: {message}");
            }
        }
        let other = refused(&["run", "--resume", "a", "-r", "3"]);
        assert!(!other.contains("leave out --budget"), "{other}");
    }

    #[test]
    fn what_is_given_too_often_has_its_next_step() {
        let message = refused(&["whatif", "a", "--move-site", "a.py:1", "--move-site", "a.py:2"]);
        assert!(message.contains("once for each --move-site <FILE:LINE>"), "{message}");
        let message = refused(&["whatif", "a.trace"]);
        assert!(message.contains("tip: --move-site or --drop-site"), "{message}");
        let message = refused(&["run", "--resume", "a", "b.trace", "-b", "malloc"]);
        assert!(message.contains("`heaplay run --resume RUN` is enough"), "{message}");
        let message = refused(&["export", "a", "--to", "SVG"]);
        assert!(message.contains("PNG, index.html"), "{message}");
        let message = refused(&["report", "a", "b"]);
        assert!(message.contains("`heaplay report` takes <RUN> and no more"), "{message}");
    }

    #[test]
    fn a_near_verb_and_the_verb_of_an_option_are_named() {
        for (words, parts) in [
            (&["record", "--sites", "8", "--", "python3"][..], &["write --sites=8"][..]),
            (&["record", "--sites", "8", "python3"], &["write --sites=8"]),
            (&["rnu", "a.trace"][..], &["did you mean `heaplay run`?", "--help"][..]),
            (&["zzz"], &["`heaplay --help` lists the verbs"]),
            (&["run", "a.trace", "--until-mark", "x"], &["`heaplay live` has --until-mark"]),
            (&["run", "a.trace", "--png"], &["`heaplay inspect` and `heaplay scale` have --png"]),
            (&["run", "a.trace", "--no-pictures"], &["`heaplay run --help` lists its options"]),
            (&["--sites=8"], &["have --sites"]),
            (&["help", "rnu"], &["did you mean `heaplay run`?"]),
            (&["record", "-m", "app"], &["`heaplay record -- python3 -m …`"]),
        ] {
            let message = refused(words);
            for part in parts {
                assert!(message.contains(part), "no {part} in: {message}");
            }
        }
    }

    /// Each verb that does nothing without arguments has an example, and each example is one.
    #[test]
    fn examples_are_command_lines() {
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            let Err(error) = parse(["heaplay", name].map(OsString::from)) else { continue };
            let message = error.to_string();
            let has_values =
                verb.get_positionals().any(|argument| !argument.get_possible_values().is_empty());
            assert!(has_values || message.contains("tip: "), "{message}");
        }
        for (verb, line) in EXAMPLES {
            let parsed = parse(line.split(' ').map(OsString::from));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().unwrap());
            assert!(line.starts_with(&format!("heaplay {verb} ")), "{line}");
        }
    }
}
