use std::net::SocketAddr;

use tokio::{task::AbortHandle, time::timeout};

use super::*;
use crate::{
    cluster::net::{self, Acceptor, Addresses, Dialer, Identity, Security},
    router::{NodeRef, Slot},
};

struct Node {
    name: String,
    address: SocketAddr,
    addresses: Addresses,
    channels: PeerChannels,
    gossip: Option<Gossip>,
    tasks: Vec<AbortHandle>,
}

impl Node {
    /// A node that knows the given others.
    async fn start(name: &str, cluster: &str, known: &[&Node]) -> Self {
        let identity = Identity::new(cluster, name).unwrap();
        let control = Handle::current();
        let (acceptor, of_control, _of_data) = Acceptor::bind("127.0.0.1:0", identity.clone(), Security::Plain, control.clone())
            .await
            .unwrap();
        let address = acceptor.local_addr().unwrap();
        let addresses = Addresses::configured(known.iter().map(|node| (node.name.clone(), node.address.to_string())));
        let channels = PeerChannels::new(Dialer::new(identity, Security::Plain, addresses.clone()), control.clone());
        let config = Config {
            interval: Duration::from_millis(30),
            ..Config::new(1)
        };
        let first = Vitals {
            cluster_address: address.to_string(),
            version: "1".into(),
            ..Vitals::default()
        };
        let gossip = Gossip::start(config, channels.clone(), &control, first).await.unwrap();
        let server = net::server().add_service(gossip.service()).serve_with_incoming(of_control);
        let tasks = vec![
            tokio::spawn(acceptor.run()).abort_handle(),
            tokio::spawn(server).abort_handle(),
        ];
        Self {
            name: name.to_owned(),
            address,
            addresses,
            channels,
            gossip: Some(gossip),
            tasks,
        }
    }

    fn says(&self, change: impl FnOnce(&mut Vitals)) {
        let gossip = self.gossip.as_ref().unwrap();
        let mut vitals = gossip.publish.borrow().clone();
        change(&mut vitals);
        gossip.publish(vitals);
    }

    async fn until(&self, what: &str, done: impl FnMut(&ClusterVitals) -> bool) -> ClusterVitals {
        let mut vitals = self.gossip.as_ref().unwrap().vitals();
        let heard = timeout(Duration::from_secs(15), vitals.wait_for(done)).await;
        heard
            .unwrap_or_else(|_| panic!("{} never hears {what}", self.name))
            .unwrap()
            .clone()
    }

    fn dies(&mut self) {
        self.gossip.take();
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.dies();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_that_share_one_acquaintance_hear_of_each_other_and_of_every_change() {
    let one = Node::start("n1", "test", &[]).await;
    let two = Node::start("n2", "test", &[&one]).await;
    let mut three = Node::start("n3", "test", &[&one]).await;
    for node in [&one, &two, &three] {
        let vitals = node
            .until("all three", |vitals| {
                vitals.len() == 3 && vitals.values().all(|seen| seen.live)
            })
            .await;
        assert_eq!(vitals["n2"].vitals.cluster_address, two.address.to_string());
    }
    assert_eq!(
        two.addresses.get("n3"),
        Some(three.address.to_string()),
        "addresses are learned"
    );
    assert!(two.channels.channel("n3").is_some());

    let life = NodeRef { slot: Slot(3), epoch: 9 };
    three.says(|vitals| (vitals.node, vitals.interest, vitals.draining) = (Some(life), (7, 0xabc), true));
    for node in [&one, &two] {
        let vitals = node.until("the change", |vitals| vitals["n3"].vitals.draining).await;
        assert_eq!(vitals["n3"].vitals.interest, (7, 0xabc));
        assert_eq!(vitals["n3"].vitals.node, Some(life));
    }

    three.dies();
    for node in [&one, &two] {
        let vitals = node
            .until("that node 3 alone is gone", |vitals| !vitals["n3"].live && vitals["n2"].live)
            .await;
        assert_eq!(vitals["n3"].vitals.node, Some(life), "what it said last is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_not_heard() {
    let one = Node::start("n1", "test", &[]).await;
    let other = Node::start("n2", "other", &[&one]).await;
    let two = Node::start("n3", "test", &[&one]).await;
    one.until("node 3", |vitals| vitals.contains_key("n3")).await;
    two.until("node 1", |vitals| vitals.contains_key("n1")).await;
    other.says(|vitals| vitals.load = 5);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!one.gossip.as_ref().unwrap().vitals().borrow().contains_key("n2"));
    assert!(!other.gossip.as_ref().unwrap().vitals().borrow().contains_key("n1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_a_stranger_and_a_lost_peer_do_not_end_the_gossip() {
    use ringfort_proto::cluster::v1::{GossipEnvelope, gossip_client::GossipClient};
    let one = Node::start("n1", "test", &[]).await;
    let two = Node::start("n2", "test", &[&one]).await;
    let mut client = GossipClient::new(two.channels.channel("n1").unwrap());
    let say = |from: &str, envelope: &[u8]| GossipEnvelope {
        from: from.to_owned(),
        envelope: envelope.to_vec().into(),
        address: "127.0.0.1:1".to_owned(),
    };
    for envelope in [&b""[..], b"garbage", &[0; 65_507]] {
        assert!(client.exchange(say("n9", envelope)).await.is_ok());
    }
    assert!(client.exchange(say("n9", &[0; 65_508])).await.is_err());
    assert!(client.exchange(say("not a name", b"x")).await.is_err());
    assert!(client.exchange(say("n1", b"x")).await.is_err(), "not another node");
    let inner = one.gossip.as_ref().unwrap().bridge.inner().unwrap();
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(b"garbage", inner).await.unwrap();

    two.says(|vitals| vitals.load = 77);
    one.until("node 2", |vitals| vitals.get("n2").is_some_and(|seen| seen.vitals.load == 77))
        .await;
}

#[test]
fn an_address_in_the_gossip_is_made_of_the_name_alone() {
    assert_eq!(address_of("n1"), address_of("n1"));
    assert_ne!(address_of("n1"), address_of("n2"));
    assert!(matches!(address_of("n1"), SocketAddr::V6(address) if address.ip().is_unique_local()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_for_a_node_that_is_let_go() {
    let one = Node::start("n1", "test", &[]).await;
    let mut two = Node::start("n2", "test", &[&one]).await;
    one.until("n2", |vitals| vitals.contains_key("n2")).await;
    let bridge = one.gossip.as_ref().unwrap().bridge.clone();
    assert_eq!(bridge.relays(), 1);
    two.dies();
    one.until("the end of n2", |vitals| !vitals["n2"].live).await;
    one.channels.forget("n2");
    one.gossip.as_ref().unwrap().forgetter()("n2");
    assert_eq!((bridge.relays(), one.addresses.get("n2")), (0, None));
    // What it has said is remembered for a while, and brings neither back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((bridge.relays(), one.addresses.get("n2")), (0, None));
}
