//! One cycle of a lane, step by step.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Kind, Plan};
use crate::{
    history::{Answer, Observation},
    load::{Latency, Phase, Run, recorder},
    peer::{Target, session::Session},
    tag::{Tag, blank},
};

/// The latency of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLatency {
    /// `enter` (a floor or NATS, which know one step alone), or `connect`, `join`, `register`, `call` and `leave`.
    pub name: String,
    /// Over all lanes.
    #[serde(flatten)]
    pub latency: Latency,
}

/// The steps in their order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter,
    Connect,
    Join,
    Register,
    Call,
    Leave,
}

/// Their names in reports.
const NAMES: [&str; 6] = ["enter", "connect", "join", "register", "call", "leave"];

/// The latencies of the steps, over all lanes.
#[derive(Default)]
pub(super) struct Steps([recorder::Shared; NAMES.len()]);

impl Steps {
    /// Those of the steps that were taken.
    pub(super) fn latencies(&self) -> Vec<StepLatency> {
        let recorders = NAMES.iter().zip(&self.0).map(|(name, recorder)| (name, recorder.lock()));
        let taken = recorders.filter(|(_, recorder)| recorder.operations() > 0);
        taken
            .map(|(name, recorder)| StepLatency {
                name: (*name).to_owned(),
                latency: recorder.latency(),
            })
            .collect()
    }

    fn record(&self, step: Step, nanos: u64) {
        self.0[step as usize].lock().record(nanos);
    }
}

/// What a lane keeps from cycle to cycle.
pub(super) struct Lane {
    lane: u32,
    procedure: String,
    body: Vec<u8>,
    /// The number of the next call.
    sequence: u64,
    /// A call has been sent and not been answered yet.
    calling: bool,
}

impl Lane {
    pub(super) fn new(plan: &Plan, lane: u32) -> Self {
        Self {
            lane,
            procedure: format!("{}.{lane}", plan.procedure),
            body: blank(plan.payload),
            sequence: 0,
            calling: false,
        }
    }

    /// Runs one cycle.
    pub(super) async fn cycle(&mut self, plan: &Plan, run: &Run, steps: &Steps) -> Result<()> {
        let mut watch = Watch::start(run, steps);
        if plan.kind == Kind::Connect && !matches!(plan.at, Target::Wamp { .. }) {
            plan.at.enter().await?;
            watch.lap(Step::Enter);
            return Ok(());
        }
        let mut session = Session::open(&plan.at).await?;
        watch.lap(Step::Connect);
        session.join().await?;
        watch.lap(Step::Join);
        if plan.kind == Kind::Connect {
            return Ok(());
        }
        session.register(&self.procedure).await?;
        watch.lap(Step::Register);
        self.call(&mut session, run).await?;
        watch.lap(Step::Call);
        session.leave().await?;
        watch.lap(Step::Leave);
        Ok(())
    }

    /// After a failed cycle: nobody knows what became of its call.
    pub(super) fn excuse(&mut self, run: &Run) {
        if self.calling {
            self.answered(run, Answer::Unknown);
        }
    }

    async fn call(&mut self, session: &mut Session, run: &Run) -> Result<()> {
        let (source, sequence) = (self.lane, self.sequence);
        let sent = Tag {
            source,
            sequence,
            sent: run.clock.nanos(),
        };
        sent.write(&mut self.body);
        run.history.lock().apply(Observation::Sent { source, sequence });
        self.calling = true;
        let echo = session.echo(&self.procedure, &self.body).await?;
        {
            let mut history = run.history.lock();
            for invoked in echo.invoked {
                if let Some(Tag { source, sequence, .. }) = Run::checked(&mut history, invoked, self.body.len()) {
                    // Each session is a callee of its own, and so is each lane: a call that reached another one shows as
                    // invented or lost there.
                    history.apply(Observation::Delivered {
                        group: 0,
                        sink: self.lane,
                        source,
                        sequence,
                    });
                }
            }
            match Run::checked(&mut history, echo.answered, self.body.len()) {
                Some(tag) if tag != sent => history.apply(Observation::Misdirected),
                _ => {}
            }
        }
        self.answered(run, Answer::Result);
        Ok(())
    }

    fn answered(&mut self, run: &Run, answer: Answer) {
        let (source, sequence) = (self.lane, self.sequence);
        run.history.lock().apply(Observation::Answered {
            source,
            sequence,
            answer,
        });
        self.calling = false;
        self.sequence += 1;
    }
}

/// Takes the time of the steps, while it is measured.
struct Watch<'a> {
    run: &'a Run,
    steps: &'a Steps,
    last: u64,
}

impl<'a> Watch<'a> {
    fn start(run: &'a Run, steps: &'a Steps) -> Self {
        let last = run.clock.nanos();
        Self { run, steps, last }
    }

    fn lap(&mut self, step: Step) {
        let now = self.run.clock.nanos();
        if self.run.is(Phase::Measuring) {
            self.steps.record(step, now.saturating_sub(self.last));
        }
        self.last = now;
    }
}
