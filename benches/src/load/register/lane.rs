//! One session that registers and unregisters.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use ringfort::wamp::{Dict, Message, Uri};

use super::Lanes;
use crate::{
    load::Phase,
    peer::{session::Session, within},
};

/// A session that is refused so often in a row ends the run.
const REFUSED_MAX: u32 = 100;

/// A request without its answer.
struct Open {
    procedure: u32,
    /// When it was sent, in nanoseconds of the run's clock.
    sent: u64,
}

struct Lane {
    lanes: Arc<Lanes>,
    session: Session,
    number: u32,
    registering: HashMap<u64, Open>,
    unregistering: HashMap<u64, Open>,
    refused: u32,
}

/// Runs until the measurement is over and everything is unregistered.
pub(super) async fn run(lanes: Arc<Lanes>, session: Session, number: u32) -> Result<()> {
    let run = lanes.run.clone();
    let mut changes = run.changes.subscribe();
    let mut lane = Lane {
        lanes: lanes.clone(),
        session,
        number,
        registering: HashMap::new(),
        unregistering: HashMap::new(),
        refused: 0,
    };
    for procedure in 0..lanes.plan.window {
        lane.register(procedure)?;
    }
    while !lane.registering.is_empty() || !lane.unregistering.is_empty() {
        tokio::select! {
            turned = lane.session.turn() => turned?,
            _ = changes.changed() => {
                if run.is(Phase::Stopped) {
                    let missing = lane.registering.len() + lane.unregistering.len();
                    lanes.unanswered.fetch_add(missing as u64, Ordering::Relaxed);
                    return Ok(());
                }
                continue;
            }
        }
        while let Some(message) = lane.session.take()? {
            lane.on(message)?;
        }
    }
    within("leave", lane.session.leave()).await?;
    lanes.running.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

impl Lane {
    fn on(&mut self, message: Message) -> Result<()> {
        let now = self.lanes.run.clock.nanos();
        match message {
            Message::Registered { request, registration } => {
                let Open { procedure, sent } = taken(&mut self.registering, request.get())?;
                self.lanes.run.record(now, &[sent]);
                self.refused = 0;
                let request = self.session.next_request()?;
                self.unregistering.insert(request.get(), Open { procedure, sent: now });
                self.session.send(&Message::Unregister { request, registration })
            }
            Message::Unregistered { request, .. } => {
                let request = request.context("an UNREGISTERED that nobody asked for")?;
                let Open { procedure, sent } = taken(&mut self.unregistering, request.get())?;
                if self.lanes.run.is(Phase::Measuring) {
                    self.lanes.unregister.lock().record(now.saturating_sub(sent));
                }
                self.register(procedure)
            }
            Message::Error { request, error, .. } => {
                let mut open = taken(&mut self.registering, request.get());
                if open.is_err() {
                    open = taken(&mut self.unregistering, request.get());
                }
                self.lanes.refused.fetch_add(1, Ordering::Relaxed);
                self.lanes.run.failure(error.as_str().to_owned());
                self.refused += 1;
                ensure!(
                    self.refused < REFUSED_MAX,
                    "{REFUSED_MAX} refusals in a row, the last one: {error}"
                );
                self.register(open?.procedure)
            }
            other => bail!("the router sent {other:?}"),
        }
    }

    /// Sends the next REGISTER of `procedure`, unless the end has come.
    fn register(&mut self, procedure: u32) -> Result<()> {
        if !self.lanes.run.is_sending() {
            return Ok(());
        }
        let request = self.session.next_request()?;
        let uri = format!("{}.{}.{procedure}", self.lanes.plan.procedure, self.number);
        let sent = self.lanes.run.clock.nanos();
        self.registering.insert(request.get(), Open { procedure, sent });
        self.session.send(&Message::Register {
            request,
            options: Dict::new(),
            procedure: Uri::from(uri.as_str()),
        })
    }
}

fn taken(open: &mut HashMap<u64, Open>, request: u64) -> Result<Open> {
    open.remove(&request)
        .with_context(|| format!("an answer to request {request}, which is not open"))
}
