//! The bill of materials of an image: CycloneDX 1.5, from what Cargo has resolved and the libraries of the system.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{hex, libraries::Library, metadata};
use crate::shell::root;

/// What the package `name` is made of.
///
/// # Errors
/// If Cargo or its lock file cannot be read, or a library cannot.
pub(super) fn of(name: &str, libraries: &[Library]) -> Result<Value> {
    let metadata = metadata()?;
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock"))?
        .parse()
        .context("Cargo.lock")?;
    let mut components = crates(name, &metadata, &checksums(&lock))?;
    for library in libraries {
        let bytes = std::fs::read(&library.path)?;
        let mut component = json!({
            "type": "file",
            "name": library.path.to_string_lossy(),
            "hashes": [{ "alg": "SHA-256", "content": hex(&bytes) }],
        });
        if let Some((package, version)) = &library.package {
            component["version"] = json!(version);
            component["purl"] = json!(format!("pkg:deb/debian/{package}@{version}"));
        }
        components.push(component);
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "name": name,
            "version": env!("CARGO_PKG_VERSION"),
            "licenses": [{ "license": { "id": "Apache-2.0" } }],
        } },
        "components": components,
    }))
}

/// SHA-256 of each crate's archive, by name and version.
fn checksums(lock: &toml::Table) -> BTreeMap<(String, String), String> {
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let text = |package: &toml::Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    packages
        .filter_map(|package| {
            Some((
                (text(package, "name")?, text(package, "version")?),
                text(package, "checksum")?,
            ))
        })
        .collect()
}

/// The crates that the package `name` is linked from: its normal dependencies and theirs. What only builds or tests it is not in it.
fn crates(name: &str, metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Result<Vec<Value>> {
    let packages = metadata["packages"].as_array().context("packages")?;
    let nodes = metadata["resolve"]["nodes"].as_array().context("nodes")?;
    let start = packages
        .iter()
        .find(|package| package["name"] == name)
        .and_then(|package| package["id"].as_str())
        .with_context(|| format!("no package is called {name}"))?;
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        let node = nodes
            .iter()
            .find(|node| node["id"] == id)
            .context("a package is not resolved")?;
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let is_normal = |kind: &Value| kind["kind"].is_null();
            if dependency["dep_kinds"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(is_normal))
            {
                open.extend(dependency["pkg"].as_str());
            }
        }
    }
    let mut components = Vec::new();
    for package in packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| reached.contains(id)))
    {
        let (name, version) = (
            package["name"].as_str().context("name")?,
            package["version"].as_str().context("version")?,
        );
        if package["id"] == start {
            continue;
        }
        let mut component = json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
        });
        if let Some(licence) = package["license"].as_str() {
            component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
        }
        if let Some(checksum) = checksums.get(&(name.to_owned(), version.to_owned())) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        components.push(component);
    }
    components.sort_by_key(|component| component["purl"].to_string());
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_what_only_tests_is_not() {
        let package = |id: &str| json!({ "id": id, "name": id, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let needs = |id: &str, kind: Value| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package("app"), package("linked"), package("below"), package("tester")],
            "resolve": { "nodes": [
                { "id": "app", "deps": [needs("linked", Value::Null), needs("tester", json!("dev"))] },
                { "id": "linked", "deps": [needs("below", Value::Null)] },
                { "id": "below", "deps": [] },
                { "id": "tester", "deps": [] },
            ] },
        });
        let sums = BTreeMap::from([(("below".to_owned(), "1.0.0".to_owned()), "abc".to_owned())]);
        let components = crates("app", &metadata, &sums).unwrap();
        let names: Vec<&str> = components.iter().filter_map(|component| component["name"].as_str()).collect();
        assert_eq!(names, ["below", "linked"]);
        assert_eq!(components[0]["hashes"][0]["content"], "abc");
        assert_eq!(components[1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert!(crates("other", &metadata, &sums).is_err());
    }
}
