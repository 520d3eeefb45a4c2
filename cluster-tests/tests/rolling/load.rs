//! Clients that call at a fixed rate and come back after a GOODBYE, as the router tells them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ringfort_cluster_tests::{
    cluster::{Addresses, REALM},
    wamp::{Client, WampError},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// No node closes.
const NONE: usize = usize::MAX;
/// Longer than any call may take here: what has no answer by then hangs.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// What everybody shares.
pub(crate) struct Load {
    nodes: Vec<Addresses>,
    /// The node that closes just now.
    closing: AtomicUsize,
    stop: AtomicBool,
    asked: AtomicU64,
    ended: Mutex<Ended>,
    came_back: AtomicU64,
}

/// How calls ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ended {
    /// With their result.
    pub(crate) good: u64,
    /// With an error while they were in flight on the closing node, by what it was.
    pub(crate) in_flight: BTreeMap<String, u64>,
    /// With an error that they should not have had.
    pub(crate) wrong: BTreeMap<String, u64>,
    /// With a result that is another call's.
    pub(crate) mixed_up: u64,
    /// Without an answer.
    pub(crate) hung: u64,
    /// How long the slowest good one took.
    pub(crate) slowest: Duration,
    /// How many took longer than a quarter of a second: those that waited for a callee to come back, and those behind them.
    pub(crate) slow: u64,
}

impl Ended {
    pub(crate) fn failed(&self) -> u64 {
        self.in_flight.values().sum()
    }
}

/// A procedure, and how it is registered.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) procedure: String,
    pub(crate) options: Value,
}

impl Load {
    pub(crate) fn new(nodes: &[Addresses]) -> Arc<Self> {
        Arc::new(Self {
            nodes: nodes.to_vec(),
            closing: AtomicUsize::new(NONE),
            stop: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            ended: Mutex::default(),
            came_back: AtomicU64::new(0),
        })
    }

    pub(crate) fn closes(&self, node: Option<usize>) {
        self.closing.store(node.unwrap_or(NONE), Ordering::SeqCst);
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// How often a client that was sent away has found another node.
    pub(crate) fn came_back(&self) -> u64 {
        self.came_back.load(Ordering::SeqCst)
    }

    pub(crate) fn ended(&self) -> Ended {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins on the node with that number, or on the next one that takes it.
    async fn join(&self, first: usize) -> Option<(usize, Client)> {
        for node in (first..).map(|node| node % self.nodes.len()) {
            if self.stopped() {
                return None;
            }
            // A node that was restarted may be there, and may not be ready.
            if let Ok(Ok(client)) =
                tokio::time::timeout(Duration::from_secs(2), Client::join(&self.nodes[node].websocket, REALM)).await
            {
                return Some((node, client));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// What a GOODBYE asks for, then the next node.
    async fn come_back(&self, from: usize, details: &Value) -> Option<(usize, Client)> {
        let wait = details["_reconnect_after_ms"].as_u64().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let back = self.join(from + 1).await;
        self.came_back.fetch_add(u64::from(back.is_some()), Ordering::SeqCst);
        back
    }

    /// A callee of those procedures, for as long as the load goes on.
    pub(crate) async fn callee(self: Arc<Self>, home: usize, served: Vec<Served>, ready: tokio::sync::mpsc::Sender<()>) {
        let mut place = self.join(home).await;
        let mut first = true;
        while let Some((node, mut client)) = place {
            let mut serving = Vec::new();
            for Served { procedure, options } in &served {
                while !self.stopped() {
                    match client.register_with(procedure, options.clone()).await {
                        Ok(Ok(registration)) => {
                            serving.push(client.serve_echo(registration));
                            break;
                        }
                        // Its former session is not gone for everybody yet.
                        Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                        Err(_) => break,
                    }
                }
            }
            if std::mem::take(&mut first) {
                let _ = ready.send(()).await;
            }
            let details = tokio::select! {
                away = client.sent_away() => away.map(|(details, _)| details).unwrap_or_default(),
                () = self.over() => return,
            };
            drop(client);
            place = self.come_back(node, &details).await;
        }
    }

    async fn over(&self) {
        while !self.stopped() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Calls the procedures in turn, `rate` times a second, and makes up for the time in which it had no session.
    pub(crate) async fn caller(self: Arc<Self>, number: usize, rate: f64, procedures: Arc<Vec<String>>) {
        let mut place = self.join(number).await;
        let began = Instant::now();
        let (mut made, mut calls) = (0_u64, JoinSet::new());
        while let Some((node, mut client)) = place {
            let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
            let details = loop {
                tokio::select! {
                    away = client.sent_away() => break away.map(|(details, _)| details).unwrap_or_default(),
                    _ = tick.tick() => {}
                }
                if self.stopped() {
                    break Value::Null;
                }
                let due = (began.elapsed().as_secs_f64() * rate) as u64;
                while made < due {
                    let procedure = &procedures[(made as usize * 7 + number) % procedures.len()];
                    let argument = json!([number, made]);
                    let since = Instant::now();
                    match client.start_call(procedure, std::slice::from_ref(&argument)).await {
                        Ok(answer) => {
                            made += 1;
                            self.asked.fetch_add(1, Ordering::SeqCst);
                            let load = Arc::clone(&self);
                            calls.spawn(async move {
                                let outcome = answer.within(HANGS_AFTER).await;
                                load.note(node, &argument, outcome, since.elapsed());
                            });
                        }
                        // Not sent: GOODBYE is on its way to us.
                        Err(_) => break,
                    }
                }
                while calls.try_join_next().is_some() {}
            };
            if self.stopped() {
                while calls.join_next().await.is_some() {}
                return;
            }
            drop(client);
            place = self.come_back(node, &details).await;
        }
        while calls.join_next().await.is_some() {}
    }

    fn note(&self, node: usize, argument: &Value, outcome: anyhow::Result<Result<Vec<Value>, WampError>>, took: Duration) {
        let closing = self.closing.load(Ordering::SeqCst);
        let mut ended = self.lock();
        match outcome {
            Ok(Ok(result)) if result.as_slice() == std::slice::from_ref(argument) => {
                ended.good += 1;
                ended.slowest = ended.slowest.max(took);
                ended.slow += u64::from(took > Duration::from_millis(250));
            }
            Ok(Ok(_)) => ended.mixed_up += 1,
            Ok(Err(WampError { uri, details, .. })) => {
                let reason = details["_reason"].as_str().unwrap_or_default();
                // Its callee had it and was sent away, or its callee's node was gone.
                let was_with_callee = reason == "callee_gone" || reason == "callee_node_lost";
                let list = if was_with_callee && closing != NONE {
                    &mut ended.in_flight
                } else {
                    &mut ended.wrong
                };
                *list.entry(format!("{uri} {details} at n{}", node + 1)).or_default() += 1;
            }
            Err(error) if took >= HANGS_AFTER => {
                ended.hung += 1;
                *ended.wrong.entry(format!("{error:#}")).or_default() += 1;
            }
            // The session ended: the caller's own node closed.
            Err(error) => {
                let list = if node == closing {
                    &mut ended.in_flight
                } else {
                    &mut ended.wrong
                };
                *list.entry(format!("{error:#} (caller of n{})", node + 1)).or_default() += 1;
            }
        }
    }
}
