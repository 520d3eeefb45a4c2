//! How far this node is in going away: asked for by a signal, or by an operator through this node or another one.
//!
//! Owns: the wish, the phases and who may change them. Does not own the steps: those are `node/draining.rs`, which alone moves on.
//! [`Drain`] is the handle; clones share it.
//!
//! Invariants: phases only go forward, but for a drain that is called off while nothing has been closed; one drain at a time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ringfort_proto::cluster::v1::{self as pb, control_client::ControlClient};
use tokio::sync::watch;
use tonic::Status;

use super::consensus::Peers;

/// What a node that goes away does just now, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves, and nobody wants it to go.
    #[default]
    Serving,
    /// It says that it is not ready, and still takes clients until load balancers have noticed.
    Announced,
    /// It takes no more clients and hands the leadership over, if it has it.
    MovingLeadership,
    /// Registrations that other nodes have callees of too are taken from its own.
    Dismissing,
    /// Its sessions finish their calls and are told GOODBYE.
    SayingGoodbye,
    /// It leaves the cluster and ends.
    Leaving,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 6] = [
        Self::Serving,
        Self::Announced,
        Self::MovingLeadership,
        Self::Dismissing,
        Self::SayingGoodbye,
        Self::Leaving,
    ];

    /// Its name for operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Announced => "announced",
            Self::MovingLeadership => "moving_leadership",
            Self::Dismissing => "dismissing",
            Self::SayingGoodbye => "saying_goodbye",
            Self::Leaving => "leaving",
        }
    }
}

/// What somebody wants of a drain, beside the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Who asked.
    pub by: String,
    /// In place of `drain.window_ms`.
    pub window: Option<Duration>,
    /// In place of `drain.load_balancer_delay_ms`.
    pub load_balancer_delay: Option<Duration>,
    /// Neither delay nor pacing, and no waiting for open calls.
    pub at_once: bool,
}

/// How it stands.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What the node does just now.
    pub phase: Phase,
    /// What was asked for.
    pub wish: Wish,
    /// When.
    pub since: Option<Instant>,
    /// Sessions when it began.
    pub sessions: usize,
    /// Those that are still there.
    pub sessions_left: usize,
    /// How long it takes at most by the settings.
    pub at_most: Duration,
}

/// Why a drain is not called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// Nobody wants this node to go.
    #[error("this node does not drain")]
    NotDraining,
    /// It has begun to close things.
    #[error("this node takes no more clients and goes on to its end (phase {}): start it again after that", .0.name())]
    TooLate(Phase),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Drain {
    progress: Arc<watch::Sender<Progress>>,
    hurry: Arc<watch::Sender<bool>>,
}

