//! A worker's share of a load: what the coordinator sends, and the load that a worker makes of it.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use ringfort::wamp::Serializer;
use ringfort_proto::bench::v1;

use super::{VERSION, plan::Plan};
use crate::{
    history::Expect,
    load::{
        Pace, Stop, Timing,
        ensemble::{Ensemble, Share, Shares, Witness},
        pubsub, rpc,
    },
    peer::Target,
    tag::TAG_LEN,
    wire::Endpoint,
};

/// The kind of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `rpc`
    Calls,
    /// `pubsub`
    Events,
}

/// What the target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// WAMP.
    Wamp,
    /// NATS.
    Nats,
    /// A floor's bare frames.
    Floor,
}

/// A load that can be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Calls or events.
    pub kind: Kind,
    /// Through what.
    pub speaks: Speaks,
}

const SCENARIOS: [(&str, Kind, Speaks); 6] = [
    ("rpc", Kind::Calls, Speaks::Wamp),
    ("pubsub", Kind::Events, Speaks::Wamp),
    ("nats-rpc", Kind::Calls, Speaks::Nats),
    ("nats-pubsub", Kind::Events, Speaks::Nats),
    ("floor-rpc", Kind::Calls, Speaks::Floor),
    ("floor-pubsub", Kind::Events, Speaks::Floor),
];

impl Scenario {
    /// Reads the name that the command line uses too.
    ///
    /// # Errors
    /// When there is no such scenario, or it cannot be split.
    pub fn parse(name: &str) -> Result<Self> {
        let found = SCENARIOS.iter().find(|(known, ..)| *known == name);
        let (_, kind, speaks) = found.with_context(|| {
            let known: Vec<_> = SCENARIOS.iter().map(|(name, ..)| *name).collect();
            format!("{name:?} is no scenario that can be split; there are {}", known.join(", "))
        })?;
        Ok(Self {
            kind: *kind,
            speaks: *speaks,
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        let named = SCENARIOS
            .iter()
            .find(|(_, kind, speaks)| (*kind, *speaks) == (self.kind, self.speaks));
        named.map_or("", |(name, ..)| name)
    }

    /// What the whole history must contain.
    pub(super) fn expect(&self, receivers: u32) -> Expect {
        match self.kind {
            Kind::Calls => Expect::Calls,
            Kind::Events => Expect::Events { groups: receivers },
        }
    }
}

impl Plan {
    /// What worker `index` of `workers` is told; `uri` is the procedure or topic.
    pub(super) fn part(&self, index: u32, workers: u32, uri: &str) -> v1::Part {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let Shares { senders, receivers } = self.shares(index, workers);
        v1::Part {
            version: VERSION,
            scenario: self.scenario.name().to_owned(),
            sender_url: self.sender_url.clone(),
            receiver_urls: self.receiver_urls.clone(),
            realm: self.realm.clone(),
            serializer: self.serializer.clone(),
            authid: self.authid.clone().unwrap_or_default(),
            senders: Some(write_share(senders)),
            receivers: Some(write_share(receivers)),
            uri: uri.to_owned(),
            invoke: self.invoke.clone().unwrap_or_default(),
            window: self.window,
            payload: self.payload as u64,
            rate: self.rate.unwrap_or_default(),
            acknowledge: self.acknowledge,
            warmup_us: micros(self.warmup),
            measure_us: micros(self.measure),
            drain_us: micros(self.drain),
        }
    }
}

fn write_share(share: Share) -> v1::Share {
    v1::Share {
        first: share.first,
        count: share.count,
        total: share.total,
    }
}

fn read_share(share: Option<v1::Share>) -> Result<Share> {
    let share = share.context("a part names its sessions")?;
    let share = Share {
        first: share.first,
        count: share.count,
        total: share.total,
    };
    let end = share.first.checked_add(share.count);
    ensure!(
        end.is_some_and(|end| end <= share.total) && share.total <= SESSIONS_MAX,
        "{share:?} is no part of at most {SESSIONS_MAX} sessions"
    );
    Ok(share)
}

const SESSIONS_MAX: u32 = 10_000_000;
const WINDOW_MAX: u32 = 1 << 20;
const PAYLOAD_MAX: u64 = 16 << 20;
/// A week, in microseconds.
const TIME_MAX: u64 = 7 * 24 * 3600 * 1_000_000;

/// What a worker adds to a part: secrets, and where its own files are.
#[derive(Clone, Debug, Default)]
pub struct Local<'a> {
    /// The ticket for plans with an authid.
    pub ticket: Option<&'a str>,
    /// PEM file of the certificate authority for `wss://` and `tls://`.
    pub ca: Option<&'a Path>,
}

/// A load with this worker's share of it.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Calls(Box<rpc::Plan>, Shares),
    Events(Box<pubsub::Plan>, Shares),
}

