//! A subscriber that stops reading while 1 GiB is published to it: the router's memory stays bounded, other subscribers and the publisher
//! do not notice, and when it reads on it sees what it has lost.
//!
//! Windows of two topics take turns: three subscribers read both, the one that does not read has subscribed to one of them alone. So what
//! it costs the others is seen in one run, whatever else the machine does. Spoken at the level of bytes (RawSocket, JSON), so that the
//! test decides when a peer reads. `RINGFORT_SLOW_MIB` says how much is published to the subscriber, 1024 by default.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ringfort_cluster_tests::{
    cluster::{Addresses, Cluster, Setup},
    record_result,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

const EVENT_BYTES: usize = 16 << 10;
/// Events a second, which the publisher keeps to: some 64 MiB/s, below what a release build carries on two cores beside its clients.
const RATE: u64 = 4_000;
const WINDOW: Duration = Duration::from_millis(500);
/// Of so many windows one is a control.
const CYCLE: usize = 3;
/// What one session may leave unread, by the configuration below.
const OUTBOX_BYTES: usize = 8 << 20;
/// By how much a node may grow: an outbox and the quarter beside it for each of the five sessions, and as much again for what the allocator
/// keeps and for the lanes between nodes.
const GROWTH_KIB_MAX: u64 = (2 * 5 * OUTBOX_BYTES as u64 * 5 / 4) >> 10;
/// The others may be slower by that much beside the one that does not read.
const RATIO_MAX: f64 = 1.5;
/// The comparison is made anew so often at most: other programs of a shared machine may fall upon the windows of one kind.
const ATTEMPTS: usize = 3;

const CONTROL: &str = "test.slow.control";
const STUCK: &str = "test.slow.stuck";

fn event_count() -> u64 {
    let mib = std::env::var("RINGFORT_SLOW_MIB").map_or(1024, |text| text.parse().expect("RINGFORT_SLOW_MIB is a number"));
    (mib << 20) / EVENT_BYTES as u64
}

/// A session that speaks in bytes.
struct Peer {
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
    frame: Vec<u8>,
}

/// What an EVENT says: its number, when it was published, and how many before it were lost.
struct Seen {
    number: u64,
    sent: Duration,
    gap: u64,
}

