//! `heaplay traces` lists, fetches and checks published traces, and `convert --anonymise` removes
//! their names. The oracles are the files themselves, a SHA-256 of this test's own, counts from the
//! CSV form, and Python's web server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::process::{expect, heaplay, on_path, repository};
use crate::support::skip::skip;
use crate::support::{interpreters, traces};

fn digest(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The most live bytes of a CSV trace, counted from its text.
fn live_peak(csv: &Path) -> u64 {
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut live, mut peak) = (0, 0);
    for request in traces::requests(csv) {
        let later = ends.split_off(&(request.event + 1));
        live -= std::mem::replace(&mut ends, later).values().sum::<u64>();
        live += request.size_bytes;
        peak = peak.max(live);
        ends.extend(request.end.map(|end| (end, request.size_bytes)));
    }
    peak
}

fn traces(folder: &Path) -> Command {
    let mut command = heaplay();
    command.arg("traces").arg(folder);
    command
}

/// A folder with two generated traces and their index.
fn published(folder: &Path) -> PathBuf {
    let published = folder.join("published");
    fs::create_dir(&published).unwrap();
    traces::generated_from(&published, "one.csv", 3000, 1);
    traces::generated_from(&published, "two.trace", 5000, 2);
    expect(0, traces(&published).args(["--write-index", "--licence", "CC0-1.0"]));
    published
}

#[test]
fn an_index_states_what_the_files_hold() {
    let folder = TempDir::new().unwrap();
    let published = published(folder.path());
    let index = fs::read_to_string(published.join("index.toml")).unwrap();
    let index: toml::Table = toml::from_str(&index).unwrap();
    let entries = index["trace"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let file = published.join(entry["file"].as_str().unwrap());
        let csv = folder.path().join("rows.csv");
        if file.extension().unwrap() == "csv" {
            fs::copy(&file, &csv).unwrap();
        } else {
            expect(0, heaplay().arg("convert").arg(&file).arg(&csv));
        }
        assert_eq!(entry["sha256"].as_str().unwrap(), digest(&file));
        assert_eq!(entry["bytes"].as_integer().unwrap() as u64, file.metadata().unwrap().len());
        assert_eq!(entry["live_peak_bytes"].as_integer().unwrap() as u64, live_peak(&csv));
        let calls = traces::requests(&csv).iter().map(|r| r.end.unwrap_or(r.event)).max().unwrap();
        assert_eq!(entry["calls"].as_integer().unwrap() as u64, calls + 1);
        assert_eq!(entry["licence"].as_str(), Some("CC0-1.0"));
    }
    // What a person wrote survives the next writing, and a new trace needs a licence.
    let text = fs::read_to_string(published.join("index.toml")).unwrap();
    let text = text.replacen("about = \"\"", "about = \"a drawn \\\"workload\\\"\"", 1);
    fs::write(published.join("index.toml"), text).unwrap();
    expect(0, traces(&published).arg("--write-index"));
    let listing = expect(0, &mut traces(&published));
    assert!(
        listing.contains("one: a drawn \"workload\"") && listing.contains("CC0-1.0"),
        "{listing}"
    );
    traces::generated_from(&published, "three.csv", 300, 3);
    assert!(expect(2, traces(&published).arg("--write-index")).contains("--licence CC0-1.0"));
    fs::rename(published.join("three.csv"), published.join("thr ee.csv")).unwrap();
    let message = expect(2, traces(&published).args(["--write-index", "--licence", "MIT"]));
    assert!(message.contains("rename the file"), "{message}");
}

