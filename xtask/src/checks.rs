//! Checks of the sources that run nothing of them.

use std::path::{Path, PathBuf};

use crate::shell::{cargo, root, succeeds};

/// Formatting is what rustfmt makes of it.
pub(crate) fn format() -> bool {
    succeeds(&mut cargo(&["fmt", "--all", "--check"]))
}

/// No warning of the compiler or of clippy, tests and benches included.
pub(crate) fn clippy() -> bool {
    succeeds(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The documentation builds, every link in it leads somewhere.
pub(crate) fn docs() -> bool {
    // Private items too: the docs are for those who work on the code, and a folder's doc names where to start reading.
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    succeeds(cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", flags))
}

/// No test is switched off.
pub(crate) fn ignored_tests() -> bool {
    let mark = concat!("#[", "ignore");
    let mut found = Vec::new();
    for file in sources(&["rs"]) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.trim_start().starts_with(mark));
        found.extend(lines.map(|(number, _)| format!("{}:{}", file.display(), number + 1)));
    }
    for place in &found {
        println!("{place}: an ignored test checks nothing: mend it or take it out");
    }
    found.is_empty()
}

/// The files of the work tree with one of these endings, without what tools have put there.
pub(crate) fn sources(endings: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&root(), endings, &mut files);
    files.sort();
    files
}

fn collect(dir: &Path, endings: &[&str], files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            // A target folder inside the tree, hidden folders and installed packages are not ours.
            if !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_ref()) {
                collect(&path, endings, files);
            }
        } else if path
            .extension()
            .is_some_and(|extension| endings.iter().any(|ending| extension == *ending))
        {
            files.push(path);
        }
    }
}
