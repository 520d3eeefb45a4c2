//! The dialing end of a link.

use std::sync::Arc;

use ringfort_proto::cluster::v1::{self as pb, link_client::LinkClient};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{Streaming, transport::Channel};

use super::{
    Shared,
    accept::LaneIn,
    backoff::Backoff,
    control::ControlStream,
    hello::{Ends, said},
    lane::LaneStream,
    life::{self, Link, describe},
};
use crate::{
    cluster::net::{Kind, explain},
    router::NodeRef,
};

/// Links to `node` again and again until `stopped` says so. Runs on the control runtime.
pub(super) async fn keep_linked(
    shared: Arc<Shared>,
    me: NodeRef,
    node: NodeRef,
    name: String,
    seed: u64,
    mut stopped: watch::Receiver<()>,
) {
    let (first, max) = shared.config.backoff;
    let mut backoff = Backoff::new(first, max, seed);
    let mut attempt = seed;
    loop {
        attempt = attempt.wrapping_add(1);
        let identity = shared.peers.dialer().identity();
        let ends = Ends {
            cluster_id: identity.cluster_id().to_owned(),
            me,
            my_name: identity.name().to_owned(),
            you: node,
            your_name: name.clone(),
            lanes: shared.config.lanes,
            attempt,
        };
        let link = Link::new(me, node, name.clone(), attempt, shared.config.lanes);
        shared.claim(&link, None).await;
        shared.changed();
        let opened = tokio::select! {
            opened = timeout(shared.config.handshake_within, open(&shared, &link, &ends)) => {
                opened.unwrap_or_else(|_| Err(format!("the handshake took longer than {:?}", shared.config.handshake_within)))
            }
            reason = link.until_ended() => Err(reason.to_string()),
            // Nothing is ever sent: this is the end of the sender, and with it of the membership.
            _ = stopped.changed() => {
                link.end("no longer a member");
                shared.release(&link);
                return;
            }
        };
        let reason = match opened {
            Ok(streams) => {
                let since = Instant::now();
                let reason = life::live(shared.clone(), link.clone(), (None, streams.control), streams.lanes).await;
                drop(streams.channels);
                // One that breaks as soon as it is up is no better than one that never comes up.
                if since.elapsed() > max {
                    backoff.reset();
                }
                shared.note_error(node, &reason);
                reason.to_string()
            }
            Err(reason) => {
                if shared.note_error(node, &reason) {
                    tracing::warn!(peer = said(node, &name), reason, "cannot link to a node; trying again");
                }
                reason
            }
        };
        link.end(&reason);
        shared.release(&link);
        tokio::select! {
            () = sleep(backoff.next_delay()) => {}
            _ = stopped.changed() => return,
        }
    }
}

/// A link all of whose streams are open.
struct Opened {
    control: Streaming<pb::LinkBatch>,
    lanes: Vec<LaneIn>,
    /// Each is one connection, which ends when its channel is dropped.
    channels: Vec<Channel>,
}

async fn open(shared: &Arc<Shared>, link: &Arc<Link>, ends: &Ends) -> Result<Opened, String> {
    let dialer = shared.peers.dialer();
    let channel = dialer
        .connect(&link.name, Kind::Control, &shared.control)
        .await
        .map_err(|error| explain(&error))?;
    let mut channels = vec![channel.clone()];
    let stream = ControlStream::new(link, shared.own.clone(), ends.hello(Kind::Control, 0));
    let mut control = client(channel)
        .open(stream)
        .await
        .map_err(|status| describe(&status))?
        .into_inner();
    answer(&mut control, ends, Kind::Control, 0).await?;

    let mut lanes = Vec::new();
    for (number, lane) in (0..).zip(&link.lanes) {
        let (channel, bundle) = dialer
            .connect_bundled(&link.name, Kind::Data, &shared.data)
            .await
            .map_err(|error| explain(&error))?;
        channels.push(channel.clone());
        let stream = LaneStream::new(lane.clone(), ends.hello(Kind::Data, number));
        let mut incoming = client(channel)
            .open(stream)
            .await
            .map_err(|status| describe(&status))?
            .into_inner();
        answer(&mut incoming, ends, Kind::Data, number).await?;
        lanes.push((incoming, bundle));
    }
    Ok(Opened {
        control,
        lanes,
        channels,
    })
}

/// Reads and checks the other end's hello.
async fn answer(stream: &mut Streaming<pb::LinkBatch>, ends: &Ends, kind: Kind, lane: u32) -> Result<(), String> {
    let batch = stream.message().await.map_err(|status| describe(&status))?;
    let hello = batch
        .and_then(|batch| batch.hello)
        .ok_or("the peer did not answer the hello")?;
    ends.check(&hello, kind, lane).map_err(|refusal| refusal.to_string())
}

fn client(channel: Channel) -> LinkClient<Channel> {
    LinkClient::new(channel).max_decoding_message_size(super::MESSAGE_BYTES_MAX)
}
