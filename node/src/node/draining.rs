//! The steps of a drain, in their order: not ready → the load balancer's delay → no more clients → leadership moved → shared callees
//! dismissed → sessions finish what is open and are told GOODBYE, paced, callees first. What comes after is [`super::RunningNode::stop`].
//!
//! A node that is alone has nobody to send its clients to, so it waits for nothing. Every wait has a bound (`[drain]`), and none
//! outlasts [`Drain::hurry`]. Which phase a drain is in, and who asked for it, is in [`crate::cluster::drain`].

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    cluster::{
        Inspect,
        drain::{Drain, Phase},
        member::{Stage, random_u64},
    },
    config,
    router::{Departing, Input},
    session::{realm::RealmHandle, sessions::Service},
    wamp::SessionId,
};

/// See the module.
pub(super) struct Drainer {
    settings: config::Drain,
    inspect: Inspect,
    service: Arc<Service>,
}

/// How long the log may take to dismiss the shared callees, and to hear of the sessions that ended.
const LOG_WITHIN: Duration = Duration::from_millis(500);
/// How often it is looked whether something is done.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a single session is looked at in the end.
const LOOK_SELDOM: Duration = Duration::from_millis(40);
/// How often a session whose calls never cease is not read for a moment, and asked again for its registrations.
const PRESS_EVERY: Duration = Duration::from_millis(500);
/// Sessions that joined while the others were sent away are sent after them, so often at most.
const ROUNDS: usize = 3;

impl Drainer {
    pub(super) fn new(settings: &config::Drain, inspect: Inspect, service: Arc<Service>) -> Self {
        Self {
            settings: settings.clone(),
            inspect,
            service,
        }
    }

    pub(super) fn drain(&self) -> &Drain {
        &self.inspect.drain
    }

