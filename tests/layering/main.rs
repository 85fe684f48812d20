//! The rooms of `src/` import only from strictly lower layers; rooms of one layer never import each other.
//!
//! The table here is the one of `docs/ARCHITECTURE.md`, and both are compared. Paths are found in the source text
//! (`crate::room`, `crate::{room, …}`, `featbit_agent::room`, and `super::` as far as it leads out of a room), so the
//! code need not compile for it.

#![allow(clippy::expect_used, reason = "a test that cannot go on shall fail")]

mod circles;
mod documents;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use source::{Token, tokens};

/// Layer → rooms. `main` may use any room of the library: it is the only one outside of it.
const LAYERS: &[(u8, &[&str])] = &[
    (8, &["main", "cli"]),
    (7, &["app"]),
    (6, &["serve", "sync"]),
    (5, &["ingest", "insights"]),
    (4, &["fanout"]),
    (3, &["store", "persist"]),
    (2, &["eval", "protocol", "client"]),
    (1, &["model", "wire", "net", "tls"]),
    (0, &["config", "telemetry", "payload"]),
];

fn layer_of(room: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|&(layer, _)| layer)
}

/// Names of the crate's root that a file refers to, with their lines. `depth` is how far the file's module is below
/// the root: 1 for `src/store/mod.rs`, 2 for `src/store/diff.rs`.
fn root_names(source: &str, depth: usize) -> Vec<(String, usize)> {
    let tokens = tokens(source);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut names = Vec::new();
    // For each open brace: whether it is the body of a module within the file.
    let mut braces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match text(at) {
            "{" => braces.push(at >= 2 && text(at - 2) == "mod"),
            "}" => drop(braces.pop()),
            "crate" | "featbit_agent" if text(at + 1) == "::" => collect_names(&tokens, at + 2, &mut names),
            "super" if text(at.wrapping_sub(1)) != "::" => {
                let mut levels = 1;
                while text(at + 1) == "::" && text(at + 2) == "super" {
                    (at, levels) = (at + 2, levels + 1);
                }
                let below_root = depth + braces.iter().filter(|&&is_module| is_module).count();
                if levels >= below_root && text(at + 1) == "::" {
                    collect_names(&tokens, at + 2, &mut names);
                }
            }
            _ => {}
        }
        at += 1;
    }
    names
}

