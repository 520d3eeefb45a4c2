//! The file: its end after a crash, appending, rotation.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Event, Head, Settings,
    record::{Link, hash},
};

/// The open file of the newest records. Locked: two nodes cannot share one.
#[derive(Debug)]
pub(super) struct LogFile {
    settings: Settings,
    file: File,
    bytes: u64,
    /// The number of its first record.
    first: u64,
    head: Head,
    /// Where it is not known what a failed write has left behind the last good byte.
    torn: bool,
}

/// What stands at the end of a file.
struct End {
    /// Up to here lines are whole.
    good: u64,
    /// The last whole one.
    head: Option<Head>,
    /// What follows it.
    torn: Vec<u8>,
}

impl LogFile {
    /// Opens or makes the file and finds the end of the chain.
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let mut file = begin(&settings.path)?;
        let end = end_of(&mut file)?;
        let head = match end.head {
            Some(head) => head,
            // The file was begun and nothing was written yet: the chain goes on from what was rotated last.
            None => match rotated(&settings.path)?.pop() {
                Some((_, path)) => end_of(&mut File::open(&path)?)?
                    .head
                    .ok_or_else(|| io::Error::other(format!("{} holds no record: move it away", path.display())))?,
                None => Head::none(),
            },
        };
        let first = first_of(&mut file, end.good)?.unwrap_or(head.seq + 1);
        let mut log = Self {
            settings: settings.clone(),
            file,
            bytes: end.good,
            first,
            head,
            torn: false,
        };
        if !end.torn.is_empty() {
            log.file.set_len(end.good)?;
            let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
            let event = Event {
                reason: Some("the last write was torn, and was never answered for".to_owned()),
                what: Some(format!("sha256 {}", hash(&end.torn))),
                count: Some(end.torn.len() as u64),
                ..Event::of("mended")
            };
            log.append([(u64::try_from(micros).unwrap_or(u64::MAX), &event)].into_iter())?;
            let (cut, path) = (end.torn.len(), settings.path.display());
            tracing::warn!(cut, %path, "the end of the audit log was torn by a crash and is mended");
        }
        Ok(log)
    }

    pub(super) fn head(&self) -> Head {
        self.head.clone()
    }

    /// Appends records and syncs them. If that fails none of them counts, and the file is as before when it can be written again.
    pub(super) fn append<'a>(&mut self, events: impl Iterator<Item = (u64, &'a Event)>) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.bytes)?;
            self.torn = false;
        }
        if self.bytes >= self.settings.rotate_bytes && self.head.seq >= self.first {
            self.rotate()?;
        }
        let mut text = Vec::new();
        let mut head = self.head.clone();
        for (at, event) in events {
            head.append(&self.settings.node, at, event, &mut text)?;
        }
        self.torn = true;
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.torn = false;
        self.bytes += text.len() as u64;
        self.head = head;
        Ok(())
    }

    /// Puts the file aside and begins the next one; the oldest of those aside go.
    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.settings.path;
        std::fs::rename(path, beside(path, self.first))?;
        self.file = begin(path)?;
        self.bytes = 0;
        self.first = self.head.seq + 1;
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(directory)?.sync_all()?;
        }
        let old = rotated(path)?;
        let surplus = old.len().saturating_sub(self.settings.keep);
        for (_, path) in old.into_iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Opens or makes the file, for its owner alone, and locks it.
fn begin(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another process writes to it: give each node its own")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Where a file is put aside whose first record has that number.
fn beside(path: &Path, first: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first:020}"));
    name.into()
}

/// What was put aside of the log at `path`, oldest first, each with the number of its first record.
pub(super) fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (Some(name), directory) = (path.file_name().and_then(|name| name.to_str()), path.parent()) else {
        return Ok(Vec::new());
    };
    let directory = directory
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let other = entry.file_name();
        let number = other.to_str().and_then(|other| other.strip_prefix(name)?.strip_prefix('.'));
        if let Some(number) = number.filter(|number| number.len() == 20)
            && let Ok(first) = number.parse()
        {
            found.push((first, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Looks at the end only: a file may be large.
fn end_of(file: &mut File) -> io::Result<End> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut wanted = 64 * 1024;
    loop {
        let from = length.saturating_sub(wanted);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        wanted *= 4;
        let last = tail.iter().rposition(|byte| *byte == b'\n');
        let Some(last) = last else {
            if from > 0 {
                continue;
            }
            // Of the very first record. Anything else is not ours to mend.
            if !tail.starts_with(&RECORD_BEGINS[..tail.len().min(RECORD_BEGINS.len())]) && tail.iter().any(|byte| *byte != 0) {
                return Err(io::Error::other("it is no audit log: name another file"));
            }
            return Ok(End {
                good: 0,
                head: None,
                torn: tail,
            });
        };
        let begins = tail[..last].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        let begins = match begins {
            Some(begins) => begins,
            None if from == 0 => 0,
            None => continue,
        };
        let line = &tail[begins..last];
        let link: Link = serde_json::from_slice(line)
            .map_err(|error| io::Error::other(format!("its last line is no record ({error}): move the file away")))?;
        return Ok(End {
            good: from + last as u64 + 1,
            head: Some(Head::of(link.seq, line)),
            torn: tail[last + 1..].to_vec(),
        });
    }
}

/// With what every record begins.
const RECORD_BEGINS: &[u8] = br#"{"seq":"#;

/// The number of the first record of a file with this many good bytes.
fn first_of(file: &mut File, good: u64) -> io::Result<Option<u64>> {
    if good == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    io::BufRead::read_until(&mut io::BufReader::new(&mut *file), b'\n', &mut line)?;
    let link: Link = serde_json::from_slice(&line).map_err(|error| io::Error::other(format!("its first line: {error}")))?;
    Ok(Some(link.seq))
}