    /// Goes through all steps. False: the drain was called off.
    pub(super) async fn run(&self) -> bool {
        let drain = self.drain();
        let wish = drain.now().wish;
        let began = Instant::now();
        drain.count(self.service.sessions.len());
        tracing::info!(by = wish.by, sessions = self.service.sessions.len(), "draining");
        if !self.is_alone() {
            let delay = wish.load_balancer_delay;
            let delay = delay.unwrap_or(Duration::from_millis(self.settings.load_balancer_delay_ms));
            tokio::select! {
                () = drain.cancelled() => return self.called_off(),
                () = self.wait(delay, std::future::pending()) => {}
            }
        }
        if !drain.enter(Phase::MovingLeadership) {
            return self.called_off();
        }
        self.service.sessions.set_ready(false);
        if !self.is_alone() {
            self.move_leadership().await;
            drain.enter(Phase::Dismissing);
            self.dismiss_shared().await;
            drain.enter(Phase::SayingGoodbye);
            self.say_goodbye(wish.window.unwrap_or(Duration::from_millis(self.settings.window_ms)))
                .await;
            let flushed = async {
                while !self.inspect.shared.ops.is_empty() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            self.wait(LOG_WITHIN, flushed).await;
        }
        drain.enter(Phase::Leaving);
        drain.count(self.service.sessions.len());
        let left = self.service.sessions.len();
        tracing::info!(
            took_ms = began.elapsed().as_millis() as u64,
            connections_left = left,
            "drained"
        );
        true
    }

    fn called_off(&self) -> bool {
        tracing::info!("the drain was called off");
        false
    }

    /// True if there is no other node, or this one is none of them just now.
    fn is_alone(&self) -> bool {
        let Stage::Member(me) = *self.inspect.stage.borrow() else {
            return true;
        };
        let table = Arc::clone(&self.inspect.view.borrow().table);
        table.live().all(|(life, _)| life == me)
    }

    /// Waits until `done`, at most for `bound`, and not if nobody wants to wait any more.
    async fn wait(&self, bound: Duration, done: impl Future<Output = ()>) {
        tokio::select! {
            () = done => {}
            () = tokio::time::sleep(bound) => {}
            () = self.drain().hurried() => {}
        }
    }

    /// Resolves once all other nodes have gone, so that nobody could take over.
    async fn alone(&self) {
        while !self.is_alone() {
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
    }

    async fn move_leadership(&self) {
        let heard = self
            .inspect
            .heard
            .as_ref()
            .map(|heard| heard.borrow().clone())
            .unwrap_or_default();
        // Who was not heard of yet may well be there; who drains itself would only hand it on.
        let is_fit = |name: &str| heard.get(name).is_none_or(|seen| seen.live && !seen.vitals.draining);
        let moved = async {
            let moved = self.inspect.consensus.transfer_leadership_away(is_fit);
            tokio::select! {
                moved = moved => if let Err(error) = moved {
                    tracing::warn!(%error, "the leadership stays until this node is gone");
                },
                () = self.alone() => {}
            }
            // A proposal that reaches the old leader just now is lost, and asked again much later: what follows goes through the log.
            while self.inspect.leader.read_index().await.is_err() && !self.is_alone() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        self.wait(Duration::from_millis(self.settings.leadership_ms), moved).await;
    }

    fn realms(&self) -> impl Iterator<Item = &RealmHandle> {
        self.inspect.shared.realms()
    }

    async fn dismiss_shared(&self) {
        let hold_ms = self.settings.callee_wait_ms;
        for realm in self.realms() {
            realm.input(Input::DismissShared { hold_ms });
        }
        let done = async {
            let left = |realm: &RealmHandle| realm.with_core(|core| core.shared_registration_count()) > 0;
            while self.realms().any(left) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        self.wait(LOG_WITHIN, done).await;
    }

    async fn say_goodbye(&self, window: Duration) {
        for _ in 0..ROUNDS {
            let mut all: Vec<(Departing, RealmHandle, SessionId)> = Vec::new();
            for realm in self.realms() {
                let of = realm.with_core(|core| core.departures());
                all.extend(of.into_iter().map(|(departing, session)| (departing, realm.clone(), session)));
            }
            if all.is_empty() {
                return;
            }
            all.sort_by_key(|(departing, ..)| *departing);
            self.send_away(all, window).await;
        }
    }

    /// Sends them away in their order, evenly over as much of the window as so many sessions take, and waits until they are gone.
    async fn send_away(&self, all: Vec<(Departing, RealmHandle, SessionId)>, window: Duration) {
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let window = window.min(Duration::from_secs(count.into()) / self.settings.goodbyes_per_sec.max(1));
        let callee_wait = Duration::from_millis(self.settings.callee_wait_ms.into());
        let begun = tokio::time::Instant::now();
        let mut leaving = JoinSet::new();
        let mut before = Departing::Callee;
        for (place, (departing, realm, session)) in (0_u32..).zip(all) {
            if departing != before {
                before = departing;
                // The log takes a moment to dismiss a callee; those with calls that go on last as long as these.
                let gone = async { while leaving.join_next().await.is_some() {} };
                self.wait(LOG_WITHIN, gone).await;
            }
            let turn = begun + window.mul_f64(f64::from(place) / f64::from(count));
            self.wait(
                turn.saturating_duration_since(tokio::time::Instant::now()),
                std::future::pending(),
            )
            .await;
            let reconnect_within = match departing {
                Departing::Callee => window.min(callee_wait / 4),
                Departing::Client | Departing::Subscriber => window,
            };
            let farewell = Farewell {
                realm,
                session,
                is_callee: departing == Departing::Callee,
                hold_ms: self.settings.callee_wait_ms,
                bound: Duration::from_millis(self.settings.open_calls_ms),
                reconnect_after: random_below(reconnect_within),
            };
            leaving.spawn(farewell.say(self.drain().clone()));
            while leaving.try_join_next().is_some() {}
            self.drain().count(self.service.sessions.len());
        }
        let mut count = tokio::time::interval(LOOK_EVERY * 20);
        loop {
            tokio::select! {
                ended = leaving.join_next() => if ended.is_none() { break },
                _ = count.tick() => self.drain().count(self.service.sessions.len()),
            }
        }
    }
}

/// One session that is sent away.
struct Farewell {
    realm: RealmHandle,
    session: SessionId,
    is_callee: bool,
    hold_ms: u32,
    bound: Duration,
    reconnect_after: Duration,
}

impl Farewell {
    /// Takes the session's registrations from it, lets it finish what is open, and tells it GOODBYE.
    async fn say(self, drain: Drain) {
        tokio::select! {
            () = self.finish() => {}
            () = tokio::time::sleep(self.bound) => {
                tracing::debug!(session = %self.session, "calls of a session that is sent away do not end");
            }
            () = drain.hurried() => {}
        }
        self.realm.send_away(self.session, self.reconnect_after);
    }

    async fn finish(&self) {
        let (realm, session, hold_ms) = (&self.realm, self.session, self.hold_ms);
        if self.is_callee {
            realm.input(Input::Dismiss { session, hold_ms });
        }
        let mut press_at = Instant::now() + PRESS_EVERY;
        // Calls of callees that were sent away wait until these are back; between others there are moments without any. What is sent
        // while nothing is read is lost, so that comes last.
        let pause_at = press_at + Duration::from_millis(hold_ms.into());
        let mut look_after = LOOK_EVERY;
        loop {
            let open = realm.with_core(|core| core.under_way(session));
            if open.is_done() {
                return;
            }
            if Instant::now() >= press_at {
                press_at = Instant::now() + PRESS_EVERY;
                if open.registrations > 0 {
                    realm.input(Input::Dismiss { session, hold_ms });
                } else if open.invocations == 0 && Instant::now() >= pause_at {
                    // It calls and calls: what it has asked for is answered first.
                    realm.pause(session);
                }
            }
            tokio::time::sleep(look_after).await;
            look_after = (look_after * 2).min(LOOK_SELDOM);
        }
    }
}

/// A random time below `bound`.
fn random_below(bound: Duration) -> Duration {
    // The low bits of a random number are as random as the high ones.
    bound.mul_f64((random_u64() % 1_000_000) as f64 / 1e6)
}
