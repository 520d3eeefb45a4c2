//! Fleets in processes of their own: a process may open only so many files, and what the returning sessions cost must not slow
//! down the load that is measured meanwhile.

use std::{ffi::OsString, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use super::fleet::{Fleet, News};

/// Where the sessions live.
#[derive(Clone, Debug)]
pub enum Fleets {
    /// In this process.
    Here(Vec<Fleet>),
    /// In processes; each runs one [`Fleet`] and ends with its standard input, see [`serve`].
    Processes {
        /// What to run.
        program: PathBuf,
        /// Of each process.
        arguments: Vec<Vec<OsString>>,
    },
}

/// News under way per fleet; a parent that is late makes the fleet wait, not grow.
const NEWS_MAX: usize = 64;

/// A process that was asked to end has this long.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Fleets at work.
pub(super) struct Running {
    /// News, with the number of the fleet.
    pub(super) news: mpsc::Receiver<(usize, News)>,
    /// How many there are.
    pub(super) count: usize,
    children: Vec<Child>,
    _readers: JoinSet<()>,
}

impl Running {
    pub(super) fn start(fleets: &Fleets) -> Result<Self> {
        let (sender, news) = mpsc::channel(NEWS_MAX);
        let (mut children, mut readers, count) = (Vec::new(), JoinSet::new(), fleets.count());
        match fleets {
            Fleets::Here(fleets) => {
                for (number, fleet) in fleets.iter().cloned().enumerate() {
                    let (one, mut heard) = mpsc::channel(1);
                    readers.spawn(fleet.run(one));
                    let sender = sender.clone();
                    readers.spawn(async move {
                        while let Some(news) = heard.recv().await {
                            if sender.send((number, news)).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            }
            Fleets::Processes { program, arguments } => {
                for (number, arguments) in arguments.iter().enumerate() {
                    let mut command = Command::new(program);
                    command
                        .args(arguments)
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .kill_on_drop(true);
                    let mut child = command
                        .spawn()
                        .with_context(|| format!("cannot start {} for sessions", program.display()))?;
                    let output = child.stdout.take().context("the process has no output")?;
                    children.push(child);
                    let sender = sender.clone();
                    readers.spawn(async move {
                        let broken = match relay(number, BufReader::new(output), &sender).await {
                            Ok(()) => "the process has ended".to_owned(),
                            Err(error) => format!("{error:#}"),
                        };
                        let broken = News {
                            broken: Some(broken),
                            ..News::default()
                        };
                        sender.send((number, broken)).await.ok();
                    });
                }
            }
        }
        Ok(Self {
            news,
            count,
            children,
            _readers: readers,
        })
    }

    /// Lets every session go.
    pub(super) async fn stop(mut self) {
        self.news.close();
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        for mut child in self.children {
            if timeout(END_TIMEOUT, child.wait()).await.is_err() {
                child.kill().await.ok();
            }
        }
    }
}

impl Fleets {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Fleets::Here(fleets) => fleets.len(),
            Fleets::Processes { arguments, .. } => arguments.len(),
        }
    }
}

async fn relay(number: usize, output: impl tokio::io::AsyncBufRead + Unpin, sender: &mpsc::Sender<(usize, News)>) -> Result<()> {
    let mut lines = output.lines();
    while let Some(line) = lines.next_line().await? {
        let news = serde_json::from_str(&line).with_context(|| format!("a fleet printed {line:?}"))?;
        if sender.send((number, news)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Runs `fleet` as a process: news as lines of JSON on standard output, until standard input ends.
///
/// # Errors
/// When the sessions cannot be brought up.
pub async fn serve(fleet: Fleet) -> Result<()> {
    let (sender, mut news) = mpsc::channel(1);
    let running = tokio::spawn(fleet.run(sender));
    // Whatever comes, what counts is the end.
    let mut input = [0; 64];
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    loop {
        tokio::select! {
            read = stdin.read(&mut input) => if read.unwrap_or(0) == 0 {
                running.abort();
                return Ok(());
            },
            next = news.recv() => {
                let Some(next) = next else {
                    bail!("the fleet has ended");
                };
                let mut line = serde_json::to_vec(&next)?;
                line.push(b'\n');
                stdout.write_all(&line).await?;
                stdout.flush().await?;
                if let Some(broken) = next.broken {
                    bail!(broken);
                }
            }
        }
    }
}
