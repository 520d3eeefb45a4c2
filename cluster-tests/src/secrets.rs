//! The secrets that tests use, and the places where a run could give one away.
//!
//! `cargo xtask test` gives each suite a folder (`RINGFORT_RUN_DIR`). There the folders of nodes stay until it has looked through all that
//! was written (logs, what goes to disks, what the suite printed) for the secrets that are noted here. Those of configurations are noted
//! where a node is started with one; a test that makes a secret in another way says so with [`used`]. By hand nothing is noted or kept.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// The folder of the run, if there is one.
fn run_dir() -> Option<PathBuf> {
    std::env::var_os("RINGFORT_RUN_DIR").map(PathBuf::from)
}

/// The file in it, one secret a line.
const NOTES: &str = "secrets.txt";
/// Shorter ones would be found by chance.
const LEN_MIN: usize = 8;

/// A folder for a node; it stays until the end of the suite where a run wants to look at it.
///
/// # Errors
/// If it cannot be made.
pub fn folder(prefix: &str) -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    match run_dir() {
        Some(dir) => builder.disable_cleanup(true).tempdir_in(dir),
        None => builder.tempdir(),
    }
}

/// Notes a secret that must be found nowhere.
pub fn used(secret: &str) {
    let Some(dir) = run_dir() else { return };
    if secret.len() < LEN_MIN || secret.contains('\n') {
        return;
    }
    let file = std::fs::File::options().create(true).append(true).open(dir.join(NOTES));
    // One write a line, so that tests at one time do not mix theirs. A file that cannot be written shows as a check without secrets.
    let _ = file.and_then(|mut file| file.write_all(format!("{secret}\n").as_bytes()));
}

/// Notes the secrets that a configuration gives in clear, and those of the key files it names.
pub fn of_config(file: &Path) {
    if run_dir().is_none() {
        return;
    }
    let text = std::fs::read_to_string(file).unwrap_or_default();
    for (key, value) in strings(&text) {
        match key.as_str() {
            "ticket" | "wampcra" | "scram" | "secret" | "password" | "token" => used(&value),
            "key" | "cryptosign_key" => of_key(Path::new(&value)),
            _ => {}
        }
    }
}

/// The lines of a private key in PEM form, or a key in hex.
fn of_key(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let text = text.trim();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return used(text);
    }
    for key in text.split("PRIVATE KEY-----").skip(1).step_by(2) {
        // The first line holds most of it; the last ones hold its public half, which may stand elsewhere.
        used(key.trim().lines().next().unwrap_or_default());
    }
}

/// `key = "value"` wherever it stands, also within braces.
fn strings(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("= \"") {
        let before = text[..at].trim_end();
        let key: String = before
            .chars()
            .rev()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let rest = &text[at + 3..];
        if let Some(end) = rest.find('"') {
            found.push((key.chars().rev().collect(), rest[..end].to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_with_their_keys() {
        let text = "[a]\nticket = \"one\"\nroles = [{ name = \"x\", key= \"no\" }, { scram = \"two\" }]\n";
        let found = strings(text);
        assert_eq!(found[0], ("ticket".to_owned(), "one".to_owned()));
        assert!(found.contains(&("scram".to_owned(), "two".to_owned())));
    }
}
