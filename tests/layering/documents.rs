//! The files and folders that documents name exist.

use std::fs;
use std::path::Path;

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    // A fence has three: it opens and closes an empty part beside its own.
    text.split('`').skip(1).step_by(2)
}

/// Whether a quoted text is a path in this repository: of a file, a folder, or all files with a beginning (`*`).
/// Rooms stand without `src/` in front.
fn as_path<'t>(root: &Path, text: &'t str) -> Option<&'t str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-*".contains(c);
    let (first, _) = text.split_once('/')?;
    // What begins with a dot may be made by a script only.
    let is_path = !first.is_empty() && !text.contains("/.") && text.chars().all(plain);
    (is_path && [root.join(first), root.join("src").join(first)].iter().any(|place| place.exists()))
        .then_some(text)
}

fn exists(root: &Path, path: &str) -> bool {
    [root.to_owned(), root.join("src")].iter().any(|base| match path.split_once('*') {
        None => base.join(path).exists(),
        Some((start, _)) => {
            let (folder, start) = start.rsplit_once('/').unwrap_or(("", start));
            let files = fs::read_dir(base.join(folder)).into_iter().flatten().flatten();
            files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with(start))
        }
    })
}

/// What went wrong: files had moved, and the tables that say where to start reading led nowhere.
#[test]
fn documents_named_files_that_had_moved() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for document in ["README.md", "docs/ARCHITECTURE.md", "docs/development.md", "docs/performance.md"] {
        let text = fs::read_to_string(root.join(document)).expect("the document exists");
        let paths: Vec<&str> = quoted(&text).filter_map(|text| as_path(root, text)).collect();
        assert!(!paths.is_empty(), "{document} names no file");
        let gone = paths.into_iter().filter(|path| !exists(root, path));
        missing.extend(gone.map(|path| format!("{document}: {path}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn paths_are_told_apart_from_other_quoted_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (text, is_path) in [
        ("src/lib.rs", true),
        ("store/ring.rs", true),
        ("tests/agent_mode_*.rs", true),
        ("store/no-such-file.rs", true),
        ("/health/readiness", false),
        ("Limits__HeadSeconds", false),
        ("cargo test --lib store::", false),
        ("some/where", false),
    ] {
        assert_eq!(as_path(root, text).is_some(), is_path, "{text}");
    }
    assert!(exists(root, "tests/agent_mode_*.rs") && exists(root, "lib.rs"));
    assert!(!exists(root, "tests/no_such_*.rs") && !exists(root, "store/no-such-file.rs"));
}
