//! No secret that a suite used stands in anything it has written: logs, what nodes put on disks, what was printed, panics among it.
//!
//! Suites note their secrets in `secrets.txt` of the folder they are given and leave the folders of their nodes there
//! (`cluster-tests/src/secrets.rs`). What was given to a node, configurations and keys, is left out: there they belong.

use std::{
    collections::BTreeSet,
    io::BufReader,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;
use anyhow::{Context, Result};

use crate::shell::target;

/// What has been looked through so far, over all suites of a run.
#[derive(Default)]
pub(crate) struct Search {
    secrets: BTreeSet<String>,
    files: usize,
    found: Vec<String>,
}

/// Where a suite notes its secrets.
const NOTES: &str = "secrets.txt";
/// Where its output is kept.
pub(crate) const OUTPUT: &str = "output.log";

/// An empty folder for a suite.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn folder(suite: &str) -> Result<PathBuf> {
    let dir = target().join("run").join(suite);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

impl Search {
    /// Looks through the folder of a suite and removes it, unless something is found there.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn suite(&mut self, dir: &Path) -> Result<()> {
        let notes = std::fs::read_to_string(dir.join(NOTES)).unwrap_or_default();
        self.secrets.extend(notes.lines().map(str::to_owned));
        let before = self.found.len();
        self.through(dir)?;
        if self.found.len() == before {
            std::fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        Ok(())
    }

    /// Looks through all files below a folder for all secrets known by now.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn through(&mut self, dir: &Path) -> Result<()> {
        let (patterns, names): (Vec<_>, Vec<_>) = self.secrets.iter().flat_map(|secret| forms(secret)).unzip();
        let search = AhoCorasick::new(&patterns)?;
        let mut files = Vec::new();
        collect(dir, &mut files);
        for file in files {
            self.files += 1;
            let open = std::fs::File::open(&file).with_context(|| file.display().to_string())?;
            if let Some(found) = search.stream_find_iter(BufReader::new(open)).next() {
                let found = found.with_context(|| file.display().to_string())?;
                self.found
                    .push(format!("{}: {}", file.display(), names[found.pattern().as_usize()]));
            }
        }
        Ok(())
    }

    /// True if there was something to look for, somewhere to look, and nothing was found.
    pub(crate) fn close(&self) -> bool {
        for place in &self.found {
            println!("a secret in clear: {place}");
        }
        println!("{} files were searched for {} secrets", self.files, self.secrets.len());
        self.found.is_empty() && self.files > 0 && !self.secrets.is_empty()
    }
}

/// The forms in which a secret could be written, each with a name that does not show it.
fn forms(secret: &str) -> Vec<(Vec<u8>, String)> {
    let shown = format!(
        "{}… ({} characters)",
        secret.chars().take(2).collect::<String>(),
        secret.len()
    );
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        (secret.as_bytes().to_vec(), shown.clone()),
        (hex.to_uppercase().into_bytes(), format!("{shown} in hex")),
        (hex.into_bytes(), format!("{shown} in hex")),
    ];
    // Of base64 only what does not depend on what follows.
    let whole = &secret.as_bytes()[..secret.len() / 3 * 3];
    forms.push((base64(whole).into_bytes(), format!("{shown} in base64")));
    forms
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let three = |piece: &[u8]| {
        let bits = piece.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
    };
    bytes.chunks_exact(3).flat_map(three).collect()
}

/// Files that a node was given: its configuration and keys, and the notes themselves.
fn is_given(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    name == NOTES || ["toml", "key"].contains(&ending)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        match kind {
            Ok(kind) if kind.is_dir() => collect(&path, files),
            Ok(kind) if kind.is_file() && !is_given(&path) => files.push(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(name: &str, text: &[u8]) -> bool {
        let dir = std::env::temp_dir().join(format!("ringfort-xtask-{}-{name}", std::process::id()));
        std::fs::create_dir_all(dir.join("n1/raft")).expect("folder");
        std::fs::write(dir.join(NOTES), "a-secret-of-a-test\n").expect("notes");
        std::fs::write(dir.join("n1.toml"), "ticket = \"a-secret-of-a-test\"\n").expect("configuration");
        std::fs::write(dir.join("n1/raft/log"), text).expect("log");
        let mut search = Search::default();
        search.suite(&dir).expect("a search");
        let clean = search.close();
        assert_eq!(dir.exists(), !clean, "what was found is kept");
        let _ = std::fs::remove_dir_all(&dir);
        !clean
    }

    #[test]
    fn a_secret_is_found_in_every_form_and_nothing_else_is() {
        assert!(!planted("none", b"\0\xFFnothing of that kind"));
        assert!(planted("clear", b"\0\0ticket a-secret-of-a-test\0"));
        assert!(planted("hex", b"612d7365637265742d6f662d612d74657374"));
        assert!(planted("base64", b"YS1zZWNyZXQtb2YtYS10ZXN0"));
    }

    #[test]
    fn a_search_for_nothing_is_no_success() {
        assert!(!Search::default().close());
    }
}
