//! Peers that are not what they say, or say what no node says.

use ringfort_proto::cluster::v1 as pb;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_the_protocol_loses_its_link() {
    // A peer of our own making: it greets as it should, then says what no node says.
    struct Liar(watch::Sender<Vec<pb::LinkBatch>>);
    #[tonic::async_trait]
    impl pb::link_server::Link for Liar {
        type OpenStream = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<pb::LinkBatch, tonic::Status>> + Send>>;
        type PullInterestStream = tokio_stream::Empty<Result<pb::InterestTable, tonic::Status>>;

        async fn open(
            &self,
            request: tonic::Request<tonic::Streaming<pb::LinkBatch>>,
        ) -> Result<tonic::Response<Self::OpenStream>, tonic::Status> {
            let mut incoming = request.into_inner();
            let hello = incoming.message().await?.unwrap().hello.unwrap();
            let (me, you) = (hello.you.clone(), hello.me.clone());
            let lies = if hello.kind() == pb::StreamKind::Data {
                self.0.borrow().clone()
            } else {
                Vec::new()
            };
            let mut said = vec![Ok(pb::LinkBatch {
                hello: Some(pb::LinkHello { me, you, ..hello }),
                ..Default::default()
            })];
            said.extend(lies.into_iter().map(Ok));
            let hold = async_stream_of(incoming);
            Ok(tonic::Response::new(Box::pin(futures_util::StreamExt::chain(
                futures_util::stream::iter(said),
                hold,
            ))))
        }

        async fn pull_interest(
            &self,
            _: tonic::Request<pb::PullInterestRequest>,
        ) -> Result<tonic::Response<Self::PullInterestStream>, tonic::Status> {
            Ok(tonic::Response::new(tokio_stream::empty()))
        }
    }
    /// Says nothing, for as long as the other end listens.
    fn async_stream_of(
        incoming: tonic::Streaming<pb::LinkBatch>,
    ) -> impl futures_util::Stream<Item = Result<pb::LinkBatch, tonic::Status>> {
        futures_util::stream::unfold(incoming, |mut incoming| async move {
            while let Ok(Some(_)) = incoming.message().await {}
            None
        })
    }

    let lies = watch::Sender::new(Vec::new());
    let (control, data) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), lies.clone());
    let address = control.local_addr().unwrap();
    // Without an acceptor the four bytes would be taken for HTTP; read them off.
    let incoming = futures_util::StreamExt::then(TcpListenerStream::new(control), |stream| async {
        let mut stream = stream?;
        stream.read_exact(&mut [0; 4]).await?;
        Ok::<_, std::io::Error>(stream)
    });
    let service = pb::link_server::LinkServer::new(Liar(data));
    let server = tokio::spawn(net::server().add_service(service).serve_with_incoming(incoming)).abort_handle();
    let one = Node::start(1, quick()).await;
    one.addresses.learn("n2", &address.to_string());

    let nack = || {
        let mut packed = Vec::new();
        frame::write(Some(&"realm1".into()), &nack_frame(), &mut packed).finish(&mut packed);
        packed
    };
    let batch = |first_seq, packed: Vec<u8>| pb::LinkBatch {
        first_seq,
        count: u32::from(!packed.is_empty()),
        packed: packed.into(),
        ..Default::default()
    };
    // An invocation whose registration is 0, and a frame of a kind that is not known.
    let bad_id = b"\x0a\0\0\0\x81\x06realm1\x01\0".to_vec();
    let unknown = vec![1, 0, 0, 0, 31];
    let uncounted = pb::LinkBatch {
        count: 2,
        ..batch(1, nack())
    };
    for (said, reason) in [
        (vec![batch(2, nack())], "frame 2 follows frame 0"),
        (vec![batch(1, nack()), batch(1, nack())], "frame 1 follows frame 1"),
        (vec![batch(1, bad_id)], "registration is not an id"),
        (vec![batch(1, nack()[..7].to_vec())], "a frame ends before its last field"),
        (vec![uncounted], "a batch of 2 frames holds 1"),
        (
            vec![batch(1, unknown), batch(2, nack()), batch(4, vec![])],
            "not acknowledged",
        ),
    ] {
        lies.send_replace(said);
        one.links.set_members(one.me, vec![member(2, 1)]);
        until(reason, || one.last_error().contains(reason)).await;
        one.links.stop();
    }
    let heard = one.seen.count(&Noted::Frame(life(2, 1), nack_frame()));
    assert!(
        heard >= 2,
        "frames before the fault, and those after an unknown one, are delivered"
    );
    server.abort();
}

#[test]
fn links_work_over_tls_with_control_and_data_on_their_own_runtimes() {
    let authority = net::tests::Authority::new();
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let data = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    data.block_on(async {
        let start = async |slot: u16| {
            let identity = Identity::new("test", format!("n{slot}")).unwrap();
            let security = Security::Tls(authority.tls(&identity));
            Node::start_as(
                slot,
                quick(),
                identity,
                security,
                control.handle().clone(),
                data.handle().clone(),
            )
            .await
        };
        let (one, two) = (start(1).await, start(2).await);
        one.knows(&[&two]);
        two.knows(&[&one]);
        synced(&[&one, &two]).await;
        assert!(one.sends(&two, 1, result(1, 300_000)));
        one.links.flush();
        two.seen
            .until("the frame", |seen| seen.contains(&Noted::Frame(one.me, result(1, 300_000))))
            .await;
        two.wants("com.a", 1);
        two.seen.until("the ticket", |seen| seen.contains(&Noted::Acked(1))).await;

        // A node with a good certificate for one name cannot take the slot of another.
        let liar = Identity::new("test", "n3").unwrap();
        let peers = PeerChannels::new(
            Dialer::new(liar.clone(), Security::Tls(authority.tls(&liar)), one.addresses.clone()),
            control.handle().clone(),
        );
        let mut client = pb::link_client::LinkClient::new(peers.channel("n2").unwrap());
        let ends = hello::Ends {
            cluster_id: "test".into(),
            me: one.me,
            my_name: "n1".into(),
            you: two.me,
            your_name: "n2".into(),
            lanes: 1,
            attempt: 1,
        };
        let said = pb::LinkBatch {
            hello: Some(ends.hello(Kind::Control, 0)),
            ..Default::default()
        };
        let refused = client.open(tokio_stream::once(said)).await.unwrap_err();
        assert!(refused.message().contains("certificate is for n3"), "{refused}");
    });
    data.shutdown_timeout(Duration::from_millis(100));
    control.shutdown_timeout(Duration::from_millis(100));
}

fn nack_frame() -> PeerFrame {
    PeerFrame::Nack {
        call: CallId(1),
        callee: SessionId::new(7).unwrap(),
        why: Refusal::Stale,
        payload: Payload::EMPTY,
    }
}