impl Drain {
    /// Of a node that serves. It takes `at_most` to go.
    pub fn new(at_most: Duration) -> Self {
        let progress = Progress {
            at_most,
            ..Progress::default()
        };
        Self {
            progress: Arc::new(watch::Sender::new(progress)),
            hurry: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Asks for a drain. One that is under way goes on as it was asked for, except that it may be told to hurry.
    pub fn start(&self, wish: Wish) -> Progress {
        if wish.at_once {
            self.hurry();
        }
        self.progress.send_if_modified(|progress| {
            let serves = progress.phase == Phase::Serving;
            if serves {
                progress.phase = Phase::Announced;
                progress.since = Some(Instant::now());
                progress.wish = wish;
            }
            serves
        });
        self.now()
    }

    /// Skips whatever is waited for.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// Calls a drain off.
    ///
    /// # Errors
    /// There is none, or it has gone too far; nothing was changed.
    pub fn cancel(&self) -> Result<Progress, CancelError> {
        let mut found = Phase::Serving;
        let cancelled = self.progress.send_if_modified(|progress| {
            found = progress.phase;
            if found != Phase::Announced {
                return false;
            }
            *progress = Progress {
                at_most: progress.at_most,
                ..Progress::default()
            };
            true
        });
        match found {
            Phase::Serving => Err(CancelError::NotDraining),
            _ if cancelled => {
                self.hurry.send_replace(false);
                Ok(self.now())
            }
            phase => Err(CancelError::TooLate(phase)),
        }
    }

    /// How it stands now.
    pub fn now(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// The same, to be followed.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// True from the moment somebody wants this node to go.
    pub fn is_draining(&self) -> bool {
        self.progress.borrow().phase != Phase::Serving
    }

    /// True once no more clients are taken.
    pub fn is_closed(&self) -> bool {
        self.progress.borrow().phase > Phase::Announced
    }

    /// Resolves once somebody wants this node to go.
    pub async fn asked(&self) {
        until(&mut self.progress.subscribe(), |progress| progress.phase != Phase::Serving).await;
    }

    /// Resolves if the drain is called off.
    pub async fn cancelled(&self) {
        until(&mut self.progress.subscribe(), |progress| progress.phase == Phase::Serving).await;
    }

    /// Resolves once nobody wants to wait any more.
    pub async fn hurried(&self) {
        until(&mut self.hurry.subscribe(), |hurry| *hurry).await;
    }

    /// True once nobody wants to wait any more.
    pub fn is_hurried(&self) -> bool {
        *self.hurry.borrow()
    }

    /// Goes on to the next phase. False: it was called off meanwhile.
    pub fn enter(&self, phase: Phase) -> bool {
        self.progress.send_if_modified(|progress| {
            let goes_on = progress.phase != Phase::Serving && progress.phase < phase;
            if goes_on {
                progress.phase = phase;
            }
            goes_on
        })
    }

    /// Says how many sessions are left, and how many there were if none was counted yet.
    pub fn count(&self, left: usize) {
        self.progress.send_if_modified(|progress| {
            let changed = progress.sessions_left != left;
            progress.sessions_left = left;
            progress.sessions = progress.sessions.max(left);
            changed
        });
    }
}

async fn until<T>(receiver: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    if receiver.wait_for(wanted).await.is_err() {
        // The sender is gone only with the node.
        std::future::pending::<()>().await;
    }
}

/// What one node asks another one about its drain.
#[derive(Clone, Debug)]
pub enum Question {
    /// Begin.
    Start(Wish),
    /// How does it stand?
    Status,
    /// Call it off.
    Cancel,
}

impl Drain {
    /// Answers a question, of this node's operator or of another node.
    ///
    /// # Errors
    /// A drain cannot be called off.
    pub fn answer(&self, question: Question) -> Result<Progress, CancelError> {
        match question {
            Question::Start(wish) => Ok(self.start(wish)),
            Question::Status => Ok(self.now()),
            Question::Cancel => self.cancel(),
        }
    }
}

/// How long another node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Asks the node `name`.
///
/// # Errors
/// It is not known, does not answer, or refuses.
pub async fn ask(peers: &dyn Peers, cluster_id: &str, name: &str, question: &Question) -> Result<pb::DrainReply, Status> {
    let channel = peers.channel(name);
    let channel = channel.ok_or_else(|| Status::not_found(format!("there is no node {name}: ringfort admin lists them")))?;
    let (action, wish) = match question {
        Question::Start(wish) => (pb::drain_request::Action::Start, wish.clone()),
        Question::Status => (pb::drain_request::Action::Status, Wish::default()),
        Question::Cancel => (pb::drain_request::Action::Cancel, Wish::default()),
    };
    let request = pb::DrainRequest {
        cluster_id: cluster_id.to_owned(),
        action: action.into(),
        by: wish.by,
        window_ms: wish.window.map(millis),
        load_balancer_delay_ms: wish.load_balancer_delay.map(millis),
        at_once: wish.at_once,
    };
    let mut client = ControlClient::new(channel);
    match tokio::time::timeout(ANSWER_WITHIN, client.drain(request)).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::unavailable(format!(
            "{name} does not answer within {} s",
            ANSWER_WITHIN.as_secs()
        ))),
    }
}

/// Reads what another node asks.
///
/// # Errors
/// An action that this build does not know.
pub(super) fn question(request: &pb::DrainRequest) -> Result<Question, Status> {
    let wish = Wish {
        by: request.by.clone(),
        window: request.window_ms.map(Duration::from_millis),
        load_balancer_delay: request.load_balancer_delay_ms.map(Duration::from_millis),
        at_once: request.at_once,
    };
    match pb::drain_request::Action::try_from(request.action) {
        Ok(pb::drain_request::Action::Start) => Ok(Question::Start(wish)),
        Ok(pb::drain_request::Action::Status) => Ok(Question::Status),
        Ok(pb::drain_request::Action::Cancel) => Ok(Question::Cancel),
        Ok(pb::drain_request::Action::Unspecified) | Err(_) => {
            Err(Status::invalid_argument("an action that this build does not know"))
        }
    }
}

/// What another node, or an operator, is told.
pub fn told(progress: &Progress) -> pb::DrainReply {
    pb::DrainReply {
        phase: progress.phase.name().to_owned(),
        by: progress.wish.by.clone(),
        running_ms: progress.since.map_or(0, |since| millis(since.elapsed())),
        at_most_ms: millis(progress.at_most),
        sessions: progress.sessions as u64,
        sessions_left: progress.sessions_left as u64,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(by: &str) -> Wish {
        Wish {
            by: by.to_owned(),
            ..Wish::default()
        }
    }

    #[test]
    fn a_drain_goes_forward_only_and_is_called_off_before_anything_was_closed() {
        let drain = Drain::new(Duration::from_secs(9));
        assert_eq!(drain.cancel().unwrap_err(), CancelError::NotDraining);
        assert!(!drain.enter(Phase::Leaving) && !drain.is_draining(), "nobody asked");
        assert_eq!(drain.start(wish("a")).phase, Phase::Announced);
        assert_eq!(drain.start(wish("b")).wish.by, "a", "the first one stands");
        assert!(drain.is_draining() && !drain.is_closed());
        assert_eq!(drain.cancel().unwrap().phase, Phase::Serving);
        assert!(!drain.enter(Phase::MovingLeadership), "it was called off");

        drain.start(wish("c"));
        assert!(drain.enter(Phase::SayingGoodbye) && !drain.enter(Phase::Dismissing) && drain.is_closed());
        let late = drain.cancel().unwrap_err();
        assert_eq!(late, CancelError::TooLate(Phase::SayingGoodbye));
        assert!(late.to_string().contains("saying_goodbye"), "{late}");
        assert_eq!(
            (drain.now().wish.by.as_str(), drain.now().at_most),
            ("c", Duration::from_secs(9))
        );
    }

    #[test]
    fn sessions_are_counted_from_the_most_there_were() {
        let drain = Drain::new(Duration::ZERO);
        drain.start(Wish {
            at_once: true,
            ..wish("a")
        });
        assert!(drain.is_hurried());
        for left in [7, 9, 3] {
            drain.count(left);
        }
        let told = told(&drain.now());
        assert_eq!((told.sessions, told.sessions_left, told.phase.as_str()), (9, 3, "announced"));
    }
}
