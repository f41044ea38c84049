//! The pages of `docs/reference` are generated from the code, so that a change of help, metrics,
//! settings, variables or exit statuses shows in review. After a change that is meant:
//! `HEAPLAY_BLESS=1 cargo test --test suite reference`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use heaplay::backends;
use heaplay::check::MEASURES;
use heaplay::cli::{Cli, Exit};
use heaplay::environment::{VARIABLES, VariableRole};
use heaplay::results::{Exactness, Metric};

/// Compares a page with the committed one, or writes it.
#[track_caller]
fn compare(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name);
    if std::env::var_os("HEAPLAY_BLESS").is_some() {
        fs::write(&path, page).expect("docs/reference can be written");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(page.lines()).position(|(before, now)| before != now);
    let shared = committed.lines().count().min(page.lines().count());
    let line = differs.unwrap_or(shared) + 1;
    assert!(
        committed == page,
        "docs/reference/{name} is not what the code has, from line {line}: {:?}\n\
         where the change is meant: HEAPLAY_BLESS=1 cargo test --test suite reference",
        page.lines().nth(line - 1).unwrap_or_default()
    );
}

fn head(title: &str, text: &str) -> String {
    format!(
        "# {title}\n\nThis page is generated from the code (`HEAPLAY_BLESS=1 cargo test --test \
         suite reference`).\n\n{text}\n"
    )
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn row(out: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn table(out: &mut String, header: &[&str]) {
    row(out, header);
    let _ = writeln!(out, "|{}", "---|".repeat(header.len()));
}

/// A default or a value as code.
fn code(text: &str) -> String {
    format!("`{text}`")
}

#[test]
fn verbs_are_those_of_the_command_line() {
    let mut out = head(
        "Verbs",
        "`heaplay VERB --help` prints the same. A size is a number with a unit: `64K`, `512MiB`, \
         `2G`.\n",
    );
    let mut cli = Cli::command();
    cli.build();
    let verbs: Vec<&Command> = cli
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
        .collect();
    for verb in &verbs {
        let _ = writeln!(out, "- [{0}](#{0})", verb.get_name());
    }
    for verb in verbs {
        out.push_str(&section(verb));
    }
    compare("verbs.md", &out);
}

/// The section of a verb.
fn section(verb: &Command) -> String {
    let mut out = format!("\n## {}\n\n", verb.get_name());
    let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string);
    let _ = writeln!(out, "{}.\n", about.unwrap_or_default().trim_end_matches('.'));
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let usage: Vec<&str> = usage.lines().map(str::trim).collect();
    let _ = writeln!(out, "```text\n{}\n```\n", usage.join("\n"));
    for argument in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
        if !["help", "version"].contains(&argument.get_id().as_str()) {
            out.push_str(&entry(argument));
        }
    }
    if let Some(after) = verb.get_after_help() {
        let _ = writeln!(out, "\n{}", after.to_string().trim());
    }
    out
}

/// The entry of an option or of an argument.
fn entry(argument: &Arg) -> String {
    let values: Vec<String> =
        argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let takes_values = argument.get_action().takes_values();
    let value = if takes_values { values.join(" ") } else { String::new() };
    let name = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long} {value}"),
        (None, Some(long)) => format!("--{long} {value}"),
        (Some(short), None) => format!("-{short} {value}"),
        (None, None) => value,
    };
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let mut out = format!("- `{}`: {}.", name.trim(), help.trim().trim_end_matches('.'));
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| code(&value.to_string_lossy())).collect();
    if takes_values && !defaults.is_empty() {
        let _ = write!(out, " Default: {}.", defaults.join(", "));
    }
    out.push('\n');
    let possible = argument.get_possible_values();
    for value in possible.iter().filter(|value| takes_values && !value.is_hide_set()) {
        let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
        let _ = writeln!(out, "  - {}{help}", code(value.get_name()));
    }
    out
}

#[test]
fn backends_are_those_of_the_list() {
    let mut out = head(
        "Backends",
        "`heaplay backends` lists those of a build with their versions, and `heaplay backends NAME` \
         has the constants of one. A backend is named by a spec: \
         `name[@version][:key=value,…][+below]`.",
    );
    for backend in backends::reference() {
        let _ =
            writeln!(out, "\n## {}\n\n{}.", backend.name, backend.summary.trim_end_matches('.'));
        if backend.is_optional {
            let _ = writeln!(out, "A build has it with the feature `{}`.", backend.name);
        }
        if let Some(below) = backend.below {
            let _ =
                writeln!(out, "The layer below it is `{below}`, where the spec names no other.");
        }
        if backend.settings.is_empty() {
            continue;
        }
        let _ = match backend.settings_read_from {
            Some(source) => writeln!(out, "Settings, which the allocator reads from {source}:\n"),
            None => writeln!(out, "Settings:\n"),
        };
        table(&mut out, &["setting", "values", "default", "effect"]);
        for setting in backend.settings {
            let default = match setting.default.contains(' ') {
                true => setting.default.to_owned(),
                false => code(setting.default),
            };
            row(&mut out, &[&code(setting.name), setting.values, &default, setting.meaning]);
        }
    }
    compare("backends.md", &out);
}

