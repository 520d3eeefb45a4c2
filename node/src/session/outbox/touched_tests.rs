use std::time::Duration;

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::{
    session::{limits::SessionLimits, outbox::WireFormat},
    transport::framing::Framing,
    wamp::{Message, PublicationId, RequestId, Serializer},
};

/// Outboxes with a socket each, filled with one message, and the peers' ends.
async fn filled(count: usize, touched: &mut Touched) -> Vec<(Arc<Outbox>, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = WireFormat {
        serializer: Serializer::Json,
        framing: Framing::RawSocket,
        message_bytes_max: 1 << 20,
    };
    let mut filled = Vec::new();
    for _ in 0..count {
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        socket.writable().await.unwrap();
        let outbox = Outbox::new(wire, &SessionLimits::default(), Some(Arc::new(socket)), Arc::default());
        outbox.push(
            &Message::Published {
                request: RequestId::new(1).unwrap(),
                publication: PublicationId::new(2).unwrap(),
            },
            touched,
        );
        filled.push((outbox, peer));
    }
    filled
}

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_outboxes_are_written_without_their_sessions_tasks() {
    let mut touched = Touched::new();
    let filled = filled(100, &mut touched).await;
    touched.flush();
    for (_outbox, mut peer) in filled {
        let mut frame = [0; 4 + "[17,1,2]".len()];
        timeout(SOON, peer.read_exact(&mut frame)).await.unwrap().unwrap();
        assert_eq!(&frame[4..], b"[17,1,2]");
    }
}

#[tokio::test]
async fn the_only_thread_of_a_runtime_wakes_their_tasks_instead() {
    let mut touched = Touched::new();
    let filled = filled(8, &mut touched).await;
    touched.flush();
    for (n, (outbox, _peer)) in filled.iter().enumerate() {
        let own = n < OWN_FLUSHES_MAX;
        assert_eq!(outbox.queued_bytes() == 0, own, "{n}");
        if !own {
            timeout(SOON, outbox.woken()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_task_does_not_come_to_write_is_woken() {
    let mut touched = Touched::new();
    let filled = filled(2, &mut touched).await;
    let outboxes = std::mem::take(&mut touched.outboxes);
    drop(Together(outboxes));
    for (outbox, _peer) in &filled {
        timeout(SOON, outbox.woken()).await.unwrap();
    }
}

#[test]
fn events_wait_for_those_of_the_same_batch_until_they_are_many() {
    let mut touched = Touched::new();
    touched.note_events(EVENTS_MAX - 1);
    touched.flush_many();
    assert_eq!(touched.events, EVENTS_MAX - 1);
    touched.note_events(1);
    touched.flush_many();
    assert_eq!(touched.events, 0);
}
