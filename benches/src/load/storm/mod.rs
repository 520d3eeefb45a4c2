//! A storm: a node dies, and all its sessions come back to the others at once.
//!
//! Sessions that live on the survivors call each other at a fixed rate all the while. Their latencies count from the instant each
//! call was due, and into the part of the run in which it was due: before the kill, until everybody is back, and after. So a stall
//! is charged to the storm even if its calls are answered later.

pub mod backoff;
pub mod fleet;
pub mod launch;
pub mod report;

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    process::Command,
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Measured, Measurement, Run, Stop, recorder::count_error, rpc, sampler::Note};
use crate::{
    history::Expect,
    progress::{Progress, thousands},
    usage::{self, Usage},
};
use fleet::{News, unix_us};
use launch::{Fleets, Running};
use report::{Storm, Window};

/// A storm to raise.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The calls that go on through it; at a fixed rate, between survivors. Their `pids` are the surviving routers. Their `timing`
    /// gives warm-up and drain; the storm itself decides when to stop.
    pub control: rpc::Plan,
    /// The sessions that lose their node.
    pub fleets: Fleets,
    /// How many they are.
    pub sessions: u32,
    /// Who ends the node.
    pub killer: Killer,
    /// How long the calls are measured before.
    pub before: Duration,
    /// How long after everybody is back.
    pub after: Duration,
    /// How long to wait until everybody is back.
    pub patience: Duration,
    /// First and longest wait of the backoff, for the report.
    pub backoff: (Duration, Duration),
    /// The highest ratio of 99th percentiles that passes.
    pub p99_ratio_max: Option<f64>,
}

/// Who ends the victim.
#[derive(Clone, Debug)]
pub enum Killer {
    /// We send SIGKILL to this process.
    Us(u32),
    /// Somebody else, within [`Plan::patience`] after the bell rings; the storm begins with the first lost session.
    Operator {
        /// Rings when it is time.
        bell: Arc<Notify>,
    },
}

/// Raises the storm.
///
/// # Errors
/// When sessions cannot join at the beginning, a peer of the calls leaves, or no one kills the node. Sessions that do not come
/// back are part of the report.
pub async fn run(plan: &Plan) -> Result<(Measured, Storm)> {
    if let Killer::Us(pid) = &plan.killer {
        // 0 and 1 mean a whole group of processes and the system itself.
        ensure!(*pid > 1, "{pid} is no process to kill");
        usage::sample(&[*pid]).context("the node to kill does not run")?;
    }
    let mut fleets = Crowd::start(plan)?;
    let result = storm(plan, &mut fleets).await;
    fleets.running.stop().await;
    result
}

async fn storm(plan: &Plan, crowd: &mut Crowd) -> Result<(Measured, Storm)> {
    crowd.until_joined().await?;
    let peers = rpc::Peers::connect(&plan.control).await?;
    let run = Run::new("calls", Expect::Calls, Stop::Operations(u64::MAX));
    let mut tasks = JoinSet::new();
    let calling = peers.start(&plan.control, &run, &mut tasks)?;
    crowd.pass(plan.control.timing.warmup, &mut tasks).await?;

    let pids = &plan.control.pids;
    let measurement = Measurement::start(&[&run], Stop::Operations(u64::MAX), pids)?;
    let note = measurement.note();
    let mut marks = vec![Mark::take(&run, pids)?];
    let start = Instant::now();
    crowd.pass(plan.before, &mut tasks).await?;

    marks.push(Mark::take(&run, pids)?);
    let killed_at_secs = start.elapsed().as_secs_f64();
    crowd.lost_early = crowd.lost();
    crowd.killed_at = match &plan.killer {
        Killer::Us(pid) => Some(kill(*pid).await?),
        Killer::Operator { bell } => {
            bell.notify_one();
            // Said where it is read: the line on the terminal would be written over it.
            if !crowd.progress.is_visible() {
                eprintln!("kill the node now; waiting for its sessions to be lost");
            }
            note.set("KILL THE NODE NOW".to_owned());
            None
        }
    };
    let waited = timeout(plan.patience, crowd.until_back(&mut tasks, &note)).await;
    note.set(format!("{} back", thousands(crowd.live().into())));
    // Whoever is not back by then is told by the report.
    waited.unwrap_or(Ok(()))?;
    ensure!(crowd.lost() > 0, "no session was lost: the node still lives");

    marks.push(Mark::take(&run, pids)?);
    crowd.pass(plan.after, &mut tasks).await?;
    let end = Mark::read(&run, pids)?;
    let measured = measurement.end(&[&run]).await?;
    let measured = run
        .finish_alone(measured, &plan.control.timing, tasks, || calling.is_over())
        .await?;
    marks.push(end);
    let windows = run.recorder.lock().windows();
    let mut storm = crowd.report(plan, killed_at_secs);
    storm.describe_calls(&marks, &windows, pids.is_empty());
    Ok((measured, storm))
}

/// Ends the process at once; the result is when.
async fn kill(pid: u32) -> Result<u64> {
    let at = unix_us();
    // The standard library can only kill its own children.
    let mut command = Command::new("kill");
    let killed = command
        .arg("-KILL")
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .status()
        .await?;
    ensure!(killed.success(), "cannot kill process {pid}");
    Ok(at)
}

/// The border of two parts of the run.
struct Mark {
    nanos: u64,
    routers: BTreeMap<u32, Usage>,
}

impl Mark {
    fn take(run: &Run, pids: &[u32]) -> Result<Self> {
        let mark = Self::read(run, pids)?;
        run.recorder.lock().open_window(mark.nanos);
        Ok(mark)
    }

