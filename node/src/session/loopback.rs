//! A cluster of one node in this process, for tests: a log that applies what is proposed in order, interest that is known at
//! once, barriers that pass.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{
    router::{BarrierOutcome, Input, NodeRef, Op, PeerFrame, Policy, Realm, RealmConfig, Slot, TopicKey},
    session::{cluster::Cluster, realm::RealmHandle},
    wamp::{SessionId, Uri, id::ID_MAX},
};

/// The only node.
pub const ME: NodeRef = NodeRef { slot: Slot(1), epoch: 1 };

/// See the module.
#[derive(Debug)]
pub struct LoopbackCluster {
    queue: UnboundedSender<Request>,
}

#[derive(Debug)]
enum Request {
    Propose(Op),
    Interest(u64),
    Barrier,
}

/// A realm on a cluster of its own. The clients' request ids are checked strictly.
pub fn realm(name: &str) -> RealmHandle {
    let (queue, mut requests) = unbounded_channel();
    let cluster = Arc::new(LoopbackCluster { queue });
    let mut config = RealmConfig::new(name.into(), 7, [7; 16]);
    config.policy = Policy::open();
    let core = Realm::new(config, ME);
    let handle = RealmHandle::new(name.into(), core, cluster);
    handle.input(Input::Lease {
        until: Instant::now() + Duration::from_secs(86_400),
    });
    let realm = handle.clone();
    tokio::spawn(async move {
        let mut index = 0;
        while let Some(request) = requests.recv().await {
            match request {
                Request::Propose(op) => {
                    index += 1;
                    realm.input(Input::Applied { index, by: ME, op });
                }
                Request::Interest(ticket) => realm.input(Input::InterestAcked { ticket }),
                Request::Barrier => realm.input(Input::Barrier {
                    outcome: BarrierOutcome::Passed,
                }),
            }
        }
    });
    handle
}

impl LoopbackCluster {
    fn ask(&self, request: Request) {
        // The receiver ends with the runtime only.
        let _ = self.queue.send(request);
    }
}

impl Cluster for LoopbackCluster {
    fn propose(&self, _realm: &Uri, op: Op) {
        self.ask(Request::Propose(op));
    }

    fn forward(&self, _realm: &Uri, _to: NodeRef, _source: SessionId, _frame: PeerFrame) {}

    fn interest(&self, _realm: &Uri, _topic: &TopicKey, wanted: bool, ticket: u64) {
        if wanted {
            self.ask(Request::Interest(ticket));
        }
    }

    fn barrier(&self, _realm: &Uri) {
        self.ask(Request::Barrier);
    }

    fn flush(&self) {}

    fn new_session_id(&self) -> Option<SessionId> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).ok()?;
        SessionId::new(u64::from_ne_bytes(random) % ID_MAX + 1)
    }
}
