//! Child processes that hold a share of the idle sessions each.
//!
//! A child prints one line of JSON when its sessions are in, keeps them until its standard input ends (so also when the parent is
//! killed), prints a second line with what became of them, and ends.

use std::{ffi::OsString, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{Joined, Plan, Share, herd::Herd};
use crate::{load::recorder, usage};

/// The children to start.
#[derive(Clone, Debug)]
pub struct Children {
    /// The program and what each child is started with; `--share INDEX/COUNT` is added.
    pub command: Vec<OsString>,
    /// How many.
    pub count: u32,
}

/// The children while they hold their sessions. They end when it is dropped.
pub(super) struct Running {
    children: Vec<Holder>,
    cpu_us: u64,
}

struct Holder {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A child's first line.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    /// CPU time it has spent so far.
    cpu_us: u64,
}

/// The longest wait for a child's sessions; it stands for a hang.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest wait for a child's last words.
const END_TIMEOUT: Duration = Duration::from_secs(30);

impl Children {
    /// Starts all, and waits until each says that its sessions are in.
    pub(super) async fn start(self) -> Result<Running> {
        let [program, arguments @ ..] = &self.command[..] else {
            bail!("there is no program to start");
        };
        let mut running = Running {
            children: Vec::new(),
            cpu_us: 0,
        };
        for index in 0..self.count {
            let mut child = Command::new(program)
                .args(arguments)
                .arg("--share")
                .arg(format!("{index}/{}", self.count))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            let output = child.stdout.take().context("a child without output")?;
            let lines = BufReader::new(output).lines();
            running.children.push(Holder { child, lines });
        }
        for holder in &mut running.children {
            running.cpu_us += holder.line::<Ready>(READY_TIMEOUT).await?.cpu_us;
        }
        Ok(running)
    }
}

impl Running {
    /// CPU time the children had spent when their sessions were in.
    pub(super) fn cpu_us(&self) -> u64 {
        self.cpu_us
    }

    /// Ends all and adds up what became of their sessions.
    pub(super) async fn end(&mut self) -> Result<Joined> {
        let recorder = recorder::Shared::default();
        let mut sum = Joined::default();
        for mut holder in self.children.drain(..) {
            drop(holder.child.stdin.take());
            let joined: Joined = holder.line(END_TIMEOUT).await?;
            sum.joined += joined.joined;
            sum.ended += joined.ended;
            sum.first_failure = sum.first_failure.or(joined.first_failure);
            recorder.lock().add(&joined.latencies);
            timeout(END_TIMEOUT, holder.child.wait())
                .await
                .context("a child does not end")??;
        }
        sum.latencies = recorder.lock().counts();
        Ok(sum)
    }
}

impl Holder {
    async fn line<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T> {
        let line = timeout(patience, self.lines.next_line())
            .await
            .context("a child of the load says nothing")??;
        let line = line.context("a child of the load has ended early")?;
        serde_json::from_str(&line).with_context(|| format!("a child of the load said {line:?}"))
    }
}

/// Does the child's part: joins `share` of the plan's sessions and keeps them until standard input ends.
///
/// # Errors
/// When this machine cannot hold so many connections.
pub async fn serve_share(plan: &Plan, share: Share) -> Result<()> {
    let herd = Herd::join(plan, share).await?;
    let cpu_us = usage::own_cpu_us()?;
    println!("{}", serde_json::to_string(&Ready { cpu_us })?);
    // Whatever ends the input ends the waiting.
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await.ok();
    println!("{}", serde_json::to_string(&herd.end())?);
    Ok(())
}
