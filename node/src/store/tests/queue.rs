//! The queue in front of a store.

use std::{sync::Arc, time::Duration};

use super::server::Server;
use crate::{
    store::{Bounds, Effort, Embedded, Error, LogName, QueueBounds, StoreHandle, Write},
    wamp::{
        Payload, PublicationId, Uri,
        history::{Filter, KeptEvent, Stamp},
    },
};

const BOUNDS: Bounds = Bounds {
    events_max: 1 << 40,
    bytes_max: 1 << 40,
    age_max: None,
};
const EFFORT: Effort = Effort {
    bytes_max: usize::MAX,
    scanned_max: usize::MAX,
};

fn log() -> Arc<LogName> {
    Arc::new(LogName {
        realm: Uri::from("realm1"),
        policy: "exact",
        uri: Uri::from("a"),
    })
}

fn append(n: u64) -> Write {
    let stamp = Stamp {
        time: n,
        publication: PublicationId::new(n).unwrap(),
    };
    let event = Arc::new(KeptEvent {
        stamp,
        topic: Uri::from("a"),
        audience: None,
        details: Default::default(),
        payload: Payload::EMPTY,
    });
    Write::Append {
        log: log(),
        bounds: BOUNDS,
        event,
    }
}

#[tokio::test]
async fn a_question_sees_what_was_written_before_it() {
    let handle = StoreHandle::start(Arc::new(Embedded::in_memory().unwrap()), QueueBounds::default());
    for n in 1..=1000 {
        assert!(handle.write(append(n)));
    }
    let found = handle.query(&log(), &Filter::all(2000), EFFORT).await.unwrap();
    assert_eq!(found.events.len(), 1000);
    assert_eq!(handle.stats().dropped, 0);
    // Group commit: what came while a batch was written is one batch.
    assert!(handle.stats().batches < 100, "{:?}", handle.stats());
}

#[tokio::test]
async fn what_finds_no_room_is_dropped_and_counted() {
    let bounds = QueueBounds {
        bytes_max: 2_000,
        ..QueueBounds::default()
    };
    let handle = StoreHandle::start(Arc::new(Embedded::in_memory().unwrap()), bounds);
    // Nothing runs on this thread's runtime between the writes, so nothing is taken out.
    let taken = (1..=100).filter(|n| handle.write(append(*n))).count() as u64;
    assert!(taken > 3 && taken < 50, "{taken}");
    assert!(handle.congestion().is_some());
    assert_eq!(handle.stats().dropped, 100 - taken);
    handle.flush().await.unwrap();
    assert_eq!(handle.congestion(), None);
    let found = handle.query(&log(), &Filter::all(2000), EFFORT).await.unwrap();
    assert_eq!(found.events.len() as u64, taken);
}

#[tokio::test]
async fn a_server_that_was_away_is_written_to_once_it_is_back() {
    let mut server = Server::start();
    let handle = StoreHandle::start(Arc::new(server.store()), QueueBounds::default());
    handle.write(append(1));
    handle.flush().await.unwrap();
    server.stop();
    handle.write(append(2));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while handle.stats().failed == 0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.start_again();
    let found = handle.query(&log(), &Filter::all(10), EFFORT).await;
    // The server came back empty; only what was written since is there.
    match found {
        Ok(found) => assert_eq!(found.events.iter().map(|e| e.stamp.time).collect::<Vec<_>>(), [2]),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_not_a_wait() {
    let mut server = Server::start();
    let store = server.store();
    server.stop();
    let answer = crate::store::Store::query(&store, &log(), &Filter::all(1), EFFORT).await;
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
}
