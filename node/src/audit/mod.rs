//! The audit log: who was refused what, who changed which rights, and whose sessions ended for it. One file of JSON lines per node.
//!
//! Owns: the records, their chain, the file and its rotation, the queue before it and the thread that writes. Does not own what is
//! worth a record: the shells say it through [`Audit::refused`], [`Audit::note`] and [`Audit::commit`]. Start reading at [`Audit`].
//!
//! - **Chain.** Every record carries its number and the SHA-256 of the line before it, over rotation and restart; [`verify`] names the
//!   first record for which that does not hold. What the chain cannot show is that its newest records were cut off: `/status` tells the
//!   number and hash of the last one, for whoever wants to keep them elsewhere.
//! - **Durability.** Records are written and synced (`fdatasync`) in batches: what gathers while one batch is synced is the next. Who
//!   needs a record to be on the disk waits for [`Audit::commit`]; nobody else waits for anything.
//! - **Floods.** Refusals are counted per source (an IPv6 one by its /64), kind and reason, and written once a second: the first of each
//!   with how many there were. Of these at most `refusals_max` are held; what finds no room is counted, and a record says how many.
//!   Changes and revocations are never dropped: there are as many as requests of operators under way and sessions that end.
//! - **Torn writes.** After a crash the last line may be half there. Then it was never answered for; it is cut off, and a record says so.
//!
//! No record holds a credential: callers hand over names, URIs and kinds of credentials, never what a client proves itself with.

mod file;
mod queue;
mod record;
pub mod verify;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;

pub use record::{Event, Head, Lost};

use self::{file::LogFile, queue::Queue};

/// Where it is and how large it grows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file. What was rotated stands beside it, with the number of its first record behind its name.
    pub path: PathBuf,
    /// Bytes after which a new file is begun.
    pub rotate_bytes: u64,
    /// How many rotated files are kept.
    pub keep: usize,
    /// How many kinds of refusals are held before they are written.
    pub refusals_max: usize,
    /// The name of this node.
    pub node: String,
}

/// The log cannot be written. What the record was to say was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("audit log {}: {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        what: String,
    },
    /// The node stops.
    #[error("the audit log is closed")]
    Closed,
}

/// A request that was refused, as far as it is known who asked and for what. Begin with [`Refusal::of`].
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// `authentication`, `authorization`, `limit` or `admin`: which wall it was.
    pub wall: &'static str,
    /// Why, in a few words that are always the same.
    pub reason: &'static str,
    /// Where the connection came from.
    pub source: Option<IpAddr>,
    /// By which of the node's addresses.
    pub listener: Option<SocketAddr>,
    /// The realm, where it is known; else empty. So for the texts that follow.
    pub realm: &'a str,
    /// Who it says it is, or who it is.
    pub authid: &'a str,
    /// Its role.
    pub role: &'a str,
    /// Its session.
    pub session: Option<u64>,
    /// A client of the admin API.
    pub admin: &'a str,
    /// What it wanted: a URI, a method, a limit.
    pub what: &'a str,
}

impl Refusal<'_> {
    /// One of which nothing else is known.
    pub const fn of(wall: &'static str, reason: &'static str) -> Self {
        Self {
            wall,
            reason,
            source: None,
            listener: None,
            realm: "",
            authid: "",
            role: "",
            session: None,
            admin: "",
            what: "",
        }
    }
}

/// A cheap handle; the default one keeps nothing.
#[derive(Clone, Default)]
pub struct Audit {
    open: Option<Arc<Open>>,
}

struct Open {
    queue: Arc<Queue>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("open", &self.open.is_some())
            .finish_non_exhaustive()
    }
}

impl Audit {
    /// Opens the log, mends its end if a crash has torn it, notes the start of the node, and starts the thread that writes.
    ///
    /// # Errors
    /// The file cannot be read, written or locked, or its last record is none.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let path = settings.path.clone();
        let file = LogFile::open(&settings).map_err(|error| Error::File {
            path: path.clone(),
            what: error.to_string(),
        })?;
        let queue = Arc::new(Queue::new(path.clone(), settings.refusals_max, file.head()));
        let writer = Arc::clone(&queue);
        let name = "ringfort-audit".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || writer.write_to(file));
        let thread = thread.map_err(|error| Error::File {
            path,
            what: error.to_string(),
        })?;
        queue.note(
            Event {
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                ..Event::of("start")
            },
            None,
        );
        let thread = Mutex::new(Some(thread));
        Ok(Self {
            open: Some(Arc::new(Open { queue, thread })),
        })
    }

    /// True if anything is kept: who has to gather what a record needs may ask first.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Notes a refusal. Never waits for the disk; any thread may call it, and as often as it likes.
    pub fn refused(&self, refusal: &Refusal<'_>) {
        if let Some(open) = &self.open {
            open.queue.refused(refusal);
        }
    }

    /// Notes something that is never dropped, and does not wait for the disk.
    pub fn note(&self, event: Event) {
        if let Some(open) = &self.open {
            open.queue.note(event, None);
        }
    }

    /// Notes something and resolves once it is on the disk.
    ///
    /// # Errors
    /// It is not known to be there.
    pub async fn commit(&self, event: Event) -> Result<(), Error> {
        let Some(open) = &self.open else { return Ok(()) };
        let (sender, written) = tokio::sync::oneshot::channel();
        open.queue.note(event, Some(sender));
        written.await.unwrap_or(Err(Error::Closed))
    }

    /// The last record on the disk.
    pub fn head(&self) -> Option<Head> {
        self.open.as_ref().map(|open| open.queue.head())
    }

    /// Notes the end of the node, writes what is left and ends the thread. Blocks for as long as the disk takes.
    pub fn finish(&self) {
        let Some(open) = &self.open else { return };
        open.queue.close();
        let thread = open.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the audit log has panicked");
        }
    }
}