/// The name at `at`, or the first names of each path in the group there.
fn collect_names(tokens: &[Token], at: usize, names: &mut Vec<(String, usize)>) {
    let Some(first) = tokens.get(at) else { return };
    if first.text != "{" {
        names.push((first.text.clone(), first.line));
        return;
    }
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(tokens[index - 1].text.as_str(), "{" | ",") => {
                names.push((token.text.clone(), token.line));
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// What is wrong with one file of a room.
fn faults_of(room: &str, file: &str, depth: usize, source: &str) -> Vec<String> {
    let Some(own) = layer_of(room) else {
        return vec![format!("{file}: the room `{room}` is not in the table of tests/layering/main.rs")];
    };
    let mut faults = Vec::new();
    for (name, line) in root_names(source, depth) {
        let other = layer_of(&name);
        let allowed = match other {
            // Not a room: an item of the root, such as a macro.
            None => true,
            Some(layer) => name == room || layer < own || room == "main",
        };
        if !allowed {
            let layer = other.unwrap_or_default();
            faults.push(format!("{file}:{line}: `{room}` (layer {own}) imports `{name}` (layer {layer})"));
        }
    }
    faults
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a directory.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory of the sources") {
        let path = entry.expect("an entry of the directory").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The room a file belongs to and the depth of its module; `None` for the library's root, which only lists the rooms.
fn room_of(path: &Path) -> Option<(String, usize)> {
    let parts: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match parts.as_slice() {
        [root] if root == "lib" => None,
        [first, .., last] if last == "mod" => Some((first.clone(), parts.len() - 1)),
        [first, ..] => Some((first.clone(), parts.len())),
        [] => None,
    }
}

#[test]
fn rooms_import_only_from_strictly_lower_layers() {
    let src = root().join("src");
    let mut faults = Vec::new();
    let mut rooms = BTreeSet::new();
    for file in rust_files(&src) {
        let path = file.strip_prefix(&src).expect("the file is below src");
        let Some((room, depth)) = room_of(path) else { continue };
        let source = fs::read_to_string(&file).expect("the file can be read");
        faults.extend(faults_of(&room, &format!("src/{}", path.display()), depth, &source));
        rooms.insert(room);
    }
    assert!(rooms.len() > 10, "the rooms were not found: {rooms:?}");
    assert!(faults.is_empty(), "{} imports against the layers:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_table_of_the_architecture_is_the_enforced_one() {
    let path = root().join("docs/ARCHITECTURE.md");
    let text = fs::read_to_string(&path).expect("docs/ARCHITECTURE.md carries the table of rooms");
    let documented = documented_rooms(&text);
    assert!(!documented.is_empty(), "no table | layer | room | … in docs/ARCHITECTURE.md");
    for (room, layer) in &documented {
        assert_eq!(layer_of(room), Some(*layer), "docs/ARCHITECTURE.md puts `{room}` on layer {layer}");
    }
    let src = root().join("src");
    for file in rust_files(&src) {
        if let Some((room, _)) = room_of(file.strip_prefix(&src).expect("the file is below src")) {
            assert!(documented.contains_key(&room), "docs/ARCHITECTURE.md does not list `{room}`");
        }
    }
}

/// The rooms of a table whose rows are `| layer | rooms in backticks | … |`.
fn documented_rooms(text: &str) -> BTreeMap<String, u8> {
    let mut rooms = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, layer, names, ..] = cells.as_slice() else { continue };
        let Ok(layer) = layer.parse::<u8>() else { continue };
        for name in names.split('`').skip(1).step_by(2) {
            rooms.insert(name.trim_end_matches('/').trim_end_matches(".rs").to_owned(), layer);
        }
    }
    rooms
}

#[test]
fn an_import_of_a_higher_layer_is_found_with_its_line() {
    let source = "//! Nothing.\n\nuse crate::serve::Server;\n";
    let faults = faults_of("store", "src/store/x.rs", 2, source);
    assert_eq!(faults, ["src/store/x.rs:3: `store` (layer 3) imports `serve` (layer 6)"]);
}

#[test]
fn every_way_to_name_a_room_is_found() {
    for source in [
        "fn f() { crate::eval::run() }",
        "use crate::{model::Flag, eval::{Rule, Plan}};",
        "use crate::{\n    model,\n    eval,\n};",
        "use super::super::eval::Rule;",
        "mod tests { use super::super::super::eval; }",
        "impl X for crate::eval::Y {}",
        "use featbit_agent::eval;",
        "fn f<'a>(x: &'a str) -> char { '\"' } use crate::eval;",
        "const X: &str = r#\"a \" // b\"#; use crate::eval;",
    ] {
        assert_eq!(faults_of("protocol", "x", 2, source).len(), 1, "{source}");
    }
    assert_eq!(faults_of("protocol", "x", 1, "use super::eval;").len(), 1);
}

#[test]
fn text_that_is_no_import_is_not_found() {
    for source in [
        "// use crate::serve;",
        "/* use crate::serve; /* nested */ use crate::serve; */",
        "const X: &str = \"crate::serve\";",
        "const X: &str = \"\\\"crate::serve\";",
        "const X: &[u8] = br#\"crate::serve \" \"#;",
        "use super::serve;",
        "mod tests { use super::super::serve; }",
        "use crate::protocol::serve;",
        "use crate::{model::{serve, app}, wire};",
        "use crate::model::Flag;",
    ] {
        assert_eq!(faults_of("protocol", "x", 2, source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn rooms_of_one_layer_are_apart() {
    assert_eq!(faults_of("serve", "x", 2, "use crate::sync::File;").len(), 1);
    assert_eq!(
        faults_of("main", "x", 1, "use featbit_agent::cli; use featbit_agent::app;"),
        Vec::<String>::new()
    );
}

#[test]
fn a_room_that_is_not_in_the_table_is_an_error() {
    assert_eq!(faults_of("attic", "src/attic/mod.rs", 1, "").len(), 1);
}

#[test]
fn a_table_of_rooms_is_read_from_markdown() {
    let text =
        "| layer | room | what |\n|---|---|---|\n| 8 | `main.rs`, `cli/` | x `y` |\n| 3 | `store/` | z |\n";
    let rooms = documented_rooms(text);
    assert_eq!(rooms, BTreeMap::from([("main".into(), 8), ("cli".into(), 8), ("store".into(), 3)]));
}
