//! Files that are shipped agree with each other and with the program: manual pages, completions, the
//! Python package, the container, the action and the guide.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use clap::CommandFactory;
use heaplay::cli::Cli;
use tempfile::TempDir;

use crate::support::process::{expect, finish, heaplay, on_path, printed, repository};
use crate::support::skip::skip;

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// The value of `key = "…"` in a TOML table.
fn toml_value(file: &str, table: &str, key: &str) -> String {
    let parsed: toml::Table = toml::from_str(&read(file)).unwrap();
    parsed[table][key].as_str().unwrap_or_default().to_owned()
}

/// Every verb has a page, and every page every option of its verb. A formatter of manual pages
/// finds no fault.
#[test]
fn manual_pages_have_every_verb_and_option() {
    let folder = TempDir::new().unwrap();
    expect(0, heaplay().arg("man").arg(folder.path()));
    let mut cli = Cli::command();
    cli.build();
    let visible = |verb: &&clap::Command| !verb.is_hide_set() && verb.get_name() != "help";
    let mut expected = BTreeSet::from(["heaplay.1".to_owned()]);
    for verb in cli.get_subcommands().filter(visible) {
        let name = format!("heaplay-{}.1", verb.get_name());
        let page = fs::read_to_string(folder.path().join(&name)).unwrap();
        assert!(page.contains(".TH "), "{name}");
        for option in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
            if let Some(long) = option.get_long() {
                let written = format!("\\-\\-{}", long.replace('-', "\\-"));
                assert!(page.contains(&written), "{name}: no {written}");
            }
        }
        expected.insert(name);
    }
    let pages = fs::read_dir(folder.path()).unwrap();
    let pages: BTreeSet<String> =
        pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    let missing: Vec<_> = expected.difference(&pages).collect();
    assert!(missing.is_empty(), "{missing:?}");
    if on_path("groff").is_none() {
        skip("groff", "no program `groff` on the PATH");
        return;
    }
    for page in pages {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Tascii", "-ww"]).arg(folder.path().join(&page));
        let output = finish(&mut groff);
        assert!(output.status.success() && output.stdout.len() > 500, "{page}");
    }
}

/// A shell parses its completion script, and the script has every verb.
#[test]
fn completions_are_scripts_of_their_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&finish(heaplay().args(["completions", shell])));
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
        }
        if on_path(shell).is_some() {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("script");
            fs::write(&path, script).unwrap();
            expect(0, Command::new(shell).arg("-n").arg(path));
        }
    }
}

/// The Python package has the licence, the versions and the name of the crate.
#[test]
fn the_python_package_is_that_of_the_crate() {
    for key in ["name", "license", "readme"] {
        let python = toml_value("pyproject.toml", "project", key);
        assert_eq!(python, toml_value("Cargo.toml", "package", key), "{key}");
    }
    let version = toml_value("Cargo.toml", "package", "version");
    assert!(read("CITATION.cff").contains(&format!("\nversion: {version}\n")));
    // What the recorder writes for a container is what the wheel has.
    let folder = TempDir::new().unwrap();
    expect(0, heaplay().arg("recorder").arg(folder.path()));
    let written = fs::read_dir(folder.path().join("heaplay")).unwrap();
    let written: BTreeSet<_> = written.map(|entry| entry.unwrap().file_name()).collect();
    let package = fs::read_dir(repository("python/heaplay")).unwrap();
    let package = package.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file());
    let package: BTreeSet<_> = package.map(|entry| entry.file_name()).collect();
    assert_eq!(written, package);
    for name in written {
        let [one, other] = [folder.path().join("heaplay"), repository("python/heaplay")];
        assert_eq!(fs::read(one.join(&name)).unwrap(), fs::read(other.join(&name)).unwrap());
    }
}

/// The variables of a container stand in the guide as the program prints them.
#[test]
fn the_guide_has_the_line_for_a_container() {
    let folder = TempDir::new().unwrap();
    let mut recorder = heaplay();
    recorder.args(["recorder", "--sites=1", "--at", "/opt/heaplay"]).arg(folder.path());
    let lines = printed(&finish(&mut recorder));
    let variables = lines.lines().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    let variables = variables.replace('\'', "");
    let guide = read("docs/guide/recording.md");
    for variable in variables.split(' ') {
        assert!(guide.contains(&format!("    ENV {variable}\n")), "{variable}");
    }
}

/// The options that the action passes to `heaplay check` are options of that verb, and its README
/// names every input.
#[test]
fn the_action_uses_options_that_exist() {
    let action = read("action.yml");
    let mut cli = Cli::command();
    cli.build();
    let check = cli.find_subcommand("check").unwrap();
    let known: BTreeSet<&str> = check.get_arguments().filter_map(|a| a.get_long()).collect();
    let script = action.split("options=()").nth(1).unwrap();
    let options = script.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let options: Vec<&str> = options.filter_map(|text| text.strip_prefix("--")).collect();
    assert!(options.len() >= 4, "{options:?}");
    for option in options {
        assert!(known.contains(option), "--{option}");
    }
    let guide = read("docs/guide/installing.md");
    let inputs = action.split("\ninputs:\n").nth(1).unwrap().split("\nruns:").next().unwrap();
    let names = inputs.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = names.map(|line| line.trim().trim_end_matches(':')).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        assert!(guide.contains(&format!("`{name}`")), "docs/guide/installing.md: no input {name}");
    }
}
