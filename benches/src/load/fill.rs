//! Ballast: registrations and subscriptions that a load neither calls nor publishes to, so that it can be seen what their number costs.
//!
//! They belong to sessions of their own, [`PER_SESSION`] each, which stay connected until the [`Ballast`] is dropped.

use anyhow::{Result, ensure};
use ringfort::wamp::{Dict, Message, Uri};
use tokio::task::JoinSet;

use crate::peer::{Target, session::Session};

/// How much ballast to bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Procedures, exact ones.
    pub registrations: u32,
    /// Topics, as wildcard patterns with one free component.
    pub subscriptions: u32,
}

/// The sessions that hold it.
#[derive(Default)]
pub struct Ballast {
    _sessions: Vec<Session>,
}

/// What one session holds: as much as routers allow by default.
pub const PER_SESSION: u32 = 5_000;

/// Requests that one session has under way at a time.
const WINDOW: u32 = 64;

#[derive(Clone, Copy)]
enum What {
    Registrations,
    Subscriptions,
}

impl Fill {
    /// Brings it all to the router at `target`.
    ///
    /// # Errors
    /// When a session cannot be brought up, or a request is answered by an ERROR.
    pub async fn bring(self, target: &Target) -> Result<Ballast> {
        let mut tasks = JoinSet::new();
        for (what, count) in [
            (What::Registrations, self.registrations),
            (What::Subscriptions, self.subscriptions),
        ] {
            for first in (0..count).step_by(PER_SESSION as usize) {
                let (target, last) = (target.clone(), count.min(first + PER_SESSION));
                tasks.spawn(async move { hold(&target, what, first, last).await });
            }
        }
        let mut sessions = Vec::new();
        while let Some(session) = tasks.join_next().await {
            sessions.push(session??);
        }
        Ok(Ballast { _sessions: sessions })
    }
}

/// A session that holds the items from `first` up to `last`.
async fn hold(target: &Target, what: What, first: u32, last: u32) -> Result<Session> {
    let mut session = Session::joined(target).await?;
    let mut answered = first;
    for item in first..last {
        while item - answered >= WINDOW {
            answer(&mut session).await?;
            answered += 1;
        }
        let request = session.next_request()?;
        session.send(&match what {
            What::Registrations => Message::Register {
                request,
                options: Dict::new(),
                procedure: Uri::from(format!("ringfort.ballast.p{}.i{item}", std::process::id()).as_str()),
            },
            What::Subscriptions => Message::Subscribe {
                request,
                options: Dict::new().with("match", "wildcard"),
                topic: Uri::from(format!("ringfort.ballast.p{}..i{item}", std::process::id()).as_str()),
            },
        })?;
    }
    for _ in answered..last {
        answer(&mut session).await?;
    }
    Ok(session)
}

async fn answer(session: &mut Session) -> Result<()> {
    let message = session.receive().await?;
    ensure!(
        matches!(message, Message::Registered { .. } | Message::Subscribed { .. }),
        "expected REGISTERED or SUBSCRIBED, got {message:?}"
    );
    Ok(())
}