impl Peer {
    async fn join(node: &Addresses, topics: &[&str]) -> Self {
        let address = node.rawsocket.trim_start_matches("tcp://");
        let (reading, writing) = TcpStream::connect(address).await.expect("connect").into_split();
        let frame = Vec::new();
        let mut peer = Self { reading, writing, frame };
        peer.writing.write_all(&[0x7f, 0xf1, 0, 0]).await.expect("handshake");
        let mut reply = [0; 4];
        peer.reading.read_exact(&mut reply).await.expect("handshake");
        peer.say(r#"[1,"realm1",{"roles":{"subscriber":{},"publisher":{}}}]"#).await;
        assert!(peer.hear().await.starts_with("[2,"), "WELCOME");
        for (index, topic) in topics.iter().enumerate() {
            peer.say(&format!(r#"[32,{},{{}},"{topic}"]"#, index + 1)).await;
            assert!(peer.hear().await.starts_with("[33,"), "SUBSCRIBED");
        }
        peer
    }

    async fn say(&mut self, text: &str) {
        let mut frame = u32::try_from(text.len()).expect("a short message").to_be_bytes().to_vec();
        frame.extend_from_slice(text.as_bytes());
        self.writing.write_all(&frame).await.expect("send");
    }

    async fn hear(&mut self) -> &str {
        let read = async {
            let mut length = [0; 4];
            self.reading.read_exact(&mut length).await?;
            self.frame.resize(u32::from_be_bytes(length) as usize, 0);
            self.reading.read_exact(&mut self.frame).await
        };
        timeout(Duration::from_secs(30), read)
            .await
            .expect("a message in time")
            .expect("the session lives");
        std::str::from_utf8(&self.frame).expect("text")
    }

    /// The next EVENT. Only its head is looked at, for JSON would cost more than the router.
    async fn event(&mut self) -> Seen {
        let text = self.hear().await;
        assert!(text.starts_with("[36,"), "not an EVENT: {text:.120}");
        let (head, rest) = text
            .split_once("[\"#")
            .unwrap_or_else(|| panic!("a marked event: {text:.120}"));
        let (number, rest) = rest.split_once(':').expect("a number");
        let (micros, _) = rest.split_once('"').expect("a time");
        let gap = head.split_once("\"_gap\":").map_or(0, |(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().expect("a gap")
        });
        Seen {
            number: number.parse().expect("a number"),
            sent: Duration::from_micros(micros.parse().expect("a time")),
            gap,
        }
    }
}

/// The windows of one kind: how long events took in each, and how long the publisher did.
#[derive(Default)]
struct Windows {
    p99: Vec<f64>,
    published_in: Vec<f64>,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The three subscribers that read, and what they see of the window under way.
struct Readers {
    delays: Arc<Mutex<Vec<f64>>>,
    /// How many events they have seen together.
    seen: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    async fn join(nodes: [&Addresses; 3], begun: Instant) -> Self {
        let (delays, seen) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for node in nodes {
            let mut peer = Peer::join(node, &[CONTROL, STUCK]).await;
            let (delays, seen) = (Arc::clone(&delays), Arc::clone(&seen));
            tasks.push(tokio::spawn(async move {
                let mut next = 0;
                loop {
                    let event = peer.event().await;
                    assert_eq!((event.number, event.gap), (next, 0), "a subscriber that reads lost an event");
                    next += 1;
                    let delay = begun.elapsed().saturating_sub(event.sent).as_secs_f64();
                    delays.lock().expect("no panic").push(delay);
                    seen.fetch_add(1, Relaxed);
                }
            }));
        }
        Self { delays, seen, tasks }
    }

    /// Waits until all have seen so many, and gives the 99th percentile of what they saw since the last time.
    async fn p99(&self, published: u64) -> f64 {
        let patience = Instant::now() + Duration::from_secs(30);
        while self.seen.load(Relaxed) < 3 * published {
            let ended = self.tasks.iter().any(JoinHandle::is_finished);
            assert!(
                !ended && Instant::now() < patience,
                "a subscriber that reads does not get its events"
            );
            sleep(Duration::from_millis(1)).await;
        }
        let mut delays = std::mem::take(&mut *self.delays.lock().expect("no panic"));
        delays.sort_unstable_by(f64::total_cmp);
        delays[delays.len() * 99 / 100]
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The publisher: everything it says has its number and its time.
struct Publisher {
    peer: Peer,
    begun: Instant,
    filler: String,
    published: u64,
}

impl Publisher {
    async fn publish(&mut self, topic: &str, acknowledge: bool) {
        let (number, micros) = (self.published, self.begun.elapsed().as_micros());
        self.published += 1;
        let (request, filler) = (self.published, &self.filler);
        let text = format!(r##"[16,{request},{{"acknowledge":{acknowledge}}},"{topic}",["#{number}:{micros}","{filler}"]]"##);
        self.peer.say(&text).await;
    }

    /// Publishes the events of a window at the rate, and says how long it took until the last one was acknowledged.
    async fn window(&mut self, topic: &str, events: u64) -> f64 {
        let begun = Instant::now();
        for n in 0..events {
            if n % 4 == 0 {
                sleep_until(begun + Duration::from_nanos(n * (1_000_000_000 / RATE))).await;
            }
            self.publish(topic, n + 1 == events).await;
        }
        let answer = self.peer.hear().await;
        assert!(answer.starts_with("[17,"), "not PUBLISHED: {answer}");
        begun.elapsed().as_secs_f64()
    }
}

/// The most memory each process had, from time to time.
struct Watch {
    pids: Vec<u32>,
    before: Vec<u64>,
    most: Arc<Mutex<Vec<u64>>>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn begin(nodes: &[&Addresses]) -> Self {
        let mut pids: Vec<u32> = nodes.iter().map(|node| node.pid).collect();
        pids.dedup();
        let before: Vec<u64> = pids.iter().map(|pid| resident_kib(*pid)).collect();
        let (most, stop) = (Arc::new(Mutex::new(before.clone())), Arc::new(AtomicBool::new(false)));
        let watch = Self {
            pids,
            before,
            most,
            stop,
        };
        let (pids, most, stop) = (watch.pids.clone(), Arc::clone(&watch.most), Arc::clone(&watch.stop));
        tokio::spawn(async move {
            while !stop.load(Relaxed) {
                for (pid, most) in pids.iter().zip(most.lock().expect("no panic").iter_mut()) {
                    *most = (*most).max(resident_kib(*pid));
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        watch
    }

    /// By how much the one that grew most has grown, in KiB.
    fn growth(&self) -> u64 {
        self.stop.store(true, Relaxed);
        let most = self.most.lock().expect("no panic");
        let grown = most.iter().zip(&self.before).map(|(most, before)| most - before);
        grown.max().unwrap_or_default()
    }
}

/// Resident memory of a process.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// The publisher is on `near`, the subscriber that does not read on `far`, and one of those that do on `near`.
async fn stops_reading(place: &str, near: &Addresses, far: &Addresses) {
    let begun = Instant::now();
    let readers = Readers::join([near, far, far], begun).await;
    let mut stuck = Peer::join(far, &[STUCK]).await;
    let mut publisher = Publisher {
        peer: Peer::join(near, &[]).await,
        begun,
        filler: "x".repeat(EVENT_BYTES),
        published: 0,
    };
    // What a node takes once, such as buffers of its size, is not growth.
    for _ in 0..2 {
        publisher.window(CONTROL, window_events()).await;
        readers.p99(publisher.published).await;
    }
    let watch = Watch::begin(&[near, far]);
    let wanted = event_count();
    let (mut to_stuck, mut last, mut line) = (0, 0, String::new());
    for attempt in 1..=ATTEMPTS {
        let (mut control, mut beside) = (Windows::default(), Windows::default());
        // The first attempt publishes all that is asked for; another one only measures again, with the subscriber as stuck as ever.
        let goal = if attempt == 1 { wanted } else { to_stuck + wanted / 4 };
        for turn in 0.. {
            let is_control = turn % CYCLE == 0;
            if !is_control && to_stuck >= goal {
                break;
            }
            let (topic, windows) = if is_control {
                (CONTROL, &mut control)
            } else {
                (STUCK, &mut beside)
            };
            windows.published_in.push(publisher.window(topic, window_events()).await);
            windows.p99.push(readers.p99(publisher.published).await);
            if !is_control {
                to_stuck += window_events();
                last = publisher.published - 1;
            }
        }
        let [control_p99, beside_p99] = [&mut control.p99, &mut beside.p99].map(|all| median(all));
        let [control_time, beside_time] = [&mut control.published_in, &mut beside.published_in].map(|all| median(all));
        let (slower, held_up) = (beside_p99 / control_p99, beside_time / control_time);
        line = format!(
            "p99 {:.2} ms beside {:.2} ms in the control windows ({slower:.2}), publisher {held_up:.2}, attempt {attempt}",
            beside_p99 * 1e3,
            control_p99 * 1e3,
        );
        println!("{place}: {line}");
        if slower <= RATIO_MAX && held_up <= RATIO_MAX {
            break;
        }
        assert!(
            attempt < ATTEMPTS,
            "{place}: a subscriber that does not read slows the others: {line}"
        );
    }
    let growth = watch.growth();
    assert!(
        growth <= GROWTH_KIB_MAX,
        "{place}: a node grew by {growth} KiB, more than {GROWTH_KIB_MAX} KiB"
    );
    // It reads on: what waited, the newest event last, and how many it lost.
    let (mut heard, mut lost) = (0, 0);
    loop {
        let event = stuck.event().await;
        heard += 1;
        lost += event.gap;
        if event.number == last {
            break;
        }
    }
    assert!(
        lost > to_stuck / 2,
        "{place}: the subscriber was not stuck: it lost {lost} of {to_stuck}"
    );
    assert_eq!(heard + lost, to_stuck, "{place}: heard {heard}, was told of {lost} lost");
    // And is a subscriber like any other again.
    publisher.window(STUCK, 4).await;
    for _ in 0..4 {
        assert_eq!(stuck.event().await.gap, 0, "{place}");
    }
    let mib = (to_stuck * EVENT_BYTES as u64) >> 20;
    let line = format!(
        "{mib} MiB, lost {lost} of {to_stuck} and told so; {line}; a node grew by {} MiB",
        growth >> 10
    );
    record_result(&format!("slow-subscriber-{place}"), &line);
}

fn window_events() -> u64 {
    RATE * u64::try_from(WINDOW.as_millis()).expect("short") / 1_000
}

async fn start() -> Cluster {
    // A peer that does not read answers no ping either, and is to be taken for slow here, not for dead.
    let limits = format!(
        "[limits]\nmessage_bytes_max = 1048576\noutbox_bytes_max = {OUTBOX_BYTES}\nkeepalive_secs = 300\ndead_peer_secs = 600\n"
    );
    let topics = "[[realm.topics]]\nuri = \"test.slow\"\nmatch = \"prefix\"\nslow_consumer = \"drop_oldest\"\n";
    Cluster::start_with(Setup::Disks, topics, &limits).await.expect("a cluster")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_stops_reading_slows_nobody_on_its_node() {
    let cluster = start().await;
    stops_reading("one", &cluster.nodes[0], &cluster.nodes[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_stops_reading_on_another_node_slows_nobody() {
    let cluster = start().await;
    stops_reading("across", &cluster.nodes[0], &cluster.nodes[2]).await;
}