#[test]
fn the_committed_index_is_verified() {
    let message = expect(0, traces(&repository("traces")).arg("--verify"));
    assert_eq!(message.matches(": as stated").count(), 6, "{message}");
    let listing = expect(0, heaplay().arg("traces").current_dir(repository("")));
    let calls = listing.lines().find(|line| line.starts_with("| service")).unwrap();
    let calls = calls.split('|').nth(2).unwrap().trim().replace(',', "");
    assert_eq!(calls, traces::catalogued_calls("service").to_string(), "{listing}");
    let json = expect(0, traces(&repository("traces")).arg("--json"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["traces"][3]["name"], "service");
}

#[test]
fn fetched_traces_are_those_published() {
    let folder = TempDir::new().unwrap();
    let published = published(folder.path());
    let to = folder.path().join("fetched");
    let source = format!("file://{}", published.canonicalize().unwrap().display());
    let fetch = |names: &str, to: &Path| {
        let mut command = heaplay();
        command.args(["traces", &source, "--fetch", names, "--to"]).arg(to);
        command
    };
    expect(0, &mut fetch("two", &to));
    assert_eq!(digest(&to.join("two.trace")), digest(&published.join("two.trace")));
    assert!(!to.join("one.csv").exists());
    expect(0, &mut fetch("all", &to));
    // What was fetched is a collection again, with the same licences.
    assert_eq!(expect(0, traces(&to).arg("--verify")).matches(": as stated").count(), 2);
    expect(0, heaplay().args(["inspect"]).arg(to.join("one.csv")));

    assert!(expect(2, &mut fetch("tow", &to)).contains("expected one of one, two"));
    fs::write(to.join("two.trace"), "other").unwrap();
    assert!(expect(2, &mut fetch("two", &to)).contains("is there already"));
    fs::remove_file(to.join("two.trace")).unwrap();

    // Other contents than the index states: of the same length, too.
    let mut bytes = fs::read(published.join("two.trace")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(published.join("two.trace"), &bytes).unwrap();
    let message = expect(2, &mut fetch("two", &to));
    let found = digest(&published.join("two.trace"));
    assert!(message.contains(&found) && message.contains("as the index states"), "{message}");
    assert!(!to.join("two.trace").exists() && !to.join("two.trace.part").exists());
    assert!(expect(2, traces(&published).arg("--verify")).contains("1 of 2 traces differ"));

    fs::remove_file(published.join("two.trace")).unwrap();
    let message = expect(2, &mut fetch("two", &to));
    assert!(message.contains("is missing") && message.contains("--write-index"), "{message}");
}

#[test]
fn a_broken_index_is_refused_at_its_line() {
    let folder = TempDir::new().unwrap();
    let published = published(folder.path());
    let index = published.join("index.toml");
    let whole = fs::read_to_string(&index).unwrap();
    for (text, line, expected) in [
        (whole.replace("format = 1", "format = 9"), 2, "reads format 1"),
        (whole.replacen("bytes = ", "byte = ", 1), 8, "byte"),
        (whole.replacen("\"one.csv\"", "\"../one.csv\"", 1), 4, "beside the index or below"),
        (whole.replace("\"two\"", "\"one\""), 14, "each name once"),
        (whole[..whole.len() - 30].to_owned(), 0, ""),
        ("\u{0}\u{1}".to_owned(), 1, ""),
    ] {
        fs::write(&index, text).unwrap();
        let message = expect(2, &mut traces(&published));
        let place = format!("index.toml:{line}:");
        assert!(line == 0 || message.contains(&place), "{place} {message}");
        assert!(message.contains(expected) && message.contains("--write-index"), "{message}");
    }
    let message = expect(2, &mut traces(folder.path()));
    assert!(
        message.contains("there is no index") && message.contains("--write-index"),
        "{message}"
    );
    assert!(expect(2, &mut traces(Path::new("/dev/zero"))).contains("expected an index"));
}

/// A web server on a folder, ended with this value.
struct WebServer(Child, String);

impl WebServer {
    fn start(python: &Path, folder: &Path) -> WebServer {
        let mut child = Command::new(python)
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split("port ").nth(1).unwrap().split(' ').next().unwrap();
        let address = format!("http://127.0.0.1:{port}");
        WebServer(child, address)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn traces_are_fetched_from_a_web_server() {
    let Some(python) = interpreters::any() else { return };
    if on_path("curl").is_none() {
        skip("curl", "no program `curl` on the PATH");
        return;
    }
    let folder = TempDir::new().unwrap();
    let published = published(folder.path());
    let server = WebServer::start(&python, folder.path());
    let to = folder.path().join("fetched");
    let fetch = |address: &str| {
        let mut command = heaplay();
        command.args(["traces", address, "--fetch", "one", "--to"]).arg(&to);
        command.env("no_proxy", "127.0.0.1");
        command
    };
    let address = format!("{}/published/", server.1);
    expect(0, &mut fetch(&address));
    assert_eq!(digest(&to.join("one.csv")), digest(&published.join("one.csv")));
    let message = expect(2, &mut fetch(&format!("{}/nowhere/", server.1)));
    assert!(message.contains("/nowhere/index.toml: cannot be downloaded"), "{message}");
    let mut without_curl = fetch(&address);
    without_curl.env("PATH", "/nonexistent");
    assert!(expect(2, &mut without_curl).contains("install curl"));
}

/// The columns of a CSV by name.
fn columns(csv: &Path) -> BTreeMap<String, Vec<String>> {
    let mut reader = csv::Reader::from_path(csv).unwrap();
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in reader.records() {
        for (name, value) in names.iter().zip(record.unwrap().iter()) {
            columns.entry(name.clone()).or_default().push(value.to_owned());
        }
    }
    columns
}

#[test]
fn an_anonymous_trace_has_the_same_calls_and_no_names() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let source = repository("traces/parse_source.trace");
    let convert = |from: &Path, to: &Path, options: &[&str]| {
        expect(0, heaplay().arg("convert").args(options).arg(from).arg(to))
    };
    convert(&source, &path("before.csv"), &[]);
    let message = convert(&source, &path("after.trace"), &["--anonymise"]);
    assert!(message.contains("left out:") && message.contains("program"), "{message}");
    convert(&path("after.trace"), &path("after.csv"), &[]);
    let (before, after) = (columns(&path("before.csv")), columns(&path("after.csv")));
    // One new name for each old one, and nothing else differs.
    let mut new_names: BTreeMap<&String, &String> = BTreeMap::new();
    for (name, values) in &before {
        if name != "site" {
            assert_eq!(values, &after[name], "{name}");
            continue;
        }
        for (old, new) in values.iter().zip(&after[name]) {
            assert_eq!(*new_names.entry(old).or_insert(new), new);
            assert_eq!(old.is_empty(), new.is_empty());
            let (file, line) = new.split_once(':').unwrap_or(("file0", "0"));
            assert!(file.trim_start_matches("file").parse::<u32>().is_ok(), "{new}");
            assert!(line.parse::<u32>().is_ok(), "{new}");
        }
    }
    let mut distinct: Vec<_> = new_names.values().collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), new_names.len());
    let shown = expect(0, heaplay().arg("inspect").arg(path("after.trace")));
    for word in ["parse_source", ".py", "/usr", "pid"] {
        assert!(!shown.contains(word), "{word} in {shown}");
    }
    // A trace of marks, threads, native functions and types.
    let text = "event,op,size,lifetime,domain,site,type,thread\n\
                0,malloc,24,2,obj,secret.py:10 via lib/secret.so!Secret::new < main.py:3,float,1\n\
                1,malloc,70,,obj,secret.py:12,SecretType,2\n\
                3,malloc,71,,obj,lib/secret.so!Secret::new,SecretType,2\n";
    fs::write(path("named.csv"), text).unwrap();
    convert(&path("named.csv"), &path("anonymous.csv"), &["--anonymise"]);
    let text = fs::read_to_string(path("anonymous.csv")).unwrap();
    assert!(!text.to_lowercase().contains("secret"), "{text}");
    for part in ["file1:1 via module1!function1 < file2:1,", "float", "type1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// A recording's marks, thread names, arguments and environment are not in the file: the bytes of
/// the anonymous CSV and what `inspect --json` reports are searched for them.
#[test]
fn an_anonymous_recording_hides_the_program() {
    let Some(python) = interpreters::any() else { return };
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    crate::support::process::python_module(folder.path());
    fs::write(
        path("hushhush.py"),
        "import threading, heaplay\nheaplay.mark('hushhush')\n\
         t = threading.Thread(target=lambda: bytearray(7000), name='hushhush')\n\
         t.start()\nt.join()\n",
    )
    .unwrap();
    let mut record = heaplay();
    record.args(["record", "--sites", "-o", "app.trace", "--"]).arg(&python);
    record.args(["hushhush.py", "--hushhush"]).current_dir(folder.path());
    expect(0, record.env("MALLOC_HUSHHUSH", "hushhush"));
    let before = expect(0, heaplay().args(["inspect"]).arg(path("app.trace")));
    assert!(before.contains("hushhush"), "{before}");
    expect(
        0,
        heaplay().args(["convert", "--anonymise"]).args([path("app.trace"), path("a.trace")]),
    );
    expect(0, heaplay().args(["convert"]).args([path("a.trace"), path("a.csv")]));
    let json = expect(0, heaplay().args(["inspect", "--json"]).arg(path("a.trace")));
    let shown = expect(0, heaplay().args(["inspect"]).arg(path("a.trace")));
    let rows = fs::read_to_string(path("a.csv")).unwrap();
    for text in [&json, &shown, &rows] {
        assert!(!text.contains("hushhush") && !text.contains("HUSHHUSH"), "{text:.2000}");
    }
    assert!(shown.contains("mark1") || json.contains("mark1"), "{shown}");
    let mut run = heaplay();
    run.args(["run", "--backends", "pymalloc", "--passes", "footprint", "--out"]);
    expect(0, run.arg(path("run")).arg(path("a.trace")));
}