#[test]
fn variables_are_those_of_the_program() {
    let mut out = head(
        "Environment variables",
        "A name that ends with `*` stands for all variables that begin so.",
    );
    for role in VariableRole::ALL {
        let title = match role {
            VariableRole::Read => "Read",
            VariableRole::PassedOn => "Passed on to allocators",
            VariableRole::Set => "Set",
            VariableRole::Internal => "Internal",
        };
        let _ = writeln!(out, "\n## {title}\n\n{}\n", role.describe());
        table(&mut out, &["variable", "read by", "effect"]);
        for variable in VARIABLES.iter().filter(|variable| variable.role == role) {
            row(&mut out, &[&code(variable.name), variable.reader, variable.meaning]);
        }
    }
    compare("environment.md", &out);
}

#[test]
fn metrics_are_those_of_the_table() {
    let mut out = head(
        "Metrics",
        "Lower is better for every metric that `heaplay check` judges. `heaplay check --list` prints \
         the same.\n\n## Measures of a check\n",
    );
    table(&mut out, &["measure", "unit", "judged", "meaning"]);
    for measure in MEASURES {
        row(&mut out, &[&code(measure.name), measure.unit, measure.rule, measure.meaning]);
    }
    for exactness in [
        Exactness::Trace,
        Exactness::Policy,
        Exactness::Machine,
        Exactness::Layout,
        Exactness::Timed,
        Exactness::Reported,
    ] {
        let mut title = exactness.describe().to_owned();
        title[..1].make_ascii_uppercase();
        let _ = writeln!(out, "\n## {title}\n");
        table(&mut out, &["metric", "unit", "meaning"]);
        for metric in Metric::ALL.iter().filter(|metric| metric.exactness() == exactness) {
            row(&mut out, &[&code(metric.name()), metric.unit(), metric.meaning()]);
        }
    }
    compare("metrics.md", &out);
}

#[test]
fn exit_statuses_are_those_of_the_program() {
    let mut out = head("Exit statuses", "The verbs end with these.\n");
    table(&mut out, &["status", "meaning"]);
    for exit in Exit::ALL {
        row(&mut out, &[&exit.code().to_string(), exit.meaning()]);
    }
    out.push_str(
        "\n`heaplay record` ends with the status of the recorded program. Where the program was not \
         started or not recorded it ends with 2, on a full disk with 75. A program that is not there \
         has 127, one that cannot be executed 126, as in a shell.\n",
    );
    compare("exit-codes.md", &out);
}

/// Code has the constants of `src/environment.rs`, not the texts.
#[test]
fn variables_are_named_in_their_table() {
    let names: Vec<String> =
        VARIABLES.iter().map(|variable| format!("\"{}\"", variable.name)).collect();
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the source is there").flatten() {
            let path = entry.path();
            // The recorder and the observer are compiled by themselves.
            match path.is_dir() {
                true if ["src/observer", "src/recorder"].iter().any(|end| path.ends_with(end)) => {}
                true => folders.push(path),
                false if path.ends_with("src/environment.rs") => {}
                false => found.extend(variables_as_text(&path, &names)),
            }
        }
    }
    assert!(found.is_empty(), "name them in src/environment.rs:\n{}", found.join("\n"));
}

/// The lines outside tests that have the name of a variable as a whole text, or read a variable by a
/// text.
fn variables_as_text(path: &Path, names: &[String]) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let is_text = |line: &str| {
        let calls = ["env::var(\"", "env::var_os(\"", ".env(\"", ".env_remove(\""];
        let has_name = || names.iter().any(|name| line.contains(name));
        calls.iter().any(|call| line.contains(call)) || has_name()
    };
    // The name of an option's value is another matter.
    let is_code = |line: &str| !line.contains("value_name = ");
    let lines = code.lines().enumerate().filter(|(_, line)| is_code(line) && is_text(line));
    lines.map(|(at, line)| format!("{}:{}: {}", path.display(), at + 1, line.trim())).collect()
}
