//! A disk in memory that forgets on a power cut what was not synced, counts syncs, and can refuse them.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::cluster::raft::store::disk::{Disk, DiskFile};

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// How many of them were appended: zeros that were reserved follow.
    appended: usize,
    /// How many of the appended ones would survive.
    synced: usize,
    /// How long the file would be.
    synced_length: usize,
}

impl Content {
    /// All of it is there to stay.
    fn durable(bytes: Vec<u8>) -> Arc<Mutex<Self>> {
        let length = bytes.len();
        Arc::new(Mutex::new(Self {
            bytes,
            appended: length,
            synced: length,
            synced_length: length,
        }))
    }
}

type Names = BTreeMap<String, Arc<Mutex<Content>>>;

#[derive(Default)]
pub(super) struct TestDisk {
    names: Mutex<Names>,
    durable_names: Mutex<Names>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    syncs: AtomicU64,
    refuses: AtomicBool,
    /// Reports success and syncs nothing: what a log without fsync amounts to.
    lies: AtomicBool,
}

impl TestDisk {
    pub(super) fn syncs(&self) -> u64 {
        self.state.syncs.load(Ordering::SeqCst)
    }

    pub(super) fn refuse_syncs(&self) {
        self.state.refuses.store(true, Ordering::SeqCst);
    }

    pub(super) fn lie(&self) {
        self.state.lies.store(true, Ordering::SeqCst);
    }

    pub(super) fn be_honest(&self) {
        self.state.lies.store(false, Ordering::SeqCst);
    }

    /// What a machine finds after the power came back: of each file what was synced, and of the rest what `survives` says, given
    /// its length.
    pub(super) fn after_power_cut(&self, survives: impl Fn(usize) -> usize) -> Arc<Self> {
        let names: Names = self
            .durable_names
            .lock()
            .iter()
            .map(|(name, content)| {
                let content = content.lock();
                let rest = content.appended - content.synced;
                let mut bytes = content.bytes[..content.synced + survives(rest).min(rest)].to_vec();
                if bytes.len() < content.synced_length {
                    bytes.resize(content.synced_length, 0);
                }
                (name.clone(), Content::durable(bytes))
            })
            .collect();
        Arc::new(Self {
            names: Mutex::new(names.clone()),
            durable_names: Mutex::new(names),
            state: Arc::default(),
        })
    }

    /// A copy whose files can be damaged.
    pub(super) fn copy(&self) -> Arc<Self> {
        let copy = |(name, content): (&String, &Arc<Mutex<Content>>)| {
            let bytes = content.lock().bytes.clone();
            (name.clone(), Content::durable(bytes))
        };
        let names: Names = self.names.lock().iter().map(copy).collect();
        Arc::new(Self {
            names: Mutex::new(names.clone()),
            durable_names: Mutex::new(names),
            state: Arc::default(),
        })
    }

    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        edit(&mut self.file(name).expect("the file").lock().bytes);
    }

    /// Names of the files that begin with `prefix`, in order.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        self.names
            .lock()
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    fn file(&self, name: &str) -> io::Result<Arc<Mutex<Content>>> {
        self.names
            .lock()
            .get(name)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for TestDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names(""))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.file(name)?.lock().bytes.clone())
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.file(name)?;
        let file = file.lock();
        let offset = usize::try_from(offset).expect("small files");
        file.bytes
            .get(offset..offset + length)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let content = Arc::new(Mutex::new(Content::default()));
        self.names.lock().insert(name.to_owned(), content.clone());
        Ok(Box::new(TestFile {
            content,
            state: self.state.clone(),
        }))
    }

    fn open(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let content = self.file(name)?;
        let length = usize::try_from(length).expect("small files");
        let mut file = content.lock();
        file.bytes.truncate(length);
        file.appended = length;
        file.synced = file.synced.min(length);
        file.synced_length = file.synced_length.min(length);
        drop(file);
        Ok(Box::new(TestFile {
            content,
            state: self.state.clone(),
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.names
            .lock()
            .remove(name)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names.lock();
        let content = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.to_owned(), content);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        *self.durable_names.lock() = self.names.lock().clone();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/test").join(name)
    }
}

struct TestFile {
    content: Arc<Mutex<Content>>,
    state: Arc<State>,
}

impl DiskFile for TestFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.content.lock();
        let (from, to) = (content.appended, content.appended + bytes.len());
        if content.bytes.len() < to {
            content.bytes.resize(to, 0);
        }
        content.bytes[from..to].copy_from_slice(bytes);
        content.appended = to;
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        let length = content.appended + usize::try_from(bytes).expect("small files");
        if content.bytes.len() < length {
            content.bytes.resize(length, 0);
        }
        Ok(())
    }

    fn trim(&mut self) -> io::Result<()> {
        let mut content = self.content.lock();
        let appended = content.appended;
        content.bytes.truncate(appended);
        content.synced_length = content.synced_length.min(appended);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        if self.state.refuses.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk refuses"));
        }
        if !self.state.lies.load(Ordering::SeqCst) {
            let mut content = self.content.lock();
            content.synced = content.appended;
            content.synced_length = content.bytes.len();
        }
        self.state.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
