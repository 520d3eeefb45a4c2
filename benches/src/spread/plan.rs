//! The file that says what the workers are to do.
//!
//! ```toml
//! scenario = "rpc"                      # or pubsub; nats-rpc, nats-pubsub, floor-rpc, floor-pubsub for such targets
//! url = "ws://router:8080/ws"           # as the workers reach it
//! callee_url = "ws://other:8080/ws"     # if the callees connect elsewhere; pubsub: subscriber_url = ["…", "…"]
//! callers = 64                          # of all workers together; pubsub: publishers and subscribers
//! callees = 4
//! window = 8                            # for each caller
//! payload = 64
//! secs = 30.0
//! warmup = 2.0
//! ```
//!
//! Further keys: `invoke` (rpc: all callees share one procedure under this policy), `acknowledge = true` (pubsub), `rate` (messages
//! per second of all workers together, instead of a closed loop), `drain`, `setup` (seconds until all sessions must be up), `realm`,
//! `serializer`, `authid` (the ticket and the certificate authority are the workers' to know), and `pids` (processes of the router
//! that run beside the coordinator, to be measured).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::part::{Kind, Scenario};
use crate::load::ensemble::{Share, Shares};

/// The file as it is written; see the module's text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: String,
    url: String,
    callee_url: Option<String>,
    subscriber_url: Option<Vec<String>>,
    callers: Option<u32>,
    callees: Option<u32>,
    publishers: Option<u32>,
    subscribers: Option<u32>,
    invoke: Option<String>,
    acknowledge: Option<bool>,
    #[serde(default = "eight")]
    window: u32,
    #[serde(default = "sixty_four")]
    payload: usize,
    rate: Option<f64>,
    #[serde(default = "five")]
    secs: f64,
    #[serde(default = "one")]
    warmup: f64,
    #[serde(default = "ten")]
    drain: f64,
    #[serde(default = "two_minutes")]
    setup: f64,
    #[serde(default = "realm1")]
    realm: String,
    #[serde(default = "msgpack")]
    serializer: String,
    authid: Option<String>,
    #[serde(default)]
    pids: Vec<u32>,
}

fn eight() -> u32 {
    8
}
fn sixty_four() -> usize {
    64
}
fn five() -> f64 {
    5.0
}
fn one() -> f64 {
    1.0
}
fn ten() -> f64 {
    10.0
}
fn two_minutes() -> f64 {
    120.0
}
fn realm1() -> String {
    "realm1".to_owned()
}
fn msgpack() -> String {
    "msgpack".to_owned()
}

/// A load for all workers together.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do.
    pub scenario: Scenario,
    /// Where the senders connect.
    pub sender_url: String,
    /// Where the receivers connect.
    pub receiver_urls: Vec<String>,
    /// Callers or publishers.
    pub senders: u32,
    /// Callees or subscribers.
    pub receivers: u32,
    /// The callees' common invocation policy.
    pub invoke: Option<String>,
    /// Publish with acknowledgement.
    pub acknowledge: bool,
    /// Messages that each sender keeps under way.
    pub window: u32,
    /// Bytes of payload.
    pub payload: usize,
    /// Messages per second of all senders, unless in a closed loop.
    pub rate: Option<f64>,
    /// Load before the measurement.
    pub warmup: Duration,
    /// Length of the measurement.
    pub measure: Duration,
    /// The longest wait at the end for what is under way.
    pub drain: Duration,
    /// The longest wait for all sessions to be up.
    pub setup: Duration,
    /// The realm.
    pub realm: String,
    /// `json`, `msgpack` or `cbor`.
    pub serializer: String,
    /// For ticket authentication.
    pub authid: Option<String>,
    /// The router's processes on the coordinator's machine.
    pub pids: Vec<u32>,
}