    fn read(run: &Run, pids: &[u32]) -> Result<Self> {
        Ok(Self {
            routers: usage::sample(pids)?,
            nanos: run.clock.nanos(),
        })
    }

    fn cpu_us(&self) -> u64 {
        self.routers.values().map(|usage| usage.cpu_us).sum()
    }
}

impl Storm {
    /// Fills in the calls and what the routers spent, from the four borders of three parts.
    fn describe_calls(&mut self, marks: &[Mark], windows: &[(u64, super::Latency)], no_routers: bool) {
        let mut parts = marks.windows(2).zip(windows).map(|(marks, (operations, latency))| {
            let window = Window {
                secs: (marks[1].nanos - marks[0].nanos) as f64 / 1e9,
                operations: *operations,
                latency: *latency,
            };
            (window, marks[1].cpu_us().saturating_sub(marks[0].cpu_us()) as f64)
        });
        let [before, during, after] = [(); 3].map(|()| parts.next().unwrap_or_default());
        (self.before, self.during, self.after) = (before.0, during.0, after.0);
        if self.before.operations > 0 && self.during.operations > 0 {
            self.p99_ratio = Some(self.during.latency.p99_us / self.before.latency.p99_us);
        }
        let back = self
            .returned
            .last()
            .map_or(0.0, |(_, share)| share * f64::from(self.sessions));
        if !no_routers && back > 0.0 {
            let alone = before.1 / self.before.secs.max(1e-9) * self.during.secs;
            self.router_cpu_us_per_rejoin = Some((during.1 - alone).max(0.0) / back);
            self.router_cpu_us_per_rejoin_gross = Some(during.1 / back);
        }
    }
}

/// All fleets together, as their news tell.
struct Crowd {
    running: Running,
    sessions: u32,
    live: Vec<u32>,
    lost: Vec<u64>,
    back: Vec<u64>,
    lost_early: u32,
    lost_again: u32,
    refused: BTreeMap<String, u64>,
    killed_at: Option<u64>,
    progress: Progress,
}

impl Crowd {
    fn start(plan: &Plan) -> Result<Self> {
        ensure!(plan.sessions > 0, "a storm needs at least one session");
        let running = Running::start(&plan.fleets)?;
        Ok(Self {
            live: vec![0; running.count],
            running,
            sessions: plan.sessions,
            lost: Vec::new(),
            back: Vec::new(),
            lost_early: 0,
            lost_again: 0,
            refused: BTreeMap::new(),
            killed_at: None,
            progress: Progress::new(),
        })
    }

    fn live(&self) -> u32 {
        self.live.iter().sum()
    }

    fn lost(&self) -> u32 {
        u32::try_from(self.lost.len()).unwrap_or(u32::MAX)
    }

    async fn hear(&mut self) -> Result<()> {
        let Some((fleet, news)) = self.running.news.recv().await else {
            bail!("all fleets have ended");
        };
        self.note(fleet, news)
    }

    fn note(&mut self, fleet: usize, news: News) -> Result<()> {
        if let Some(broken) = news.broken {
            bail!("sessions cannot take part: {broken}");
        }
        if let Some(live) = self.live.get_mut(fleet) {
            *live = news.live;
        }
        self.lost.extend(news.lost);
        self.back.extend(news.back);
        self.lost_again += news.lost_again;
        for (reason, count) in news.failures {
            count_error(&mut self.refused, reason, count);
        }
        Ok(())
    }

    async fn until_joined(&mut self) -> Result<()> {
        while self.live() < self.sessions {
            self.hear().await?;
            let (live, all) = (thousands(self.live().into()), thousands(self.sessions.into()));
            self.progress.show(&format!("joining  {live}/{all} sessions"));
            ensure!(self.lost.is_empty(), "the router ended sessions before all had joined");
        }
        self.progress.erase();
        Ok(())
    }

    /// Lets time pass; news are heard meanwhile.
    async fn pass(&mut self, time: Duration, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
        let hearing = async {
            loop {
                if let Err(error) = self.hear().await {
                    break error;
                }
            }
        };
        tokio::select! {
            passed = super::unless_a_task_ends(tasks, sleep(time)) => passed,
            error = hearing => Err(error),
        }
    }

    async fn until_back(&mut self, tasks: &mut JoinSet<Result<()>>, note: &Note) -> Result<()> {
        while self.lost() < self.sessions || self.live() < self.sessions {
            let mut heard = Ok(());
            super::unless_a_task_ends(tasks, async { heard = self.hear().await }).await?;
            heard?;
            if self.lost() > 0 {
                let (live, all) = (thousands(self.live().into()), thousands(self.sessions.into()));
                note.set(format!("{live}/{all} back"));
            }
        }
        Ok(())
    }

    fn report(&self, plan: &Plan, killed_at_secs: f64) -> Storm {
        let killed_at = self.killed_at.or(self.lost.iter().min().copied()).unwrap_or_default();
        let mut storm = Storm {
            sessions: self.sessions,
            processes: u32::try_from(self.running.count).unwrap_or(u32::MAX),
            backoff_secs: (plan.backoff.0.as_secs_f64(), plan.backoff.1.as_secs_f64()),
            live: self.live(),
            all_back: self.live() == self.sessions && self.lost() == self.sessions,
            killed_at_secs,
            lost_early: self.lost_early,
            lost_again: self.lost_again,
            refused: self.refused.clone(),
            p99_ratio_max: plan.p99_ratio_max,
            ..Storm::default()
        };
        let since = |at: &u64| at.saturating_sub(killed_at) as f64 / 1e6;
        storm.set_returns(self.back.iter().map(since).collect());
        storm
    }
}
