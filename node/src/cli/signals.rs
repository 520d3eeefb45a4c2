//! The ways in which a running command is told to stop.

use std::io::Read;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::Failure;
use crate::node::RunningNode;

/// Ctrl-C and SIGTERM. They are caught from the moment this is made.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for either of them.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGHUP: the settings are to be read again. It is caught from the moment this is made.
pub(super) struct Hangup(Signal);

impl Hangup {
    pub(super) fn new() -> Result<Self, Failure> {
        let hangup = signal(SignalKind::hangup());
        let listened = hangup.map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
        Ok(Self(listened))
    }

    /// Has the node read its settings again each time; for ever.
    pub(super) async fn reload(&mut self, node: &RunningNode) {
        loop {
            if self.0.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            if !node.reload().await {
                tracing::warn!("SIGHUP: the settings did not come from a file, so there is nothing to read again");
            }
        }
    }
}

/// Resolves when standard input ends, which is when the parent process is gone, however it ended.
pub(super) fn end_of_stdin() -> oneshot::Receiver<()> {
    let (ended, wait) = oneshot::channel();
    // A thread, since a blocking read cannot be called off: the process ends without waiting for it.
    std::thread::spawn(move || {
        let mut rest = [0; 1024];
        let mut input = std::io::stdin().lock();
        while !matches!(input.read(&mut rest), Ok(0) | Err(_)) {}
        // Nobody may be waiting any more.
        let _ = ended.send(());
    });
    wait
}
