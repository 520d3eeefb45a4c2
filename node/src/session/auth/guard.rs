//! What all handshakes of a node share: how failures are slowed down, how many costly verifications run at a time, the logins of
//! browsers.

use std::{
    fmt,
    hash::Hasher,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use siphasher::sip::SipHasher24;
use tokio::sync::Semaphore;

use super::{
    PeerFacts,
    authenticator::REFUSAL_AFTER,
    challenge::{Pending, Verified},
    cookie::Cookies,
};
use crate::{
    auth::throttle::{Report, Settings, Source, Subject, Throttle, Verdict},
    wamp::Dict,
};

/// See the module.
pub struct Guard {
    throttle: Mutex<Throttle>,
    /// Hashes principals for the throttle; the cluster's, so that nodes understand each other.
    key: OnceLock<[u8; 16]>,
    /// Takes what other nodes are to know.
    tell: OnceLock<Box<dyn Fn(Report) + Send + Sync>>,
    slow: Arc<Semaphore>,
    /// The logins of browsers.
    pub cookies: Cookies,
    failed: AtomicU64,
    refused: AtomicU64,
}

/// How many verifications that keep a core busy for long run at a time; others wait for them.
const SLOW_MAX: usize = 2;
/// How many browsers are remembered, and how long.
const COOKIES_MAX: usize = 65_536;
const COOKIE_LIFETIME: Duration = Duration::from_secs(24 * 3600);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

/// An attempt to be judged.
#[derive(Debug)]
pub struct Attempt {
    pub(crate) pending: Pending,
    pub(crate) signature: String,
    pub(crate) extra: Dict,
    pub(crate) delay: Duration,
    pub(crate) peer: Arc<PeerFacts>,
}

impl Guard {
    /// Nobody has tried anything yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            throttle: Mutex::new(Throttle::new(settings)),
            key: OnceLock::new(),
            tell: OnceLock::new(),
            slow: Arc::new(Semaphore::new(SLOW_MAX)),
            cookies: Cookies::new(COOKIES_MAX, COOKIE_LIFETIME),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Puts other times and limits in force; what has failed counts.
    pub fn set(&self, settings: Settings) {
        self.throttle.lock().set(settings);
    }

    /// Gives it the key that all nodes of the cluster share. Only the first counts.
    pub fn unlock(&self, key: [u8; 16]) {
        let _ = self.key.set(key);
    }

    /// Whom to tell of failures and logins here. Only the first counts.
    pub fn tell_others(&self, tell: impl Fn(Report) + Send + Sync + 'static) {
        let _ = self.tell.set(Box::new(tell));
    }

    /// Takes what another node reports.
    pub fn told(&self, report: Report) {
        self.throttle.lock().told(Instant::now(), report);
    }

    /// True if an attempt to log in would be refused unseen.
    pub fn refuses(&self, source: IpAddr, realm: &str, authid: &str) -> bool {
        let subject = self.subject(realm, authid);
        let verdict = self.throttle.lock().look(Instant::now(), Source::of(source), subject);
        if verdict == Verdict::Refused {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        verdict == Verdict::Refused
    }

    /// An attempt begins: how long it waits before it is judged, or that it is refused.
    pub fn begin(&self, source: IpAddr, realm: &str, authid: &str) -> Verdict {
        let (source, subject) = (Source::of(source), self.subject(realm, authid));
        let verdict = self.throttle.lock().begin(Instant::now(), source, subject);
        match verdict {
            Verdict::Refused => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::After(_) => {}
        }
        verdict
    }

    /// How an attempt that was begun has ended.
    pub fn ended(&self, source: IpAddr, realm: &str, authid: &str, success: bool) {
        let (source, subject) = (Source::of(source), self.subject(realm, authid));
        let report = if success {
            self.throttle.lock().succeeded(Instant::now(), source, subject);
            Report::Succeeded(source, subject)
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
            Report::Failed(source, subject)
        };
        if let Some(tell) = self.tell.get() {
            tell(report);
        }
    }

    /// How many attempts have failed here, and how many were refused unseen.
    pub fn counts(&self) -> (u64, u64) {
        (self.failed.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    fn subject(&self, realm: &str, authid: &str) -> Subject {
        let mut hasher = SipHasher24::new_with_key(self.key.get().unwrap_or(&[0; 16]));
        hasher.write(realm.as_bytes());
        hasher.write_u8(0);
        hasher.write(authid.as_bytes());
        Subject(hasher.finish())
    }
}

impl Attempt {
    /// True if it is judged at once and on the spot.
    pub fn is_quick(&self) -> bool {
        self.delay.is_zero() && !self.pending.is_expensive() && !self.pending.is_asked_about()
    }

    /// Judges it on the spot.
    pub fn judge(self) -> Verified {
        self.pending.verify(&self.signature, &self.extra)
    }

    /// Judges it when its time has come; what keeps a core busy runs beside the async threads, a few at a time.
    pub async fn judge_in_time(self, guard: Arc<Guard>) -> Verified {
        tokio::time::sleep(self.delay).await;
        if !self.pending.is_asked_about() {
            return self.judge_here(guard).await;
        }
        let refused_at = tokio::time::Instant::now() + REFUSAL_AFTER;
        let question = self.pending.question(&self.signature, &self.peer);
        let mut verified = self.judge_here(guard).await;
        if let (Verified::Denied, Some(question)) = (&verified, question) {
            verified = question.ask().await;
        }
        if matches!(verified, Verified::Denied) {
            tokio::time::sleep_until(refused_at).await;
        }
        verified
    }

    /// Judges it by what is known here.
    async fn judge_here(self, guard: Arc<Guard>) -> Verified {
        if !self.pending.is_expensive() {
            return self.judge();
        }
        // Never closed. If it were, or the task ended, nobody is let in.
        let Ok(permit) = Arc::clone(&guard.slow).acquire_owned().await else {
            return Verified::Denied;
        };
        let judged = tokio::task::spawn_blocking(move || {
            let verified = self.judge();
            drop(permit);
            verified
        });
        judged.await.unwrap_or(Verified::Denied)
    }
}