impl Plan {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is not TOML of this form, or keys do not fit the scenario or each other.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let scenario = Scenario::parse(&file.scenario)?;
        let (calls, events) = (scenario.kind == Kind::Calls, scenario.kind == Kind::Events);
        for (key, given, fits) in [
            ("callers", file.callers.is_some(), calls),
            ("callees", file.callees.is_some(), calls),
            ("callee_url", file.callee_url.is_some(), calls),
            ("invoke", file.invoke.is_some(), calls),
            ("publishers", file.publishers.is_some(), events),
            ("subscribers", file.subscribers.is_some(), events),
            ("subscriber_url", file.subscriber_url.is_some(), events),
            ("acknowledge", file.acknowledge.is_some(), events),
        ] {
            ensure!(fits || !given, "{key} is not for {}", file.scenario);
        }
        let (senders, receivers) = match scenario.kind {
            Kind::Calls => (file.callers.unwrap_or(16), file.callees.unwrap_or(1)),
            Kind::Events => (file.publishers.unwrap_or(1), file.subscribers.unwrap_or(100)),
        };
        ensure!(senders > 0 && receivers > 0, "a load needs at least one session on each side");
        // In a part, 0 stands for a closed loop.
        ensure!(file.rate != Some(0.0), "rate must be above 0");
        let receiver_urls = match (file.callee_url, file.subscriber_url) {
            (Some(url), _) => vec![url],
            (None, Some(urls)) if !urls.is_empty() => urls,
            _ => vec![file.url.clone()],
        };
        let secs = |value, key| Duration::try_from_secs_f64(value).with_context(|| format!("{key} must be a time in seconds"));
        let plan = Self {
            scenario,
            sender_url: file.url,
            receiver_urls,
            senders,
            receivers,
            invoke: file.invoke,
            acknowledge: file.acknowledge.unwrap_or(false),
            window: file.window,
            payload: file.payload,
            rate: file.rate,
            warmup: secs(file.warmup, "warmup")?,
            measure: secs(file.secs, "secs")?,
            drain: secs(file.drain, "drain")?,
            setup: secs(file.setup, "setup")?,
            realm: file.realm,
            serializer: file.serializer,
            authid: file.authid,
            pids: file.pids,
        };
        // What a worker would refuse is found here, before any is asked.
        super::part::check(&plan.part(0, 1, "uri"))?;
        Ok(plan)
    }

    /// The sessions of worker `index` of `workers`.
    pub fn shares(&self, index: u32, workers: u32) -> Shares {
        Shares {
            senders: Share::split(self.senders, index, workers),
            receivers: Share::split(self.receivers, index, workers),
        }
    }

    /// Checks that the load can be split so.
    ///
    /// # Errors
    /// When a worker would get no session, or publishers without a subscriber that opens their window.
    pub fn check_split(&self, workers: u32) -> Result<()> {
        ensure!(
            self.senders.max(self.receivers) >= workers,
            "{} and {} sessions are too few for {workers} workers",
            self.senders,
            self.receivers
        );
        let by_delivery = self.scenario.kind == Kind::Events && self.rate.is_none() && !self.acknowledge;
        ensure!(
            !by_delivery || self.senders <= self.receivers || self.receivers >= workers,
            "with {} subscribers for {workers} workers, some publishers would have none beside them to open their window: give a \
             rate, or acknowledge = true",
            self.receivers
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_is_understood() {
        let example: String = include_str!("plan.rs")
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
            .collect();
        let plan = Plan::parse(&example).unwrap();
        assert_eq!((plan.senders, plan.receivers), (64, 4));
        assert_eq!(plan.receiver_urls, ["ws://other:8080/ws"]);
        assert_eq!(plan.measure, Duration::from_secs(30));
        assert_eq!(plan.shares(1, 3).senders.range(), 22..43);
        assert_eq!(plan.shares(2, 3).receivers.range(), 3..4);
    }

    #[test]
    fn mistakes_are_named() {
        let rpc = "scenario = \"rpc\"\nurl = \"ws://r:1/ws\"\n";
        for (text, named) in [
            ("url = \"ws://r:1\"".to_owned(), "scenario"),
            (format!("{rpc}speed = 1"), "speed"),
            (format!("{rpc}subscribers = 1"), "subscribers is not for rpc"),
            (format!("{rpc}callers = 0"), "at least one"),
            (format!("{rpc}secs = -1.0"), "secs"),
            (format!("{rpc}payload = 10"), "payload"),
            (format!("{rpc}window = 0"), "window"),
            (format!("{rpc}rate = 0.0"), "rate"),
            (format!("{rpc}serializer = \"xml\""), "xml"),
            ("scenario = \"idle\"\nurl = \"ws://r:1\"".to_owned(), "idle"),
            ("scenario = \"rpc\"\nurl = \"http://r\"".to_owned(), "http://r"),
        ] {
            let error = format!("{:#}", Plan::parse(&text).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_split_that_cannot_work_is_refused() {
        let pubsub = |more: &str| Plan::parse(&format!("scenario = \"pubsub\"\nurl = \"ws://r:1/ws\"\n{more}")).unwrap();
        let few = pubsub("publishers = 3\nsubscribers = 2");
        assert!(few.check_split(2).is_ok());
        assert!(format!("{:#}", few.check_split(3).unwrap_err()).contains("open their window"));
        assert!(
            pubsub("publishers = 3\nsubscribers = 2\nacknowledge = true")
                .check_split(3)
                .is_ok()
        );
        assert!(pubsub("publishers = 1\nsubscribers = 2").check_split(3).is_err());
    }
}
