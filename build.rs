//! Compiles the recorder (`src/recorder/`) and the observer (`src/observer/`), libraries without
//! dependencies, so that the binary can embed them. Passes the exact versions of allocator crates on
//! to the backends.
//!
//! Each library is a package of its own, too (`recorder/Cargo.toml`), for cargo's tools. The build
//! script compiles them with `rustc`, so that `cargo install` works from the published package.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    pass_versions();
    for library in ["recorder", "observer"] {
        embed(library);
    }
}

/// Compiles the library whose sources are in the folder of that name.
fn embed(library: &str) {
    let folder = Path::new("src").join(library);
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        println!("cargo::rerun-if-changed={}", entry.path().display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let out = out.join(library).with_extension("so");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") == "linux" && target("POINTER_WIDTH") == "64" {
        compile(&folder.join("lib.rs"), &out, target("ENV") == "musl");
    } else {
        // Recording and observing need 64-bit Linux; the rest of heaplay works without. The verbs
        // report an empty library.
        fs::write(&out, []).expect("write an empty library");
    }
}

/// Passes the version of each crate that `Cargo.toml` fixes (`"=1.2.3"`), as
/// `VERSION_OF_THE_CRATE`. Allocators that cannot report their version are reported by it. In a
/// published package each dependency is a section of its own.
fn pass_versions() {
    println!("cargo::rerun-if-changed=Cargo.toml");
    let manifest = fs::read_to_string("Cargo.toml").expect("read Cargo.toml");
    let mut section = "";
    for line in manifest.lines() {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            section = header.strip_prefix("dependencies.").unwrap_or_default();
        }
        let Some((key, rest)) = line.split_once(" = ") else { continue };
        let name = if key == "version" { section } else { key };
        let fixed = rest.split_once("\"=").and_then(|(_, rest)| rest.split_once('"'));
        if let Some((version, _)) = fixed {
            let variable = name.to_uppercase().replace('-', "_");
            println!("cargo::rustc-env=VERSION_OF_{variable}={version}");
        }
    }
}

fn compile(source: &Path, out: &Path, is_musl: bool) {
    let mut rustc = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    rustc.args(["--crate-name", "heaplay_library", "--crate-type", "cdylib", "--edition", "2024"]);
    rustc.args(["-C", "opt-level=3", "-C", "panic=abort", "-C", "strip=symbols", "-D", "warnings"]);
    rustc.arg("--target").arg(env::var_os("TARGET").expect("cargo sets TARGET"));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={}", linker.display()));
    }
    if is_musl {
        // A library that is loaded into a program uses the libc of that program.
        rustc.args(["-C", "target-feature=-crt-static"]);
    }
    rustc.arg("-o").arg(out).arg(source);
    let status = rustc.status().expect("run rustc");
    assert!(status.success(), "{} does not compile: {status}", source.display());
}
