//! Tar archives (POSIX ustar) whose bytes follow from their contents alone.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// One file or folder. Paths have no leading slash.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    path: String,
    mode: u32,
    owner: u32,
    is_folder: bool,
    pub(super) data: Vec<u8>,
}

/// Writes archives.
pub(super) struct Archive;

const BLOCK: usize = 512;

impl Entry {
    /// A file of root's.
    pub(super) fn file(path: &str, mode: u32, data: Vec<u8>) -> Self {
        Self {
            path: path.trim_start_matches('/').to_owned(),
            mode,
            owner: 0,
            is_folder: false,
            data,
        }
    }

    /// An empty folder.
    pub(super) fn folder(path: &str, mode: u32, owner: u32) -> Self {
        Self {
            path: path.trim_start_matches('/').to_owned(),
            mode,
            owner,
            is_folder: true,
            data: Vec::new(),
        }
    }

    /// The head of the entry: numbers in octal, and a sum over the head itself with the sum's own bytes as spaces.
    fn head(&self) -> Result<[u8; BLOCK]> {
        let path = if self.is_folder {
            format!("{}/", self.path)
        } else {
            self.path.clone()
        };
        ensure!(path.len() <= 100, "{path}: longer than a plain tar entry can say");
        let mut head = [0; BLOCK];
        let mut put = |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, &path);
        put(100, &format!("{:07o}", self.mode));
        put(108, &format!("{:07o}", self.owner));
        put(116, &format!("{:07o}", self.owner));
        put(124, &format!("{:011o}", self.data.len()));
        put(136, &format!("{:011o}", 0));
        put(148, "        ");
        put(156, if self.is_folder { "5" } else { "0" });
        put(257, "ustar\x0000");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        Ok(head)
    }
}

impl Archive {
    /// The archive of `entries`, sorted, with the folders they stand in.
    ///
    /// # Errors
    /// If a path is too long, or stands there twice.
    pub(super) fn of(entries: Vec<Entry>) -> Result<Vec<u8>> {
        let mut all: BTreeMap<String, Entry> = BTreeMap::new();
        for entry in entries {
            let path = entry.path.clone();
            ensure!(
                all.insert(path.clone(), entry).is_none(),
                "{path} stands in the archive twice"
            );
        }
        let paths: Vec<String> = all.keys().cloned().collect();
        for path in paths {
            for (at, _) in path.match_indices('/') {
                all.entry(path[..at].to_owned())
                    .or_insert_with(|| Entry::folder(&path[..at], 0o755, 0));
            }
        }
        let mut bytes = Vec::new();
        for entry in all.values() {
            bytes.extend(entry.head()?);
            bytes.extend(&entry.data);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_entries_does_not_matter_and_folders_come_by_themselves() {
        let (one, two) = (Entry::file("/b/c/d", 0o644, vec![1; 513]), Entry::file("a", 0o755, vec![2]));
        let archive = Archive::of(vec![one.clone(), two.clone()]).unwrap();
        assert_eq!(archive, Archive::of(vec![two, one]).unwrap());
        let names: Vec<String> = archive
            .chunks(BLOCK)
            .filter(|block| block.len() == BLOCK && &block[257..262] == b"ustar")
            .map(|block| String::from_utf8_lossy(&block[..100]).trim_end_matches('\0').to_owned())
            .collect();
        assert_eq!(names, ["a", "b/", "b/c/", "b/c/d"]);
        assert_eq!(archive.len(), BLOCK * (4 + 1 + 2 + 2));
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        assert!(Archive::of(vec![Entry::file(&"a".repeat(101), 0o644, Vec::new())]).is_err());
        let twice = Entry::file("a", 0o644, Vec::new());
        assert!(Archive::of(vec![twice.clone(), twice]).is_err());
    }
}
