//! A load from several worker processes, steered by one coordinator: judged as a whole across nodes, and honest about a worker that
//! dies.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::Demo,
    process::Signal,
    record_result,
    workers::{Worker, coordinate},
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn two_workers_load_a_cluster_across_its_nodes_as_one() {
    let demo = Demo::start(300).await.expect("demo");
    let dir = TempDir::new().expect("dir");
    let one = Worker::start(&dir, "worker-1").await.expect("worker");
    let two = Worker::start(&dir, "worker-2").await.expect("worker");
    let [here, there] = [1, 3].map(|number| demo.node(number).websocket.as_str());
    let pid = demo.node(1).pid;
    let mut figures = Vec::new();
    for (name, more) in [
        (
            "calls",
            format!("scenario = \"rpc\"\ncallee_url = \"{there}\"\ncallers = 6\ncallees = 3\npids = [{pid}]"),
        ),
        (
            "events",
            format!("scenario = \"pubsub\"\nsubscriber_url = [\"{here}\", \"{there}\"]\npublishers = 3\nsubscribers = 7"),
        ),
    ] {
        let plan = format!("url = \"{here}\"\nsecs = 1.5\nwarmup = 0.3\ndrain = 30.0\n{more}\n");
        let run = coordinate(&dir, name, &[&one, &two], &plan).await.expect("run");
        assert_eq!(run.code, Some(0), "{name}: {}", run.said);
        let outcome = run.outcome.expect("a result");
        assert_eq!(outcome["passed"], true, "{outcome}");
        let workers = outcome["workers"].as_array().expect("workers");
        let operations: Vec<u64> = workers.iter().filter_map(|worker| worker["operations"].as_u64()).collect();
        assert!(
            operations.len() == 2 && operations.iter().all(|count| *count > 0),
            "{outcome}"
        );
        assert_eq!(outcome["operations"], operations.iter().sum::<u64>());
        assert_eq!(outcome["router_cpu_us"].is_number(), name == "calls", "{outcome}");
        figures.push(format!("{name} {:.0}/s", outcome["per_sec"].as_f64().unwrap_or_default()));
    }
    record_result("spread", &format!("two workers: {}", figures.join(", ")));
    assert_eq!(demo.stop().expect("end"), Vec::<u32>::new(), "processes left behind");
}

#[tokio::test]
async fn a_worker_that_is_killed_ends_the_run_with_its_name() {
    let demo = Demo::start(120).await.expect("demo");
    let dir = TempDir::new().expect("dir");
    let stays = Worker::start(&dir, "stays").await.expect("worker");
    let mut dies = Worker::start(&dir, "dies").await.expect("worker");
    let url = &demo.node(1).websocket;
    let plan = |secs: &str| format!("scenario = \"rpc\"\nurl = \"{url}\"\ncallers = 4\ncallees = 2\nsecs = {secs}\n");
    let (long, short) = (plan("100.0"), plan("0.5"));
    let killing = async {
        sleep(Duration::from_secs(4)).await;
        dies.process.signal(Signal::Kill).expect("kill");
    };
    let both = [&stays, &dies];
    let (run, ()) = tokio::join!(coordinate(&dir, "killed", &both, &long), killing);
    let run = run.expect("run");
    let named = format!("worker {} failed while sending: it was lost", dies.address);
    assert!(
        run.code == Some(2) && run.said.contains(&named),
        "{:?} {}",
        run.code,
        run.said
    );
    assert!(run.outcome.is_none(), "a run that did not end has no figures");
    dies.process.kill();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !stays.process.stderr().contains("the run has ended early") {
        assert!(Instant::now() < deadline, "the other goes on: {}", stays.process.stderr());
        sleep(Duration::from_millis(20)).await;
    }
    let again = coordinate(&dir, "again", &[&stays], &short).await.expect("run");
    assert_eq!(again.code, Some(0), "the worker that was left is free: {}", again.said);
}
