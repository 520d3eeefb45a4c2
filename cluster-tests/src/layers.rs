//! The direction in which the router's modules may use each other, read from their source.
//!
//! `wamp ← auth ← router ← session, transport ← cluster ← admin ← node.rs ← cli, main.rs`: what stands right may use what stands left.
//! `config`, `telemetry` and `store` are leaves at the side: the shells use them, the core does not. Beside arrows between folders
//! there are names that may appear in some folders only: clocks, randomness and the runtime stay out of the pure core, openraft's
//! and protobuf's types stay where they are turned into ours.
//!
//! Comments, texts and test code are left out before anything is looked for.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A line that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// The file, relative to the source folder.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.reason)
    }
}

/// What each top-level module may use, itself apart.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wamp", &[]),
    ("auth", &["wamp"]),
    ("router", &["wamp", "auth"]),
    ("client", &["wamp"]),
    ("config", &["wamp", "auth"]),
    ("telemetry", &["wamp", "config"]),
    ("store", &["wamp", "config", "telemetry"]),
    ("audit", &["wamp"]),
    ("session", &["wamp", "auth", "router", "transport", "@"]),
    ("transport", &["wamp", "auth", "router", "session", "@"]),
    ("cluster", &["wamp", "auth", "router", "session", "transport", "@"]),
    ("admin", &["wamp", "auth", "router", "session", "transport", "cluster", "@"]),
    ("pages", &["transport", "@"]),
    (
        "node",
        &[
            "wamp",
            "auth",
            "router",
            "session",
            "transport",
            "cluster",
            "admin",
            "pages",
            "@",
        ],
    ),
    (
        "cli",
        &[
            "wamp",
            "auth",
            "router",
            "session",
            "transport",
            "cluster",
            "admin",
            "node",
            "client",
            "@",
        ],
    ),
    ("main", &["cli", "node", "@"]),
    ("lib", &["*"]),
];

/// What `@` stands for: the leaves at the side, which every shell may use.
const LEAVES: &[&str] = &["config", "telemetry", "store", "audit"];

/// Names that may appear only in files whose path begins with one of the prefixes.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("openraft", &["cluster/raft"], "openraft's types stay in cluster/raft"),
    (
        "raft_log",
        &["cluster/raft"],
        "the log's format is known to cluster/raft only",
    ),
    (
        "ringfort_proto",
        &["cluster", "admin", "cli/admin"],
        "generated types stay in cluster and admin, and with the client of the latter",
    ),
    (
        "opentelemetry_proto",
        &["telemetry/traces"],
        "OTLP's types stay in telemetry/traces",
    ),
    // With the colons: a setting may be called `redis`, a type of that crate may not be used.
    ("redis::", &["store"], "redis stays in store"),
    ("redb::", &["store"], "redb stays in store"),
];

/// Folders of the pure core.
const PURE: &[&str] = &["wamp", "auth", "router"];
/// What a deterministic core must not touch.
const IMPURE: &[&str] = &[
    "tokio",
    "Instant::now",
    "SystemTime",
    "rand",
    "getrandom",
    "thread_rng",
    "fastrand",
    "RandomState",
];

/// Checks every Rust file under `source` (a crate's `src`).
///
/// # Errors
/// If a file cannot be read.
pub fn check(source: &Path) -> std::io::Result<Vec<Breach>> {
    let mut files = Vec::new();
    collect(source, source, &mut files)?;
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(source.join(&file))?;
        texts.push((file, text));
    }
    let tests: Vec<Vec<String>> = texts.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    let mut breaches = Vec::new();
    for (file, text) in &texts {
        let module = module_path(file);
        if !tests.iter().any(|test| module.starts_with(test)) {
            check_file(file, text, &mut breaches);
        }
    }
    Ok(breaches)
}

/// Checks the text of one file, whose path is relative to the source folder.
pub fn check_file(file: &Path, text: &str, breaches: &mut Vec<Breach>) {
    let module = module_path(file);
    let layer = module.first().cloned().unwrap_or_else(|| "lib".to_owned());
    let code = without_tests(&without_comments(text));
    let mut report = |at: usize, reason: String| {
        breaches.push(Breach {
            file: file.to_owned(),
            line: line_of(&code, at),
            reason,
        });
    };
    let allowed = MAY_USE.iter().find(|(name, _)| *name == layer).map(|(_, allowed)| *allowed);
    if allowed.is_none() {
        report(
            0,
            format!("module `{layer}` has no place in the order of layers: name it in cluster-tests/src/layers.rs"),
        );
    }
    for (at, target) in used_modules(&code, &module) {
        let fine = |allowed: &&[&str]| {
            let listed = |word| allowed.contains(&word);
            listed(target.as_str()) || listed("*") || (listed("@") && LEAVES.contains(&target.as_str()))
        };
        // What is no module of ours is an item of the crate root.
        if !MAY_USE.iter().any(|(name, _)| *name == target) {
            continue;
        }
        if target != layer && !allowed.as_ref().is_none_or(fine) {
            report(at, format!("`{layer}` must not use `{target}`"));
        }
    }
    let path = file.to_string_lossy().replace('\\', "/");
    for (name, folders, reason) in ONLY_IN {
        let inside = |folder: &&str| path.starts_with(&format!("{folder}/")) || path == format!("{folder}.rs");
        if !folders.iter().any(inside) {
            words(&code, name).for_each(|at| report(at, format!("`{name}`: {reason}")));
        }
    }
    if PURE.contains(&layer.as_str()) {
        for name in IMPURE {
            words(&code, name).for_each(|at| report(at, format!("`{name}` in the pure core")));
        }
    }
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.strip_prefix(root).map(Path::to_owned).unwrap_or(path));
        }
    }
    Ok(())
}

