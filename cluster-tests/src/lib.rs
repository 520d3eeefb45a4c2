//! What the tests with real processes share: starting and hurting nodes, a small WAMP client, scripts of third-party clients,
//! and the check of the direction in which the router's modules use each other.
//!
//! Nothing here uses the router's library: a test that shares code with what it tests agrees with its mistakes. Start reading at
//! [`cluster`]; the tests themselves are in `tests/`, one file per promise.

pub mod cluster;
pub mod crossbar;
pub mod http;
pub mod layers;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod redis;
pub mod scripts;
pub mod secrets;
pub mod tls_scan;
pub mod wamp;
pub mod workers;

use std::path::PathBuf;

/// The root of the work tree.
pub fn workspace_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(PathBuf::from)
        .unwrap_or_default()
}

/// Where build results go: `CARGO_TARGET_DIR`, else `target/` of the work tree.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace_root().join(dir),
        None => workspace_root().join("target"),
    }
}

/// Where tests leave what a person may want to look at: screenshots, logs of failed runs, one-line results of suites.
pub fn artifacts_dir() -> PathBuf {
    let dir = target_dir().join("artifacts");
    // A folder that cannot be made shows at the first write into it, with its path.
    let _ = std::fs::create_dir_all(&dir);
    dir
}

/// Whether the heavy repeats were asked for (`cargo xtask test --long`).
pub fn long() -> bool {
    std::env::var_os("RINGFORT_LONG").is_some()
}

/// Notes the outcome of a suite in one line, for the summary of `cargo xtask test`.
pub fn record_result(suite: &str, line: &str) {
    println!("{suite}: {line}");
    let path = artifacts_dir().join(format!("suite-{suite}.txt"));
    if let Err(error) = std::fs::write(&path, format!("{line}\n")) {
        eprintln!("{}: {error}", path.display());
    }
}