/// Checks a part as far as that can be done without knowing a worker.
pub(super) fn check(part: &v1::Part) -> Result<Scenario> {
    ensure!(
        part.version == VERSION,
        "the coordinator speaks version {}, this worker {VERSION}",
        part.version
    );
    let scenario = Scenario::parse(&part.scenario)?;
    ensure!(
        (TAG_LEN as u64..=PAYLOAD_MAX).contains(&part.payload),
        "payload must be {TAG_LEN} bytes, which the tag takes, to {PAYLOAD_MAX}"
    );
    ensure!(
        (1..=WINDOW_MAX).contains(&part.window),
        "window must be 1 to {WINDOW_MAX} messages"
    );
    ensure!(
        part.rate.is_finite() && part.rate >= 0.0,
        "rate must be a number of messages per second above 0"
    );
    ensure!(
        [part.warmup_us, part.measure_us, part.drain_us]
            .iter()
            .all(|us| *us <= TIME_MAX),
        "a week is the longest time there is"
    );
    ensure!(part.measure_us > 0, "secs must be above 0");
    ensure!(!part.receiver_urls.is_empty(), "the receivers need an address");
    serializer(&part.serializer)?;
    for url in part.receiver_urls.iter().chain([&part.sender_url]) {
        // With an authority that is not there, since that is the worker's to know.
        let secure = url.starts_with("wss://") || url.starts_with("tls://");
        ensure!(secure || Endpoint::parse(url, None).is_ok(), "{url} is no address to load");
    }
    Ok(scenario)
}

fn serializer(name: &str) -> Result<Serializer> {
    Ok(match name {
        "json" => Serializer::Json,
        "msgpack" => Serializer::MsgPack,
        "cbor" => Serializer::Cbor,
        _ => bail!("{name:?} is no serializer; there are json, msgpack and cbor"),
    })
}

impl Job {
    /// Makes the load that `part` asks for.
    ///
    /// # Errors
    /// When it is of another version or asks for what no load can be, or for a secret that this worker does not have.
    pub(super) fn new(part: v1::Part, local: &Local<'_>) -> Result<Self> {
        let scenario = check(&part)?;
        let target = |url: &str| target(url, scenario.speaks, &part, local);
        let shares = Shares {
            senders: read_share(part.senders)?,
            receivers: read_share(part.receivers)?,
        };
        ensure!(
            shares.senders.total > 0 && shares.receivers.total > 0,
            "a load needs at least one session on each side"
        );
        let timing = Timing {
            warmup: Duration::from_micros(part.warmup_us),
            stop: Stop::After(Duration::from_micros(part.measure_us)),
            drain: Duration::from_micros(part.drain_us),
        };
        let payload = usize::try_from(part.payload)?;
        let pace = if part.rate > 0.0 {
            Pace::Rate(part.rate)
        } else {
            Pace::Closed
        };
        let receivers_at = part.receiver_urls.iter().map(|url| target(url)).collect::<Result<Vec<_>>>()?;
        Ok(match scenario.kind {
            Kind::Calls => {
                let plan = rpc::Plan {
                    callers_at: target(&part.sender_url)?,
                    callees_at: receivers_at.into_iter().next().context("the callees need an address")?,
                    callers: shares.senders.total,
                    callees: shares.receivers.total,
                    invoke: (!part.invoke.is_empty()).then(|| part.invoke.clone()),
                    procedure: part.uri.clone(),
                    window: part.window,
                    payload,
                    pace,
                    timing,
                    pids: Vec::new(),
                };
                Self::Calls(Box::new(plan), shares)
            }
            Kind::Events => {
                let pacing = if part.acknowledge {
                    pubsub::Pacing::Acknowledgement
                } else {
                    pubsub::Pacing::Delivery
                };
                let plan = pubsub::Plan {
                    publishers_at: target(&part.sender_url)?,
                    subscribers_at: receivers_at,
                    publishers: shares.senders.total,
                    subscribers: shares.receivers.total,
                    topic: part.uri.clone(),
                    window: part.window,
                    pacing,
                    payload,
                    pace,
                    timing,
                    pids: Vec::new(),
                };
                Self::Events(Box::new(plan), shares)
            }
        })
    }

