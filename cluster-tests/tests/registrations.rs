//! A procedure is registered once in the whole cluster, and found from everywhere the moment REGISTERED is out.

use ringfort_cluster_tests::{cluster::Demo, long, record_result};
use serde_json::json;

/// The nodes of the two rivals and of the caller who comes right after, by turns.
const TURNS: [(usize, usize, usize); 6] = [(1, 2, 3), (2, 3, 1), (3, 1, 2), (1, 2, 1), (2, 3, 3), (3, 1, 3)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_registrations_at_the_same_moment_exactly_one_wins_and_is_called_at_once() {
    let demo = Demo::start(240).await.expect("demo");
    let mut clients = Vec::new();
    for node in &demo.nodes {
        clients.push((node.join().await.expect("callee"), node.join().await.expect("caller")));
    }
    let rounds = if long() { 2_000 } else { 200 };
    let mut wins = [0_u32; 2];
    for round in 0..rounds {
        let (first, second, caller) = TURNS[round % TURNS.len()];
        let procedure = format!("test.race.p{round}");
        let rivals = [&clients[first - 1].0, &clients[second - 1].0];
        let (one, two) = tokio::join!(rivals[0].register(&procedure), rivals[1].register(&procedure));
        let (one, two) = (one.expect("answer"), two.expect("answer"));
        let (winner, mut registration, error) = match (one, two) {
            (Ok(registration), Err(error)) => (0, registration, error),
            (Err(error), Ok(registration)) => (1, registration, error),
            (one, two) => panic!("round {round}: {one:?} and {two:?}"),
        };
        wins[winner] += 1;
        assert_eq!(error.uri, "wamp.error.procedure_already_exists", "round {round}");

        // No pause: the call is on its way to another node as soon as REGISTERED has been read.
        let caller = &clients[caller - 1].1;
        let answer = caller.start_call(&procedure, &[json!(round)]).await.expect("call");
        let serve = async {
            let invocation = registration.invocations.recv().await.expect("invocation");
            assert_eq!(invocation.args, [json!(round)]);
            rivals[winner]
                .yields(invocation.request, &[json!(round), json!("done")])
                .await
                .expect("yield");
        };
        let (result, ()) = tokio::join!(answer.within(ringfort_cluster_tests::wamp::PATIENCE), async {
            tokio::select! {
                () = serve => {}
                () = tokio::time::sleep(ringfort_cluster_tests::wamp::PATIENCE) => {}
            }
        });
        assert_eq!(
            result.expect("final answer"),
            Ok(vec![json!(round), json!("done")]),
            "round {round}"
        );

        // Gone everywhere once UNREGISTERED is out, so that the loser could have it now.
        rivals[winner]
            .unregister(registration.id)
            .await
            .expect("answer")
            .expect("unregistered");
        let missing = caller
            .call(&procedure, &[])
            .await
            .expect("answer")
            .expect_err("an unregistered procedure");
        assert_eq!(missing.uri, "wamp.error.no_such_procedure", "round {round}");
        let again = rivals[1 - winner]
            .register(&procedure)
            .await
            .expect("answer")
            .expect("free again");
        rivals[1 - winner]
            .unregister(again.id)
            .await
            .expect("answer")
            .expect("unregistered");
    }
    record_result(
        "registrations",
        &format!("{rounds} races, one winner each ({} : {})", wins[0], wins[1]),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_leaves_or_breaks_off_frees_its_procedures() {
    let demo = Demo::start(120).await.expect("demo");
    let other = demo.node(3).join().await.expect("join");
    for round in 0..20 {
        let procedure = format!("test.leave.p{round}");
        let callee = demo.node(1).join().await.expect("join");
        let _registration = callee.register(&procedure).await.expect("answer").expect("registered");
        if round % 2 == 0 {
            // After the echo of GOODBYE the procedure is free on every node.
            callee.leave().await.expect("leave");
            let taken = other.register(&procedure).await.expect("answer");
            assert!(taken.is_ok(), "round {round}: {taken:?}");
        } else {
            drop(callee);
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(2);
            while other.register(&procedure).await.expect("answer").is_err() {
                assert!(tokio::time::Instant::now() < deadline, "round {round}: still registered");
            }
        }
    }
}
