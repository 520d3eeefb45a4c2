//! One load over several workers: clean runs are acquitted as a whole, disturbances between two workers are convicted, and a worker
//! that is lost, busy or not ours is an error that names it.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

mod mini_router;

use std::{net::SocketAddr, time::Duration};

use ringfort_bench::{
    convict::{Odds, Proxy},
    spread::{
        Token,
        coordinator::{self, Workers},
        outcome::SpreadOutcome,
        plan::Plan,
        worker,
    },
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Starts a worker; aborting the task is what its death looks like from outside.
async fn start(config: worker::Config) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async move { worker::serve(listener, config).await.unwrap() };
    (address, tokio::spawn(serving))
}

async fn crew(count: usize) -> Workers {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(start(worker::Config::default()).await.0.to_string());
    }
    workers(names)
}

fn workers(names: Vec<String>) -> Workers {
    Workers {
        names,
        count: None,
        wait: Duration::from_secs(2),
        token: None,
    }
}

fn plan(scenario: &str, router: SocketAddr, more: &str) -> Plan {
    let text = format!("scenario = \"{scenario}\"\nurl = \"ws://{router}/ws\"\nwarmup = 0.1\n{more}");
    Plan::parse(&text).unwrap()
}

fn assert_clean(run: &SpreadOutcome) {
    assert!(run.outcome.passed, "{run}");
    assert_eq!(
        run.outcome.operations,
        run.workers.iter().map(|worker| worker.operations).sum::<u64>()
    );
}

#[tokio::test]
async fn calls_cross_between_workers_and_are_judged_as_one_history() {
    let router = mini_router::start().await;
    let crew = crew(3).await;
    let plan = plan("rpc", router, "callers = 5\ncallees = 2\nwindow = 4\nsecs = 0.5");
    let run = coordinator::run(&plan, &crew).await.unwrap();
    assert_clean(&run);
    let sessions: Vec<_> = run.workers.iter().map(|worker| (worker.senders, worker.receivers)).collect();
    assert_eq!(sessions, [(2, 1), (2, 1), (1, 0)]);
    let history = &run.outcome.history;
    assert!(history.sent > 0 && history.sent == history.delivered && history.sent == history.answered);
    // A caller has its own clock, wherever the callee is.
    assert_eq!(run.latencies, run.outcome.operations);
    assert!(run.outcome.latency.p50_us > 0.0);
    assert!(run.workers.iter().all(|worker| worker.operations > 0), "{run}");
}

#[tokio::test]
async fn events_cross_between_workers_and_only_one_clock_takes_latencies() {
    let router = mini_router::start().await;
    let crew = crew(2).await;
    for more in ["", "acknowledge = true", "rate = 300.0"] {
        let sizes = "publishers = 3\nsubscribers = 5\nwindow = 4\nsecs = 0.5";
        let plan = plan("pubsub", router, &format!("{sizes}\n{more}"));
        let run = coordinator::run(&plan, &crew).await.unwrap();
        assert_clean(&run);
        assert_eq!(run.outcome.history.delivered, 5 * run.outcome.history.sent, "{run}");
        assert!(run.latencies > 0 && run.latencies < run.outcome.operations, "{run}");
        assert!(run.to_string().contains("began and ended at one worker"));
    }
}

#[tokio::test]
async fn a_rate_is_that_of_all_workers_together() {
    let router = mini_router::start().await;
    let crew = crew(2).await;
    let plan = plan("rpc", router, "callers = 4\nrate = 500.0\nsecs = 2.0");
    let run = coordinator::run(&plan, &crew).await.unwrap();
    assert_clean(&run);
    let calls = run.outcome.operations;
    assert!((900..=1100).contains(&calls), "{calls} calls in 2 s at 500/s");
}

/// Each kind of disturbance on the way to the receivers, who are at other workers than two thirds of the senders.
#[tokio::test]
async fn what_happens_between_two_workers_is_convicted() {
    let odds = |reorder, drop, double| Odds { reorder, drop, double };
    for odds in [odds(0.05, 0.0, 0.0), odds(0.0, 0.05, 0.0), odds(0.0, 0.0, 0.05)] {
        for scenario in ["rpc", "pubsub"] {
            let router = mini_router::start().await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let through = listener.local_addr().unwrap();
            tokio::spawn(Proxy::new(router, odds, 42).serve(listener));
            let sizes = match scenario {
                "rpc" => "callers = 4\ncallees = 3",
                _ => "publishers = 3\nsubscribers = 3\nrate = 500.0",
            };
            let plan = plan(scenario, through, &format!("{sizes}\nsecs = 0.4\ndrain = 0.5"));
            let run = coordinator::run(&plan, &crew(3).await).await.unwrap();
            let history = &run.outcome.history;
            let guilty = match (odds.reorder > 0.0, odds.drop > 0.0) {
                (true, _) => history.reordered,
                (_, true) => history.lost,
                _ => history.doubled,
            };
            assert!(guilty > 0 && !run.outcome.passed, "{scenario} {odds:?}: {history}");
            assert_eq!(
                history.violations(),
                guilty + history.unanswered,
                "{scenario} {odds:?}: {history}"
            );
        }
    }
}