    /// Carries the load in step with the others.
    pub(super) async fn run(&self, ensemble: &mut impl Ensemble) -> Result<Witness> {
        match self {
            Self::Calls(plan, shares) => rpc::run_share(plan, shares, ensemble).await,
            Self::Events(plan, shares) => pubsub::run_share(plan, shares, ensemble).await,
        }
    }
}

fn target(url: &str, speaks: Speaks, part: &v1::Part, local: &Local<'_>) -> Result<Target> {
    let endpoint = Endpoint::parse(url, local.ca)?;
    Ok(match speaks {
        Speaks::Nats => Target::Nats { endpoint },
        Speaks::Floor => Target::Floor { endpoint },
        Speaks::Wamp => {
            let ticket = match (part.authid.as_str(), local.ticket) {
                ("", _) => None,
                (authid, Some(ticket)) => Some((authid.to_owned(), ticket.to_owned())),
                (authid, None) => bail!("this worker has no ticket for {authid:?} in RINGFORT_BENCH_TICKET"),
            };
            Target::Wamp {
                endpoint,
                realm: part.realm.clone(),
                serializer: serializer(&part.serializer)?,
                ticket,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(more: &str) -> Plan {
        Plan::parse(&format!("scenario = \"rpc\"\nurl = \"ws://r:1/ws\"\n{more}")).unwrap()
    }

    #[test]
    fn a_part_becomes_the_load_that_the_plan_describes() {
        let plan = plan("callers = 5\ncallees = 2\nrate = 100.0\ninvoke = \"random\"\npayload = 100");
        let job = Job::new(plan.part(1, 2, "a.b"), &Local::default()).unwrap();
        let Job::Calls(load, shares) = job else { panic!("{job:?}") };
        assert_eq!((load.procedure.as_str(), load.payload, load.callers), ("a.b", 100, 5));
        assert_eq!((load.pace, load.invoke.as_deref()), (Pace::Rate(100.0), Some("random")));
        assert_eq!((shares.senders.range(), shares.receivers.range()), (3..5, 1..2));
    }

    #[test]
    fn nonsense_from_the_network_is_refused() {
        let good = plan("").part(0, 1, "a");
        type Spoil = fn(&mut v1::Part);
        let spoilt: [(&str, Spoil); 8] = [
            ("version", |part| part.version = 2),
            ("storm", |part| part.scenario = "storm".into()),
            ("payload", |part| part.payload = u64::MAX),
            ("rate", |part| part.rate = f64::INFINITY),
            ("week", |part| part.drain_us = u64::MAX),
            ("names its sessions", |part| part.senders = None),
            ("Share", |part| {
                part.receivers = Some(v1::Share {
                    first: u32::MAX,
                    count: 2,
                    total: 3,
                });
            }),
            ("ticket", |part| part.authid = "someone".into()),
        ];
        assert!(Job::new(good.clone(), &Local::default()).is_ok());
        for (named, spoil) in spoilt {
            let mut part = good.clone();
            spoil(&mut part);
            let error = format!("{:#}", Job::new(part, &Local::default()).unwrap_err());
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[test]
    fn every_scenario_has_its_name() {
        for (name, ..) in SCENARIOS {
            assert_eq!(Scenario::parse(name).unwrap().name(), name);
        }
    }
}
