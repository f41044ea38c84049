//! Which file imports which: from `use` declarations and from paths in the code, through
//! re-exports to the file that defines an item. Groups of files that import each other are cycles.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::{Token, TokenKind};
use super::source::RustFile;

/// A module: the names from the crate's root down.
type ModulePath = Vec<String>;

/// The module of a file below `src`.
fn module_of(path: &str) -> ModulePath {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut names: ModulePath = inside.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
        names.pop();
    }
    names
}

/// A path in the code, and where it stands.
struct Reference {
    /// The module in which it stands, inline modules included.
    module: ModulePath,
    segments: Vec<String>,
    /// The name under which `pub use` makes it known in its module.
    exported_as: Option<String>,
}

/// What a file refers to.
fn references(file: &RustFile) -> Vec<Reference> {
    let mut scan = Scan { tokens: &file.tokens, at: 0, found: Vec::new() };
    let mut module = module_of(&file.path);
    // For each open brace, whether it opened an inline module.
    let mut open = Vec::new();
    while let Some(token) = scan.tokens.get(scan.at) {
        let next = |ahead: usize| scan.tokens.get(scan.at + ahead);
        if token.is("mod") && next(2).is_some_and(|token| token.is("{")) {
            module.push(scan.tokens[scan.at + 1].text.clone());
            open.push(true);
            scan.at += 3;
        } else if token.is("{") {
            open.push(false);
            scan.at += 1;
        } else if token.is("}") {
            if open.pop() == Some(true) {
                module.pop();
            }
            scan.at += 1;
        } else if token.is("use") {
            let is_public = scan.is_public();
            scan.at += 1;
            scan.use_tree(&module, &mut Vec::new(), is_public);
        } else if token.kind == TokenKind::Identifier && next(1).is_some_and(|t| t.is("::")) {
            scan.path(&module);
        } else {
            scan.at += 1;
        }
    }
    scan.found
}

struct Scan<'a> {
    tokens: &'a [Token],
    at: usize,
    found: Vec<Reference>,
}

impl Scan<'_> {
    /// Whether `pub` or `pub(…)` stands before the token here.
    fn is_public(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).map(|at| &self.tokens[at]);
        if !before(1).is_some_and(|token| token.is(")")) {
            return before(1).is_some_and(|token| token.is("pub"));
        }
        let paren = (2..8).find(|&back| before(back).is_some_and(|token| token.is("(")));
        paren.is_some_and(|back| before(back + 1).is_some_and(|token| token.is("pub")))
    }

    /// A tree of a `use` declaration, up to the `,`, `}` or `;` after it.
    fn use_tree(&mut self, module: &ModulePath, prefix: &mut Vec<String>, is_public: bool) {
        let length = prefix.len();
        while let Some(token) = self.tokens.get(self.at) {
            if token.is("{") {
                self.at += 1;
                while !self.tokens[self.at].is("}") {
                    self.use_tree(module, prefix, is_public);
                    self.at += usize::from(self.tokens[self.at].is(","));
                }
                self.at += 1;
                break;
            }
            if token.is("::") {
                self.at += 1;
                continue;
            }
            prefix.push(token.text.clone());
            self.at += 1;
            let mut name = prefix.last().cloned();
            if self.tokens.get(self.at).is_some_and(|token| token.is("as")) {
                name = Some(self.tokens[self.at + 1].text.clone());
                self.at += 2;
            }
            if !self.tokens.get(self.at).is_some_and(|token| token.is("::")) {
                self.found.push(Reference {
                    module: module.clone(),
                    segments: prefix.clone(),
                    exported_as: name.filter(|_| is_public),
                });
                break;
            }
        }
        prefix.truncate(length);
    }

    /// A path in the code: identifiers with `::` between them.
    fn path(&mut self, module: &ModulePath) {
        let follows = self.at > 0 && self.tokens[self.at - 1].is("::");
        // `pub(in crate::report)` says who may see an item, and imports nothing.
        let is_visibility = self.at > 0 && self.tokens[self.at - 1].is("in") && {
            self.at > 1 && self.tokens[self.at - 2].is("(")
        };
        let mut segments = vec![self.tokens[self.at].text.clone()];
        self.at += 1;
        while self.tokens.get(self.at).is_some_and(|token| token.is("::"))
            && self.tokens.get(self.at + 1).is_some_and(|t| t.kind == TokenKind::Identifier)
        {
            segments.push(self.tokens[self.at + 1].text.clone());
            self.at += 2;
        }
        if !follows && !is_visibility && segments.len() > 1 {
            self.found.push(Reference { module: module.clone(), segments, exported_as: None });
        }
    }
}

/// The files of a crate, and what each imports.
pub struct Imports {
    /// For each file, the files that it imports.
    pub edges: BTreeMap<String, BTreeSet<String>>,
}

/// A module, and the name of one of its items.
type Target = (ModulePath, Option<String>);

impl Imports {
    pub fn of(files: &[RustFile]) -> Imports {
        // main.rs is a crate of its own, which nothing imports.
        let modules: BTreeMap<ModulePath, &str> = files
            .iter()
            .filter(|file| file.path != "src/main.rs")
            .map(|file| (module_of(&file.path), file.path.as_str()))
            .collect();
        let references: Vec<(&str, Vec<Reference>)> =
            files.iter().map(|file| (file.path.as_str(), references(file))).collect();
        let mut exports = BTreeMap::<(ModulePath, String), Target>::new();
        for reference in references.iter().flat_map(|(_, all)| all) {
            if let (Some(name), Some(target)) =
                (&reference.exported_as, resolve(&modules, reference))
            {
                exports.insert((reference.module.clone(), name.clone()), target);
            }
        }
        let mut edges = BTreeMap::new();
        for (path, all) in &references {
            let imported: &mut BTreeSet<String> = edges.entry((*path).to_owned()).or_default();
            for reference in all {
                let Some(target) = resolve(&modules, reference) else { continue };
                let module = follow(&exports, target);
                let file = modules.get(&module).filter(|file| *file != path);
                imported.extend(file.map(|file| (*file).to_owned()));
            }
        }
        Imports { edges }
    }

