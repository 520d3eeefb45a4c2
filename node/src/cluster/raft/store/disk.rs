//! The few file operations the log and the snapshots need, behind a trait.
//!
//! The trait exists because a disk is the I/O edge where tests must stand: one test double counts and fails `sync_data`, another forgets
//! on a simulated power cut whatever was not synced. Names are plain file names inside one folder.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A folder that belongs to one node.
pub(crate) trait Disk: Send + Sync + 'static {
    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A whole file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// A piece of a file; short files are an error.
    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// A new, empty file to append to; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// An existing file to append to, cut to `length` first.
    fn open(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes created, renamed and removed names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// How an error message names a file.
    fn path(&self, name: &str) -> PathBuf;

    /// Writes a file so that a crash leaves either the whole of it or nothing under `name`.
    fn write_whole(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let temporary = format!("{name}.tmp");
        let mut file = self.create(&temporary)?;
        for part in parts {
            file.append(part)?;
        }
        file.sync_data()?;
        drop(file);
        self.rename(&temporary, name)?;
        self.sync_names()
    }
}

/// A file open for appending.
pub(crate) trait DiskFile: Send {
    /// Writes behind what was appended before, into what was reserved as far as that goes.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes sure that `bytes` bytes of zeros stand behind what was appended. What is appended into them leaves the length of the file and
    /// its place on the disk as they are, so that syncing it writes the data and nothing else.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;
    /// Takes back what is reserved and was not needed.
    fn trim(&mut self) -> io::Result<()>;
    /// Returns once everything appended would survive a power cut.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// The real thing.
pub(crate) struct RealDisk {
    folder: PathBuf,
    /// Held for as long as this value lives, so that no second process writes here.
    _lock: File,
}

impl RealDisk {
    /// Creates the folder where needed and takes its lock.
    ///
    /// # Errors
    /// `WouldBlock` where another process holds the lock.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another process holds the lock"),
            std::fs::TryLockError::Error(error) => error,
        })?;
        let disk = Self {
            folder: folder.to_owned(),
            _lock: lock,
        };
        // The folder itself may be new; its own name is durable only once its parent is synced.
        if let Some(parent) = folder.parent()
            && !parent.as_os_str().is_empty()
        {
            File::open(parent)?.sync_all()?;
        }
        Ok(disk)
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.folder.join(name))?;
        let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(self.folder.join(name))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(self.folder.join(name))?;
        Ok(Box::new(RealFile { file, at: 0, end: 0 }))
    }

    fn open(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).open(self.folder.join(name))?;
        file.set_len(length)?;
        Ok(Box::new(RealFile {
            file,
            at: length,
            end: length,
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

struct RealFile {
    file: File,
    /// Where the next bytes go.
    at: u64,
    /// How long the file is: behind `at` it holds zeros.
    end: u64,
}

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        // Written out: blocks that are only allocated are marked as written by the first sync of each, which costs what it is to save.
        let zeros = [0; 64 * 1024];
        let wanted = self.at + bytes;
        while self.end < wanted {
            let some = usize::try_from(wanted - self.end).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.file.write_all_at(&zeros[..some], self.end)?;
            self.end += some as u64;
        }
        Ok(())
    }

    fn trim(&mut self) -> io::Result<()> {
        if self.end > self.at {
            self.file.set_len(self.at)?;
            self.end = self.at;
        }
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The lock file; the log does not list it.
const LOCK: &str = "lock";
