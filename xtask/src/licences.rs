//! The rule for dependencies (DESIGN §7): a permissive licence, from crates.io, one TLS stack.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell::{cargo, output_of};

/// The licences that may be linked in.
const ALLOWED: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Zlib",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    // MIT without the duty to name its authors. jsonschema needs borrow-or-share, which has it.
    "MIT-0",
    // Boost: as permissive as MIT. The redis crate needs xxhash-rust, which has it.
    "BSL-1.0",
];

/// Crates that must not come in, even by a detour, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "the one TLS stack is rustls"),
    ("openssl-sys", "the one TLS stack is rustls"),
    ("native-tls", "the one TLS stack is rustls"),
    ("aws-lc-rs", "rustls runs on ring here"),
    ("aws-lc-sys", "rustls runs on ring here"),
];

/// Crates of which there must be one version.
const SINGLE: &[&str] = &["rustls", "ring", "tokio", "tonic", "prost", "hyper"];

/// Checks all dependencies of the workspace and prints what is wrong with them.
///
/// # Errors
/// If cargo cannot list them.
pub(crate) fn run() -> Result<bool> {
    let metadata = output_of(&mut cargo(&["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let (problems, count) = check(&metadata)?;
    for problem in &problems {
        println!("{problem}");
    }
    println!("{count} dependencies, {} problems", problems.len());
    Ok(problems.is_empty())
}

/// The problems, and how many dependencies were looked at.
fn check(metadata: &Value) -> Result<(Vec<String>, usize)> {
    let texts = |value: &Value| -> BTreeSet<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect()
    };
    let members = texts(&metadata["workspace_members"]);
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .context("nodes")?
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let mut problems = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut count = 0;
    for package in metadata["packages"].as_array().context("packages")? {
        let text = |key: &str| package[key].as_str();
        let (id, name, version) = (
            text("id").context("id")?,
            text("name").context("name")?,
            text("version").context("version")?,
        );
        if members.contains(id) || !used.contains(id) {
            continue;
        }
        count += 1;
        versions.entry(name).or_default().push(version);
        match text("source") {
            Some(source) if source.starts_with("registry+") && source.ends_with("/crates.io-index") => {}
            Some(source) => problems.push(format!("{name} {version}: comes from {source}, not from crates.io")),
            None => problems.push(format!("{name} {version}: a path outside of the workspace")),
        }
        match text("license") {
            Some(licence) if is_allowed(licence) => {}
            Some(licence) => problems.push(format!("{name} {version}: licence `{licence}` is not on the list")),
            None => problems.push(format!("{name} {version}: states no licence")),
        }
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            problems.push(format!("{name} {version}: must not be used: {why}"));
        }
    }
    for name in SINGLE {
        if let Some(found) = versions.get(name).filter(|found| found.len() > 1) {
            problems.push(format!("{name}: more than one version: {}", found.join(", ")));
        }
    }
    Ok((problems, count))
}

/// Whether an SPDX expression can be met with allowed licences only. `OR` binds weaker than `AND`; `WITH` adds a permission.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) && rest.is_empty()
}

fn any_of(words: &mut &[&str]) -> bool {
    let mut good = all_of(words);
    while let Some(("OR", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        *words = rest;
        good |= all_of(words);
    }
    good
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut good = one(words);
    while let Some(("AND", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        *words = rest;
        good &= one(words);
    }
    good
}

fn one(words: &mut &[&str]) -> bool {
    let Some((first, rest)) = words.split_first() else {
        return false;
    };
    *words = rest;
    if *first == "(" {
        let good = any_of(words);
        return match words.split_first() {
            Some((&")", rest)) => {
                *words = rest;
                good
            }
            _ => false,
        };
    }
    if let ["WITH", _, rest @ ..] = *words {
        *words = rest;
    }
    ALLOWED.contains(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "Unlicense OR MIT",
            "Apache-2.0 AND ISC",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "GPL-3.0 AND MIT OR ISC",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "",
            "(MIT",
            "MIT Apache-2.0",
            "MIT AND (GPL-2.0 OR AGPL-3.0)",
            "OR MIT",
        ] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    /// Metadata with one member and these dependencies: name, version, licence, source.
    fn metadata(dependencies: &[(&str, &str, &str, &str)]) -> Value {
        let package = |(name, version, licence, source): &(&str, &str, &str, &str)| serde_json::json!({"id": format!("{name}@{version}"), "name": name, "version": version, "license": licence, "source": source});
        let mut packages: Vec<Value> = dependencies.iter().map(package).collect();
        packages.push(serde_json::json!({"id": "us", "name": "us", "version": "1.0.0", "license": null, "source": null}));
        let nodes: Vec<Value> = packages
            .iter()
            .map(|package| serde_json::json!({"id": package["id"]}))
            .collect();
        serde_json::json!({"packages": packages, "workspace_members": ["us"], "resolve": {"nodes": nodes}})
    }

    #[test]
    fn each_breach_names_its_crate() {
        let index = "registry+https://example.org/crates.io-index";
        let (problems, count) = check(&metadata(&[("fine", "1.0.0", "MIT", index)])).expect("metadata");
        assert_eq!((problems, count), (vec![], 1));
        for (bad, word) in [
            (("copyleft", "1.0.0", "GPL-3.0", index), "licence"),
            (("forked", "1.0.0", "MIT", "git+https://example.org/forked"), "crates.io"),
            (("openssl", "0.10.0", "Apache-2.0", index), "rustls"),
        ] {
            let (problems, _) = check(&metadata(&[("fine", "1.0.0", "MIT", index), bad])).expect("metadata");
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(bad.0) && problems[0].contains(word), "{problems:?}");
        }
        let twice = [("rustls", "0.23.0", "MIT", index), ("rustls", "0.24.0", "MIT", index)];
        let (problems, _) = check(&metadata(&twice)).expect("metadata");
        assert!(problems.len() == 1 && problems[0].contains("0.23.0, 0.24.0"), "{problems:?}");
    }
}
