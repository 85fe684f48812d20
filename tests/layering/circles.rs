//! Files of one room that import each other in a circle.
//!
//! A circle of many files is one file in disguise: none of its parts can be read, moved or tested alone. Imports are found
//! in the source text: `use` with its groups, and paths in the code that begin with `crate`, `super`, `self` or a module
//! of the file. A name that a `mod.rs` hands on (`pub use`) counts as the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::source::{Token, tokens, without_tests};
use super::{root, rust_files};

/// The path of a module below the root: `["store", "merge"]`.
type Module = Vec<String>;

/// A path as it is written, and the name by which the file knows it.
#[derive(Clone, Debug, PartialEq)]
struct Import {
    path: Vec<String>,
    name: String,
    /// `pub use`: handed on to whoever imports this file.
    handed_on: bool,
}

struct File {
    path: String,
    imports: Vec<Import>,
    defined: BTreeSet<String>,
}

struct Sources {
    files: BTreeMap<Module, File>,
}

impl Sources {
    /// Files by the path below `src/` and their text. Those of tests are left out.
    fn new<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut files = BTreeMap::new();
        let mut tests: Vec<Module> = Vec::new();
        for (path, text) in texts {
            let mut module: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let (tokens, test_modules) = without_tests(&tokens(text));
            for name in test_modules {
                tests.push(module.iter().cloned().chain([name]).collect());
            }
            let file =
                File { path: format!("src/{path}"), imports: imports(&tokens), defined: defined(&tokens) };
            files.insert(module, file);
        }
        files.retain(|module: &Module, file| {
            !file.path.ends_with("tests.rs")
                && !module.iter().any(|name| name == "tests")
                && !tests.iter().any(|test| module.starts_with(test))
        });
        Self { files }
    }

    /// The file that defines what is named by a path in the file of a module.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let mut at = from.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" | "featbit_agent" => (at, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    at.pop()?;
                    rest = &rest[1..];
                }
            }
            first => {
                let child: Module = at.iter().cloned().chain([first.to_owned()]).collect();
                if !self.is_module(&child) {
                    return None;
                }
            }
        }
        while let Some(part) = rest.first() {
            let child: Module = at.iter().cloned().chain([part.clone()]).collect();
            if !self.is_module(&child) {
                break;
            }
            (at, rest) = (child, &rest[1..]);
        }
        let file = self.files.get(&at)?;
        let Some(name) = rest.first() else { return Some(at) };
        if depth == 0 || file.defined.contains(name) {
            return Some(at);
        }
        for import in file.imports.iter().filter(|import| import.handed_on) {
            if import.name == *name {
                return self.resolve(&at, &import.path, depth - 1).or(Some(at));
            }
            if import.name == "*" {
                let target: Vec<String> = import.path.iter().cloned().chain([name.clone()]).collect();
                if let Some(module) = self.resolve(&at, &target, depth - 1)
                    && self.files[&module].defined.contains(name)
                {
                    return Some(module);
                }
            }
        }
        Some(at)
    }

    fn is_module(&self, module: &Module) -> bool {
        self.files.contains_key(module)
    }

    /// For each file, those of its room that it imports.
    fn arrows(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let mut arrows = BTreeMap::new();
        for (module, file) in &self.files {
            let mut targets = BTreeSet::new();
            for import in file.imports.iter().filter(|import| !import.handed_on) {
                if let Some(target) = self.resolve(module, &import.path, 8)
                    && target != *module
                    && target.first() == module.first()
                {
                    targets.insert(target);
                }
            }
            arrows.insert(module, targets);
        }
        arrows
    }

    /// The largest sets of files of which each imports each other, directly or through others.
    fn circles(&self) -> Vec<Vec<&str>> {
        let arrows = self.arrows();
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            arrows.keys().map(|module| (*module, reachable(&arrows, module))).collect();
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        let mut circles = Vec::new();
        for (&module, targets) in &reached {
            if seen.contains(module) || !targets.contains(module) {
                continue;
            }
            let members: Vec<&Module> = reached
                .keys()
                .copied()
                .filter(|other| targets.contains(*other) && reached[other].contains(module))
                .collect();
            seen.extend(&members);
            circles.push(members.iter().map(|member| self.files[*member].path.as_str()).collect());
        }
        circles
    }
}

fn reachable(arrows: &BTreeMap<&Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&Module> = vec![from];
    while let Some(module) = open.pop() {
        for target in arrows.get(module).into_iter().flatten() {
            if reached.insert(target.clone()) {
                open.push(target);
            }
        }
    }
    reached
}

/// The names that a file defines at any depth: more than can be imported, which does no harm.
fn defined(tokens: &[Token]) -> BTreeSet<String> {
    const KINDS: &[&str] = &["struct", "enum", "fn", "trait", "type", "const", "static", "union"];
    tokens
        .windows(2)
        .filter(|pair| KINDS.contains(&pair[0].text.as_str()))
        .map(|pair| pair[1].text.clone())
        .collect()
}