    /// Groups of two files or more, each of which imports all others, by others or by itself.
    pub fn cycles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.edges.keys().map(|file| (file.as_str(), self.reached_from(file))).collect();
        let mut cycles = BTreeSet::new();
        for (file, others) in &reached {
            let is_mutual = |other: &&&str| reached[**other].contains(file);
            let group: Vec<String> =
                others.iter().filter(is_mutual).map(|other| (*other).to_owned()).collect();
            if group.len() > 1 {
                cycles.insert(group);
            }
        }
        cycles.into_iter().collect()
    }

    /// The files that a file imports, by others or by itself. It is one of them only in a cycle.
    fn reached_from<'a>(&'a self, file: &str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.edges[file].iter().map(String::as_str).collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.edges[next].iter().map(String::as_str));
            }
        }
        reached
    }
}

/// The module that a path leads to, and the first name after it; `None` outside the crate.
fn resolve(modules: &BTreeMap<ModulePath, &str>, reference: &Reference) -> Option<Target> {
    let mut segments = reference.segments.iter().map(String::as_str).peekable();
    let mut module = reference.module.clone();
    match *segments.peek()? {
        "crate" => {
            // The recorder and the observer are crates of their own.
            let is_crate = |name: &String| ["observer", "recorder"].contains(&name.as_str());
            module.truncate(usize::from(module.first().is_some_and(is_crate)));
            segments.next();
        }
        "self" => drop(segments.next()),
        "super" => {
            while segments.next_if(|name| *name == "super").is_some() {
                module.pop();
            }
        }
        name => {
            let child = [&module[..], &[name.to_owned()]].concat();
            if !modules.contains_key(&child) {
                return None;
            }
        }
    }
    while let Some(name) = segments.peek() {
        let child = [&module[..], &[(*name).to_owned()]].concat();
        if !modules.contains_key(&child) {
            break;
        }
        module = child;
        segments.next();
    }
    // An inline module lies in the file of the module around it.
    while !modules.contains_key(&module) && module.pop().is_some() {}
    Some((module, segments.next().map(str::to_owned)))
}

/// The module that defines an item, behind re-exports.
fn follow(exports: &BTreeMap<(ModulePath, String), Target>, target: Target) -> ModulePath {
    let (mut module, mut name) = target;
    for _ in 0..9 {
        let Some(item) = name.clone() else { break };
        let Some(next) = exports.get(&(module.clone(), item)) else { break };
        (module, name) = next.clone();
    }
    module
}

#[cfg(test)]
mod counting {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> Imports {
        let files: Vec<RustFile> =
            files.iter().map(|(path, source)| RustFile::new(path, source)).collect();
        Imports::of(&files)
    }

    fn edges(imports: &Imports, file: &str) -> Vec<String> {
        imports.edges[file].iter().cloned().collect()
    }

    #[test]
    fn paths_lead_through_exports_to_the_file_that_defines() {
        let imports = imports(&[
            ("src/lib.rs", "pub mod a; pub mod b;"),
            (
                "src/a/mod.rs",
                "mod one; mod two; pub use one::One; pub(crate) use two::{Two as Second};",
            ),
            ("src/a/one.rs", "use super::Second; pub struct One;"),
            (
                "src/a/two.rs",
                "pub struct Two; // use super::One;\n const TEXT: &str = \"super::One\";",
            ),
            (
                "src/b.rs",
                "use std::io; use crate::a::{self, One}; fn f() { crate::a::Second::new() }",
            ),
        ]);
        assert_eq!(edges(&imports, "src/a/mod.rs"), ["src/a/one.rs", "src/a/two.rs"]);
        assert_eq!(edges(&imports, "src/a/one.rs"), ["src/a/two.rs"]);
        assert!(
            edges(&imports, "src/a/two.rs").is_empty() && edges(&imports, "src/lib.rs").is_empty()
        );
        assert_eq!(edges(&imports, "src/b.rs"), ["src/a/mod.rs", "src/a/one.rs", "src/a/two.rs"]);
        assert!(imports.cycles().is_empty());
    }

    #[test]
    fn files_that_import_each_other_are_a_cycle() {
        let imports = imports(&[
            ("src/a.rs", "use crate::b::B; #[cfg(test)] mod tests { use crate::d::D; }"),
            ("src/b.rs", "use crate::c;"),
            ("src/c.rs", "mod inside { use super::super::a::A; use super::C; }"),
            ("src/d.rs", "use crate::a::A;"),
        ]);
        assert_eq!(imports.cycles(), [["src/a.rs", "src/b.rs", "src/c.rs"]]);
    }

    #[test]
    fn the_recorder_is_a_crate_of_its_own() {
        let imports = imports(&[
            ("src/a.rs", "pub struct A;"),
            ("src/recorder/lib.rs", "mod a;"),
            ("src/recorder/a.rs", "fn f() { crate::a::g(); }"),
            ("src/recorder/b.rs", "fn f() { crate::a::g(); }"),
        ]);
        assert_eq!(edges(&imports, "src/recorder/b.rs"), ["src/recorder/a.rs"]);
    }
}
