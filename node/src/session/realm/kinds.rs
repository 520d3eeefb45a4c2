//! What inputs and effects are, as far as the shell treats some of them differently.

use crate::{
    router::{
        Effect, Input, PeerFrame,
        frame::{FloodSource, PlainFrame},
    },
    wamp::{Message, SessionId, SubscriptionId},
};

/// The subscription of a session that an input ends, other than by the session's own UNSUBSCRIBE.
pub(super) fn revoked_by(input: &Input) -> Option<(SessionId, SubscriptionId)> {
    match input {
        Input::RevokeSubscription {
            session, subscription, ..
        }
        | Input::Peer {
            frame: PeerFrame::RevokeSubscription {
                session, subscription, ..
            },
            ..
        } => Some((*session, *subscription)),
        _ => None,
    }
}

/// True for inputs whose handling asks for the lease.
pub(super) fn may_invoke(input: &Input) -> bool {
    match input {
        // The end of one call may let those go on that waited behind it; an ERROR of a callee may send the call to another one.
        Input::Message { message, .. } => {
            matches!(message, Message::Call { .. } | Message::Cancel { .. } | Message::Error { .. })
        }
        Input::Ask(_) => true,
        Input::Peer { frame, .. } => matches!(
            frame,
            PeerFrame::Invoke { .. } | PeerFrame::Nack { .. } | PeerFrame::Forget { .. } | PeerFrame::Interrupt { .. }
        ),
        _ => false,
    }
}

/// Who on another node fills outboxes here by this input.
pub(super) fn flood_source(input: &Input) -> Option<FloodSource> {
    match input {
        Input::Peer { frame, .. } => match frame {
            PeerFrame::Event { publisher, .. } => Some(FloodSource::Publisher(*publisher)),
            PeerFrame::Invoke { call, .. } | PeerFrame::Chunk { call, .. } => Some(FloodSource::Call(*call)),
            PeerFrame::Progress { call, .. } => Some(FloodSource::Answer(*call)),
            _ => None,
        },
        _ => None,
    }
}

/// The same of a plain frame.
pub(super) fn flood_source_of(frame: PlainFrame) -> Option<FloodSource> {
    match frame {
        PlainFrame::Invoke { call, .. } => Some(FloodSource::Call(call)),
        PlainFrame::Result { .. } => None,
    }
}

/// True for effects whose order matters to the cluster.
pub(super) fn is_for_the_cluster(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Propose { .. } | Effect::Barrier | Effect::Interest { .. } | Effect::Forward { .. }
    )
}
