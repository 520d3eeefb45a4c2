//! The first message of each stream of a link: who speaks, to whom, and how.

use ringfort_proto::cluster::v1 as pb;

use super::convert;
use crate::{
    cluster::net::{Kind, PeerIdentity},
    router::NodeRef,
};

/// The version of the link protocol spoken here, and the oldest one understood. Version 1 had protobuf frames on its data lanes,
/// version 2 no frames for progress and interrupts, version 3 no payload in a refusal, on which a plain call relies.
const VERSION: u32 = 4;
const VERSION_MIN: u32 = 4;

/// Both ends of a link, as this node sees them.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) cluster_id: String,
    pub(super) me: NodeRef,
    pub(super) my_name: String,
    pub(super) you: NodeRef,
    pub(super) your_name: String,
    pub(super) lanes: u32,
    pub(super) attempt: u64,
}

impl Ends {
    /// What this node says on the control stream or on lane `lane`.
    pub(super) fn hello(&self, kind: Kind, lane: u32) -> pb::LinkHello {
        pb::LinkHello {
            version_min: VERSION_MIN,
            version_max: VERSION,
            cluster_id: self.cluster_id.clone(),
            me: Some(convert::node_out(self.me, &self.my_name)),
            you: Some(convert::node_out(self.you, &self.your_name)),
            kind: kind_out(kind).into(),
            lane,
            lanes: self.lanes,
            attempt: self.attempt,
        }
    }

    /// Checks the other end's answer to that.
    pub(super) fn check(&self, answer: &pb::LinkHello, kind: Kind, lane: u32) -> Result<(), Refusal> {
        let you = check_common(answer, &self.cluster_id, kind, self.lanes)?;
        if you.me != self.you || you.my_name != self.your_name {
            return Err(Refusal(format!(
                "{} answered in place of {}",
                you.said(),
                said(self.you, &self.your_name)
            )));
        }
        check_addressee(&you, self.me, &self.my_name)?;
        if answer.attempt != self.attempt || answer.lane != lane {
            return Err(Refusal("the answer belongs to another attempt or lane".to_owned()));
        }
        Ok(())
    }
}

/// Why a link is refused; goes to the peer and into both logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

/// Who said a hello, and to whom.
pub(super) struct Speaker {
    pub(super) me: NodeRef,
    pub(super) my_name: String,
    you: NodeRef,
    your_name: String,
}

impl Speaker {
    fn said(&self) -> String {
        said(self.me, &self.my_name)
    }
}

/// Checks a dialer's hello as far as it can be checked without the node table.
pub(super) fn check_dialer(
    hello: &pb::LinkHello,
    peer: &PeerIdentity,
    (cluster_id, me, my_name): (&str, NodeRef, &str),
    kind: Kind,
    lanes: u32,
) -> Result<Speaker, Refusal> {
    let speaker = check_common(hello, cluster_id, kind, lanes)?;
    if !peer.may_be(&speaker.my_name) {
        let proven = peer.name.as_deref().unwrap_or_default();
        return Err(Refusal(format!(
            "the certificate is for {proven}, the hello says {}",
            speaker.said()
        )));
    }
    check_addressee(&speaker, me, my_name)?;
    if speaker.me.slot >= me.slot {
        return Err(Refusal(format!(
            "{} may not dial slot {}: the lower slot dials",
            speaker.said(),
            me.slot.0
        )));
    }
    if hello.lane >= lanes {
        return Err(Refusal(format!("lane {} of {lanes}", hello.lane)));
    }
    Ok(speaker)
}

fn check_common(hello: &pb::LinkHello, cluster_id: &str, kind: Kind, lanes: u32) -> Result<Speaker, Refusal> {
    if hello.cluster_id != cluster_id {
        return Err(Refusal(format!(
            "cluster {:?} is not cluster {cluster_id:?}",
            short(&hello.cluster_id)
        )));
    }
    if hello.version_min > VERSION || hello.version_max < VERSION_MIN {
        let (min, max) = (hello.version_min, hello.version_max);
        return Err(Refusal(format!(
            "link versions {min} to {max} and {VERSION_MIN} to {VERSION} have none in common"
        )));
    }
    if hello.kind() != kind_out(kind) {
        return Err(Refusal(format!("a hello of kind {} on a {kind:?} connection", hello.kind)));
    }
    if hello.lanes != lanes {
        return Err(Refusal(format!(
            "{} lanes on one end, {lanes} on the other: set the same number on all nodes",
            hello.lanes
        )));
    }
    let node = |node: &Option<pb::LinkNode>| node.as_ref().and_then(|n| Some((convert::node_in(n)?, short(&n.name))));
    match (node(&hello.me), node(&hello.you)) {
        (Some((me, my_name)), Some((you, your_name))) => Ok(Speaker {
            me,
            my_name,
            you,
            your_name,
        }),
        _ => Err(Refusal("a hello without valid nodes".to_owned())),
    }
}

