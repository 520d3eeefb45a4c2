//! The accepting end of a link: the gRPC service of both kinds of connections.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt, stream};
use ringfort_proto::cluster::v1::{
    self as pb,
    link_server::{self, LinkServer},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Links, Shared,
    control::ControlStream,
    hello::{self, Ends, Refusal, Speaker},
    lane::LaneStream,
    life::{self, Link, describe},
    pull,
};
use crate::cluster::net::{self, Bundle, Incoming, Kind, PeerIdentity};

/// Where the lanes of a link that is being accepted are handed in.
pub(super) type LaneSender = mpsc::Sender<(u32, LaneIn)>;

/// The incoming half of a lane, and the task its connection lives in.
pub(super) type LaneIn = (Streaming<pb::LinkBatch>, Bundle);

/// Serves links on one kind of connection.
#[derive(Clone)]
pub struct LinkService {
    shared: Arc<Shared>,
    kind: Kind,
}

impl Links {
    /// The service for control connections, for the control runtime's server.
    pub fn control_service(&self) -> LinkServer<LinkService> {
        self.service(Kind::Control)
    }

    /// Serves data connections until there are no more; each in a task of its own on the main runtime.
    pub async fn serve_lanes(self, mut connections: Incoming) {
        let service = self.service(Kind::Data);
        while let Some(connection) = connections.next().await {
            match connection {
                Ok(io) => net::serve_in(&Bundle::spawn(&self.0.data), io, service.clone()),
                Err(error) => tracing::warn!(%error, "data connection"),
            }
        }
    }

    fn service(&self, kind: Kind) -> LinkServer<LinkService> {
        LinkServer::new(LinkService {
            shared: self.0.clone(),
            kind,
        })
        .max_decoding_message_size(super::MESSAGE_BYTES_MAX)
    }
}

type Batches = Pin<Box<dyn Stream<Item = Result<pb::LinkBatch, Status>> + Send>>;

#[tonic::async_trait]
impl link_server::Link for LinkService {
    type OpenStream = Batches;
    type PullInterestStream = pull::Tables;

    async fn open(&self, request: Request<Streaming<pb::LinkBatch>>) -> Result<Response<Batches>, Status> {
        let peer = PeerIdentity::of(&request);
        let bundle = request.extensions().get::<Bundle>().cloned();
        let mut incoming = request.into_inner();
        let first = timeout(self.shared.config.handshake_within, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello"))??;
        let hello = first
            .and_then(|batch| batch.hello)
            .ok_or_else(|| Status::invalid_argument("the first batch holds no hello"))?;
        let opened = match self.kind {
            Kind::Control => self.open_control(&hello, &peer, incoming).await,
            Kind::Data => self.open_lane(&hello, &peer, incoming, bundle),
        };
        opened
            .map(Response::new)
            .map_err(|refusal| self.refuse(&hello, &peer, refusal))
    }

    async fn pull_interest(
        &self,
        request: Request<pb::PullInterestRequest>,
    ) -> Result<Response<Self::PullInterestStream>, Status> {
        pull::serve(&self.shared, &request.into_inner()).map(Response::new)
    }
}

impl LinkService {
    /// Both ends as far as the hello and the node table tell.
    fn ends(&self, hello: &pb::LinkHello, peer: &PeerIdentity) -> Result<Ends, Refusal> {
        let shared = &*self.shared;
        let identity = shared.peers.dialer().identity();
        let members = shared.members.lock();
        let me = members.me.ok_or_else(|| Refusal("this node has no slot yet".to_owned()))?;
        let known = (identity.cluster_id(), me, identity.name());
        let Speaker {
            me: you,
            my_name: your_name,
            ..
        } = hello::check_dialer(hello, peer, known, self.kind, shared.config.lanes)?;
        if members.peers.get(&you).is_none_or(|peer| peer.name != your_name) {
            return Err(Refusal(format!(
                "{} is not in the node table here",
                hello::said(you, &your_name)
            )));
        }
        Ok(Ends {
            cluster_id: identity.cluster_id().to_owned(),
            me,
            my_name: identity.name().to_owned(),
            you,
            your_name,
            lanes: shared.config.lanes,
            attempt: hello.attempt,
        })
    }