#[tokio::test]
async fn a_lost_worker_is_named_and_the_others_are_free_again() {
    let router = mini_router::start().await;
    let (stays, _serving) = start(worker::Config::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dies = listener.local_addr().unwrap();
    // Aborting a task leaves the connections of a server open; a runtime takes everything with it.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let dying = std::thread::spawn(move || {
        let listener = listener.into_std().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            worker::serve(listener, worker::Config::default()).await.unwrap();
        });
        ended.recv().ok();
        runtime.shutdown_background();
    });
    let plan_of = |secs: &str| plan("rpc", router, &format!("callers = 4\ncallees = 2\nsecs = {secs}"));
    let both = workers(vec![stays.to_string(), dies.to_string()]);
    let long = plan_of("600.0");
    let running = tokio::spawn(async move { coordinator::run(&long, &both).await });
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!running.is_finished());

    let alone = workers(vec![stays.to_string()]);
    let busy = coordinator::run(&plan_of("0.2"), &alone).await.unwrap_err();
    assert!(format!("{busy:#}").contains("busy"), "{busy:#}");

    end.send(()).unwrap();
    dying.join().unwrap();
    let lost = tokio::time::timeout(Duration::from_secs(30), running)
        .await
        .expect("it gave up");
    let lost = format!("{:#}", lost.unwrap().unwrap_err());
    assert!(
        lost.contains(&format!("worker {dies} failed while sending: it was lost")),
        "{lost}"
    );
    // It takes a moment until the other has noticed.
    for _ in 0..500 {
        match coordinator::run(&plan_of("0.2"), &alone).await {
            Ok(run) => return assert_clean(&run),
            Err(error) => assert!(format!("{error:#}").contains("busy"), "{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the worker that was left is still busy");
}

#[tokio::test]
async fn a_worker_with_a_token_serves_those_who_know_it() {
    let router = mini_router::start().await;
    let config = worker::Config {
        token: Token::new("open-sesame"),
        once: true,
        ..worker::Config::default()
    };
    let (address, serving) = start(config).await;
    let plan = plan("rpc", router, "callers = 1\nsecs = 0.2");
    let mut crew = workers(vec![address.to_string()]);
    for (token, answer) in [(None, "wants a token"), (Token::new("guess"), "another token")] {
        crew.token = token;
        let error = format!("{:#}", coordinator::run(&plan, &crew).await.unwrap_err());
        assert!(error.contains(answer), "{error}");
    }
    crew.token = Token::new("open-sesame");
    assert_clean(&coordinator::run(&plan, &crew).await.unwrap());
    // It was to serve one run, and those refused were none.
    tokio::time::timeout(Duration::from_secs(15), serving)
        .await
        .expect("it ends")
        .unwrap();
    let anywhere = "0.0.0.0:1".parse().unwrap();
    assert!(worker::check_address(anywhere, &worker::Config::default()).is_err());
}

#[tokio::test]
async fn what_cannot_begin_is_said_in_time() {
    let router = mini_router::start().await;
    let plan = plan("rpc", router, "callers = 4\ncallees = 2\nsecs = 0.2");
    let mut crew = crew(2).await;
    crew.count = Some(3);
    let few = format!("{:#}", coordinator::run(&plan, &crew).await.unwrap_err());
    assert!(few.contains("2 workers instead of 3"), "{few}");

    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    (crew.count, crew.wait) = (None, Duration::ZERO);
    crew.names.push(nobody.to_string());
    let unreachable = format!("{:#}", coordinator::run(&plan, &crew).await.unwrap_err());
    assert!(unreachable.contains(&format!("worker {nobody}")), "{unreachable}");

    // Workers whose router is not there say so in words.
    crew.names.pop();
    let nowhere = format!("scenario = \"rpc\"\nurl = \"ws://{nobody}/ws\"");
    let refused = coordinator::run(&Plan::parse(&nowhere).unwrap(), &crew).await.unwrap_err();
    let refused = format!("{refused:#}");
    assert!(
        refused.contains("while connecting") && refused.contains("cannot bring up"),
        "{refused}"
    );
}