fn check_addressee(speaker: &Speaker, me: NodeRef, my_name: &str) -> Result<(), Refusal> {
    if speaker.you == me && speaker.your_name == my_name {
        return Ok(());
    }
    Err(Refusal(format!(
        "{} means {}, this is {}",
        speaker.said(),
        said(speaker.you, &speaker.your_name),
        said(me, my_name)
    )))
}

/// A node as errors name it.
pub(super) fn said(node: NodeRef, name: &str) -> String {
    format!("{name} (slot {} epoch {})", node.slot.0, node.epoch)
}

/// A peer's text, cut to what may stand in a log line.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn kind_out(kind: Kind) -> pb::StreamKind {
    match kind {
        Kind::Control => pb::StreamKind::Control,
        Kind::Data => pb::StreamKind::Data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Slot;

    fn node(slot: u16, epoch: u32) -> NodeRef {
        NodeRef { slot: Slot(slot), epoch }
    }

    fn ends() -> Ends {
        Ends {
            cluster_id: "c".into(),
            me: node(1, 5),
            my_name: "n1".into(),
            you: node(2, 6),
            your_name: "n2".into(),
            lanes: 1,
            attempt: 9,
        }
    }

    fn refused(change: impl FnOnce(&mut pb::LinkHello), peer: Option<&str>) -> Option<String> {
        let mut hello = ends().hello(Kind::Control, 0);
        change(&mut hello);
        let peer = PeerIdentity {
            name: peer.map(str::to_owned),
        };
        check_dialer(&hello, &peer, ("c", node(2, 6), "n2"), Kind::Control, 1)
            .err()
            .map(|refusal| refusal.0)
    }

    #[test]
    fn a_hello_between_the_right_ends_passes() {
        assert_eq!(refused(|_| (), None), None);
        assert_eq!(refused(|_| (), Some("n1")), None);
        assert_eq!(
            refused(|hello| hello.version_max = 7, None),
            None,
            "a newer peer that still speaks ours"
        );
    }

    #[test]
    fn every_mismatch_is_refused_with_its_reason() {
        let says = |found: Option<String>, part: &str| assert!(found.as_deref().is_some_and(|f| f.contains(part)), "{found:?}");
        says(refused(|_| (), Some("n3")), "certificate is for n3");
        says(
            refused(|hello| hello.cluster_id = "other".into(), None),
            "\"other\" is not cluster \"c\"",
        );
        says(
            refused(|hello| (hello.version_min, hello.version_max) = (5, 6), None),
            "versions 5 to 6 and 4 to 4 have none in common",
        );
        says(
            refused(|hello| (hello.version_min, hello.version_max) = (1, 1), None),
            "versions 1 to 1 and 4 to 4 have none in common",
        );
        says(refused(|hello| hello.kind = 2, None), "kind 2 on a Control");
        says(refused(|hello| hello.lanes = 4, None), "4 lanes on one end");
        says(refused(|hello| hello.lane = 1, None), "lane 1 of 1");
        says(refused(|hello| hello.me = None, None), "without valid nodes");
        says(
            refused(|hello| hello.you = Some(convert::node_out(node(2, 5), "n2")), None),
            "means n2 (slot 2 epoch 5)",
        );
        says(
            refused(|hello| hello.you = Some(convert::node_out(node(2, 6), "n4")), None),
            "means n4",
        );
        says(
            refused(|hello| hello.me = Some(convert::node_out(node(3, 1), "n3")), None),
            "the lower slot dials",
        );
    }

    #[test]
    fn the_answer_has_to_come_from_the_node_that_was_dialed() {
        let there = Ends {
            me: node(2, 6),
            my_name: "n2".into(),
            you: node(1, 5),
            your_name: "n1".into(),
            ..ends()
        };
        assert_eq!(ends().check(&there.hello(Kind::Data, 0), Kind::Data, 0), Ok(()));
        let newer = Ends {
            me: node(2, 7),
            ..there.clone()
        };
        assert!(ends().check(&newer.hello(Kind::Data, 0), Kind::Data, 0).is_err());
        let other = Ends { attempt: 10, ..there };
        assert!(ends().check(&other.hello(Kind::Data, 0), Kind::Data, 0).is_err());
    }
}