    async fn open_control(
        &self,
        hello: &pb::LinkHello,
        peer: &PeerIdentity,
        incoming: Streaming<pb::LinkBatch>,
    ) -> Result<Batches, Refusal> {
        let shared = &self.shared;
        let ends = self.ends(hello, peer)?;
        let link = Link::new(ends.me, ends.you, ends.your_name.clone(), ends.attempt, ends.lanes);
        let (lanes, arriving) = mpsc::channel(ends.lanes as usize);
        shared.claim(&link, Some(lanes)).await;
        shared.changed();
        shared.control.spawn(accept(shared.clone(), link.clone(), incoming, arriving));
        // The node table may have changed while an earlier link was ending; then nobody else would end this one.
        if let Err(refusal) = self.ends(hello, peer) {
            link.end(&refusal.0);
            return Err(refusal);
        }
        let stream = ControlStream::new(&link, shared.own.clone(), ends.hello(Kind::Control, 0));
        Ok(until_the_end(stream, link))
    }

    fn open_lane(
        &self,
        hello: &pb::LinkHello,
        peer: &PeerIdentity,
        incoming: Streaming<pb::LinkBatch>,
        bundle: Option<Bundle>,
    ) -> Result<Batches, Refusal> {
        let ends = self.ends(hello, peer)?;
        let bundle = bundle.ok_or_else(|| Refusal("this is no data connection".to_owned()))?;
        let no_control = || Refusal("no control stream of this attempt is open".to_owned());
        let claims = self.shared.claims.lock();
        let claim = claims
            .get(&ends.you)
            .filter(|claim| claim.link.attempt == ends.attempt)
            .ok_or_else(no_control)?;
        let (link, lanes) = (claim.link.clone(), claim.lanes.clone().ok_or_else(no_control)?);
        drop(claims);
        let lane = link.lanes.get(hello.lane as usize).ok_or_else(no_control)?.clone();
        lanes.try_send((hello.lane, (incoming, bundle))).map_err(|_| no_control())?;
        Ok(until_the_end(LaneStream::new(lane, ends.hello(Kind::Data, hello.lane)), link))
    }

    /// Tells the peer, and this node's log when the reason is a new one.
    fn refuse(&self, hello: &pb::LinkHello, peer: &PeerIdentity, refusal: Refusal) -> Status {
        let said = hello
            .me
            .as_ref()
            .map(|node| node.name.chars().take(64).collect())
            .unwrap_or_default();
        let name: String = peer.name.clone().unwrap_or(said);
        let mut refusals = self.shared.refusals.lock();
        if refusals.len() >= REFUSALS_KEPT {
            refusals.clear();
        }
        if refusals.insert(name.clone(), refusal.0.clone()).as_ref() != Some(&refusal.0) {
            tracing::warn!(peer = name, reason = refusal.0, "router link refused");
        }
        Status::failed_precondition(refusal.0)
    }
}

/// Waits for the lanes, then lives through the link.
async fn accept(
    shared: Arc<Shared>,
    link: Arc<Link>,
    mut control: Streaming<pb::LinkBatch>,
    mut arriving: mpsc::Receiver<(u32, LaneIn)>,
) {
    let deadline = Instant::now() + shared.config.handshake_within;
    let mut lanes: Vec<Option<LaneIn>> = link.lanes.iter().map(|_| None).collect();
    // The dialer may be a moment ahead: what it says after the last lane was answered is kept.
    let mut early = None;
    while lanes.iter().any(Option::is_none) {
        let arrived = tokio::select! {
            arrived = timeout_at(deadline, arriving.recv()) => match arrived {
                Ok(Some(arrived)) => Some(arrived),
                _ => {
                    link.end("its data lanes were not opened in time");
                    None
                }
            },
            said = control.message(), if early.is_none() => {
                match said {
                    Ok(Some(batch)) => early = Some(batch),
                    Ok(None) => link.end("the peer gave up"),
                    Err(status) => link.end(&describe(&status)),
                }
                None
            }
            _ = link.until_ended() => None,
        };
        if let Some((number, stream)) = arrived {
            match lanes.get_mut(number as usize) {
                Some(lane @ None) => *lane = Some(stream),
                _ => link.end("a lane was opened twice"),
            }
        }
        if let Some(reason) = link.ended() {
            shared.note_error(link.node, &reason);
            shared.release(&link);
            return;
        }
    }
    let lanes = lanes.into_iter().flatten().collect();
    let reason = life::live(shared.clone(), link.clone(), (early, control), lanes).await;
    shared.note_error(link.node, &reason);
    shared.release(&link);
}

/// A stream of batches that ends with the reason for which its link did.
fn until_the_end(batches: impl Stream<Item = pb::LinkBatch> + Send + 'static, link: Arc<Link>) -> Batches {
    let reason = stream::once(async move { Err(Status::aborted(link.ended().as_deref().unwrap_or("ended"))) });
    batches.map(Ok).chain(reason).boxed()
}

/// How many nodes the last refusal is kept of, so that it is logged once.
const REFUSALS_KEPT: usize = 256;
