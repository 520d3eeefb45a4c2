//! Sessions, registrations and subscriptions that come and go beside the steady load.
//!
//! A lane is a partner, who stays, and devices that come one after another: each joins, registers a procedure and subscribes a
//! topic that nobody has used before, answers a call and hears an event of the partner, and leaves in one of three ways. What a
//! router keeps of any of them shows in its memory after some thousand cycles.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use ringfort::wamp::{Dict, Message, Payload, Uri, Value};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::super::recorder::Shared;
use crate::peer::{Target, session::Session};

/// The coming and going of a soak.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where devices and partners connect, in turn; a partner is always one further than its device.
    pub at: Vec<Target>,
    /// Devices that are there at a time.
    pub lanes: u32,
    /// Cycles per second of all lanes together; none if 0.
    pub rate: f64,
    /// The beginning of procedures and topics.
    pub prefix: String,
}

/// A cycle that takes longer has failed.
const CYCLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait after a failed cycle, so that a router that is down is not besieged.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Starts all lanes; they end with `tasks`. Latencies of whole cycles and failures go to `recorder`.
pub(super) fn start(plan: &Plan, recorder: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    let rate = plan.rate / f64::from(plan.lanes.max(1));
    if !rate.is_finite() || rate <= 0.0 || plan.at.is_empty() {
        return;
    }
    for lane in 0..plan.lanes {
        let lane = Lane {
            plan: plan.clone(),
            lane,
            partner: None,
        };
        tasks.spawn(lane.run(rate, recorder.clone()));
    }
}

struct Lane {
    plan: Plan,
    lane: u32,
    partner: Option<Session>,
}

impl Lane {
    async fn run(mut self, rate: f64, recorder: Arc<Shared>) {
        // Lanes do not march in step.
        sleep(Duration::from_secs_f64(
            f64::from(self.lane) / f64::from(self.plan.lanes) / rate,
        ))
        .await;
        let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for cycle in 0u64.. {
            ticks.tick().await;
            let start = Instant::now();
            let ended = timeout(CYCLE_TIMEOUT, Box::pin(self.cycle(cycle))).await;
            let ended = ended.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within 30 s")));
            match ended {
                Ok(()) => recorder
                    .lock()
                    .record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)),
                Err(error) => {
                    recorder.lock().failure(error.root_cause().to_string());
                    // What was under way may still be answered, to the wrong question.
                    self.partner = None;
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn cycle(&mut self, cycle: u64) -> Result<()> {
        let at = |offset: usize| &self.plan.at[(self.lane as usize + cycle as usize + offset) % self.plan.at.len()];
        let partner = match &mut self.partner {
            Some(partner) => partner,
            empty => empty.insert(Session::joined(at(1)).await?),
        };
        let Plan { prefix, .. } = &self.plan;
        let uri = format!("{prefix}.{}.{cycle}", self.lane);
        let text = format!("{}/{cycle}", self.lane);
        let mut device = Session::joined(at(0)).await?;

        let registration = device.register(&uri).await?;
        let (request, options) = (device.next_request()?, Dict::new());
        let topic = Uri::from(uri.as_str());
        device.send(&Message::Subscribe { request, options, topic })?;
        let subscription = match next(&mut device).await? {
            Message::Subscribed { subscription, .. } => subscription,
            other => return Err(unexpected("SUBSCRIBED", other)),
        };
        called(partner, &mut device, &uri, &text).await?;
        heard(partner, &mut device, &uri, &text).await?;

        // One third each: everything taken back, a polite GOODBYE, and a socket that just closes.
        if cycle.is_multiple_of(3) {
            let request = device.next_request()?;
            device.send(&Message::Unsubscribe { request, subscription })?;
            match next(&mut device).await? {
                Message::Unsubscribed { .. } => {}
                other => return Err(unexpected("UNSUBSCRIBED", other)),
            }
            let request = device.next_request()?;
            device.send(&Message::Unregister { request, registration })?;
            match next(&mut device).await? {
                Message::Unregistered { .. } => {}
                other => return Err(unexpected("UNREGISTERED", other)),
            }
        }
        if cycle % 3 < 2 {
            device.leave().await?;
        }
        Ok(())
    }
}

/// The partner calls the device's new procedure.
async fn called(partner: &mut Session, device: &mut Session, procedure: &str, text: &str) -> Result<()> {
    let (request, payload) = (partner.next_request()?, partner.payload(text)?);
    partner.send(&Message::Call {
        request,
        options: Dict::new(),
        procedure: Uri::from(procedure),
        payload,
    })?;
    let answering = async {
        match next(device).await? {
            Message::Invocation { request, payload, .. } => {
                expect_text(&payload, text)?;
                let options = Dict::new();
                device.send(&Message::Yield {
                    request,
                    options,
                    payload,
                })?;
                Ok(device.flush().await?)
            }
            other => Err(unexpected("INVOCATION", other)),
        }
    };
    let waiting = async {
        match next(partner).await? {
            Message::Result { payload, .. } => expect_text(&payload, text),
            other => Err(unexpected("RESULT", other)),
        }
    };
    tokio::try_join!(answering, waiting).map(drop)
}

/// The partner publishes to the device's new topic.
async fn heard(partner: &mut Session, device: &mut Session, topic: &str, text: &str) -> Result<()> {
    let (request, payload) = (partner.next_request()?, partner.payload(text)?);
    partner.send(&Message::Publish {
        request,
        options: Dict::new().with("acknowledge", true),
        topic: Uri::from(topic),
        payload,
    })?;
    let waiting = async {
        match next(partner).await? {
            Message::Published { .. } => Ok(()),
            other => Err(unexpected("PUBLISHED", other)),
        }
    };
    let listening = async {
        match next(device).await? {
            Message::Event { payload, .. } => expect_text(&payload, text),
            other => Err(unexpected("EVENT", other)),
        }
    };
    tokio::try_join!(waiting, listening).map(drop)
}

async fn next(session: &mut Session) -> Result<Message> {
    loop {
        if let Some(message) = session.take()? {
            return Ok(message);
        }
        session.turn().await?;
    }
}

fn expect_text(payload: &Payload, text: &str) -> Result<()> {
    let (args, _) = payload.to_values().context("a payload that cannot be read")?;
    if args.first().and_then(Value::as_text) != Some(text) {
        bail!("a payload was not what had been sent");
    }
    Ok(())
}

/// Errors count by URI, so the text of other messages has no ids in it.
fn unexpected(wanted: &str, got: Message) -> anyhow::Error {
    match got {
        Message::Error { error, .. } => anyhow::anyhow!("{error}"),
        Message::Goodbye { reason, .. } | Message::Abort { reason, .. } => anyhow::anyhow!("{reason} instead of {wanted}"),
        other => anyhow::anyhow!("{} instead of {wanted}", other.name()),
    }
}