/// Every path that a file imports or names in its code.
fn imports(tokens: &[Token]) -> Vec<Import> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if text(at) == "use" {
            let handed_on = at > 0 && matches!(text(at - 1), "pub" | ")");
            at = tree(tokens, at + 1, &[], handed_on, &mut found);
        } else if text(at + 1) == "::" && (at == 0 || !matches!(text(at - 1), "::" | ".")) {
            let mut path = vec![text(at).to_owned()];
            while text(at + 1) == "::" && is_word(text(at + 2)) {
                path.push(text(at + 2).to_owned());
                at += 2;
            }
            found.push(Import { path, name: String::new(), handed_on: false });
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// One tree of a `use`, from its first word on; gives the token after it.
fn tree(tokens: &[Token], from: usize, before: &[String], handed_on: bool, found: &mut Vec<Import>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut path = before.to_vec();
    let mut at = from;
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while !matches!(text(at), "}" | "") {
                    at = tree(tokens, at, &path, handed_on, found);
                    if text(at) == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "*" => {
                found.push(Import { path, name: "*".into(), handed_on });
                return at + 1;
            }
            "::" => at += 1,
            word if is_word(word) => {
                path.push(word.to_owned());
                at += 1;
                if text(at) != "::" {
                    let mut name = word.to_owned();
                    if text(at) == "as" {
                        name = text(at + 1).to_owned();
                        at += 2;
                    }
                    if word == "self" && path.len() > 1 {
                        path.pop();
                    }
                    found.push(Import { path, name, handed_on });
                    return at;
                }
            }
            _ => return at + 1,
        }
    }
}

#[test]
fn files_of_a_room_do_not_import_each_other_in_circles() {
    let src = root().join("src");
    let texts: Vec<(String, String)> = rust_files(&src)
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&src).expect("the file is below src").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("the file can be read"))
        })
        .collect();
    let sources = Sources::new(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    let arrows: usize = sources.arrows().values().map(BTreeSet::len).sum();
    assert!(arrows > 100, "the imports were not found: {arrows}");
    let circles = sources.circles();
    let shown: Vec<String> =
        circles.iter().map(|circle| format!("{} files: {}", circle.len(), circle.join(", "))).collect();
    let shown = shown.join("\n");
    println!("{} circles:\n{shown}", circles.len());
    assert!(circles.is_empty(), "{} circles:\n{shown}", circles.len());
}

#[test]
fn a_circle_is_found_through_every_form_of_import() {
    for back in [
        "use super::a::A;",
        "use crate::room::a::{self, A};",
        "use crate::room::{b::B, a::A as Other};",
        "use super::A;",
        "use super::handed::A;",
        "fn f() { super::a::run() }",
        "fn f(_: crate::room::A) {}",
    ] {
        let sources = Sources::new([
            ("room/mod.rs", "mod a; mod b; pub use a::A; pub mod handed { pub use super::a::A; }"),
            ("room/a.rs", "use super::b::B; pub struct A;"),
            ("room/b.rs", back),
        ]);
        let expected: &[&[&str]] =
            if back.contains("handed") { &[] } else { &[&["src/room/a.rs", "src/room/b.rs"]] };
        assert_eq!(sources.circles(), expected, "{back}");
    }
}

#[test]
fn a_file_that_uses_what_its_parent_defines_is_in_a_circle_with_it() {
    let sources = Sources::new([
        ("room/mod.rs", "mod a; use a::A; pub struct Big(A);"),
        ("room/a.rs", "impl super::Big {} pub struct A;"),
    ]);
    assert_eq!(sources.circles(), [["src/room/mod.rs", "src/room/a.rs"]]);
}

#[test]
fn what_makes_no_circle_is_not_found() {
    for (a, b) in [
        ("use super::b::B;", "pub struct B;"),
        ("use super::b::B;", "#[cfg(test)] mod tests { use super::super::a::A; }"),
        ("use super::b::B;", "#[cfg(test)] use super::a::A; pub struct B;"),
        ("use super::b::B;", "// use super::a::A;"),
        ("use super::b::B; #[cfg(test)] mod tests;", "use crate::other::a::A;"),
    ] {
        let sources = Sources::new([
            ("room/mod.rs", "mod a; mod b; pub use a::*; pub use b::B;"),
            ("room/a.rs", a),
            ("room/b.rs", b),
            ("room/a/tests.rs", "use super::super::b; use super::super::b::B;"),
            ("other/a.rs", "pub struct A;"),
        ]);
        assert_eq!(sources.circles(), Vec::<Vec<&str>>::new(), "{a} {b}");
    }
}

#[test]
fn a_name_that_is_handed_on_by_a_star_counts_as_its_file() {
    let sources = Sources::new([
        ("room/mod.rs", "mod a; mod b; pub use a::*; pub use b::*;"),
        ("room/a.rs", "use super::B; pub struct A;"),
        ("room/b.rs", "use super::A; pub struct B;"),
    ]);
    assert_eq!(sources.circles(), [["src/room/a.rs", "src/room/b.rs"]]);
}