/// `router/dealer/call.rs` is `[router, dealer, call]`, `router/mod.rs` is `[router]`.
fn module_path(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The modules that a file declares for tests only: those whose declaration stands behind `#[cfg(test)]`.
pub fn test_modules(file: &Path, text: &str) -> Vec<Vec<String>> {
    let code = without_comments(text);
    let mut found = Vec::new();
    for rest in code.split("#[cfg(test)]").skip(1) {
        let item = rest.split([';', '{']).next().unwrap_or_default();
        if let Some(name) = item.split_once("mod ").map(|(_, name)| name.trim()) {
            found.push(module_path(file).into_iter().chain([name.to_owned()]).collect());
        }
    }
    found
}

/// Every place where the code names a top-level module, through `crate::`, `ringfort::` or a chain of `super::`.
fn used_modules(code: &str, module: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate", "ringfort"] {
        for at in words(code, root) {
            if let Some(rest) = code[at + root.len()..].trim_start().strip_prefix("::") {
                // `ringfort::` is the crate in `main.rs`; elsewhere no module has that name.
                found.extend(first_segments(rest).into_iter().map(|name| (at, name)));
            }
        }
    }
    let mut skip_to = 0;
    for at in words(code, "super") {
        if at < skip_to {
            continue;
        }
        let (mut depth, mut rest) = (1, code[at + 5..].trim_start());
        while let Some(next) = rest.strip_prefix("::").map(str::trim_start) {
            match next.strip_prefix("super") {
                Some(after) if after.trim_start().starts_with("::") => {
                    depth += 1;
                    rest = after.trim_start();
                }
                _ => {
                    // An inline module would make the chain one longer than the file says; then it stays inside the file's folder.
                    if depth >= module.len() {
                        found.extend(first_segments(next).into_iter().map(|name| (at, name)));
                    }
                    rest = next;
                    break;
                }
            }
        }
        skip_to = code.len() - rest.len();
    }
    found
}

/// The first names of a path or of a group: `a::b` gives `a`, `{a::b, c::{d, e}}` gives `a` and `c`.
fn first_segments(text: &str) -> Vec<String> {
    let text = text.trim_start();
    let name = |text: &str| -> Option<String> {
        let name: String = text
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        (!name.is_empty()).then_some(name)
    };
    let Some(group) = text.strip_prefix('{') else {
        return name(text).into_iter().collect();
    };
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && depth == 0 && !c.is_whitespace() => {
                names.extend(name(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// Where `word` stands by itself, not as part of a longer name.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let goes_on = word.ends_with(part) && code[at + word.len()..].chars().next().is_some_and(part);
        !code[..at].chars().next_back().is_some_and(part) && !goes_on
    })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The text with comments and the insides of string and character literals blanked; lines stay where they are.
fn without_comments(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    while at < bytes.len() {
        let (c, next) = (bytes[at], bytes.get(at + 1).copied());
        match (c, next) {
            ('/', Some('/')) => {
                while at < bytes.len() && bytes[at] != '\n' {
                    at += 1;
                }
            }
            ('/', Some('*')) => {
                let mut depth = 0;
                while at < bytes.len() {
                    let pair = (bytes[at], bytes.get(at + 1).copied());
                    let step = match pair {
                        ('/', Some('*')) => {
                            depth += 1;
                            2
                        }
                        ('*', Some('/')) => {
                            depth -= 1;
                            2
                        }
                        _ => 1,
                    };
                    code.push(blank(bytes[at]));
                    at += step;
                    if depth == 0 {
                        break;
                    }
                }
            }
            ('r', Some('"' | '#')) if !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
                let hashes = bytes[at + 1..].iter().take_while(|c| **c == '#').count();
                if bytes.get(at + 1 + hashes) != Some(&'"') {
                    code.push(c);
                    at += 1;
                    continue;
                }
                at += hashes + 2;
                while at < bytes.len()
                    && !(bytes[at] == '"' && bytes[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes)
                {
                    code.push(blank(bytes[at]));
                    at += 1;
                }
                at += hashes + 1;
            }
            ('"', _) => {
                at += 1;
                while at < bytes.len() && bytes[at] != '"' {
                    code.push(blank(bytes[at]));
                    at += if bytes[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            // A character literal; a lifetime has no quote after its first character.
            ('\'', Some('\\')) => {
                at += 3;
                while at < bytes.len() && bytes[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            ('\'', Some(_)) if bytes.get(at + 2) == Some(&'\'') => at += 3,
            _ => {
                code.push(c);
                at += 1;
            }
        }
    }
    code
}

/// The code with every item behind `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let mut depth = 0;
        let end = item["#[cfg(test)]".len()..].char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0 && matches!(c, ';' | '}')).then_some("#[cfg(test)]".len() + at + 1)
        });
        let end = end.unwrap_or(item.len());
        kept.extend(item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}
