//! The sessions of this node in a realm, counted by what their connections speak.

use std::{ops::Deref, sync::Arc};

use crate::{
    session::outbox::Outbox,
    transport::framing::Framing,
    wamp::{Serializer, SessionId, id::IdMap},
};

/// Session → outbox. Read like the map it is; entered and left by its own methods, which count.
#[derive(Debug, Default)]
pub(super) struct Present {
    outboxes: IdMap<SessionId, Arc<Outbox>>,
    counts: ByWire,
}

impl Deref for Present {
    type Target = IdMap<SessionId, Arc<Outbox>>;

    fn deref(&self) -> &Self::Target {
        &self.outboxes
    }
}

impl Present {
    pub(super) fn insert(&mut self, session: SessionId, outbox: Arc<Outbox>) {
        *self.counts.of(&outbox) += 1;
        if let Some(before) = self.outboxes.insert(session, outbox) {
            *self.counts.of(&before) -= 1;
        }
    }

    pub(super) fn remove(&mut self, session: &SessionId) -> Option<Arc<Outbox>> {
        let outbox = self.outboxes.remove(session)?;
        *self.counts.of(&outbox) -= 1;
        Some(outbox)
    }

    /// How many there are of each kind.
    pub(super) fn by_wire(&self) -> ByWire {
        self.counts
    }
}

/// How many sessions there are by transport, encryption and serializer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByWire([[[usize; SERIALIZERS.len()]; 2]; 2]);

const TRANSPORTS: [&str; 2] = ["websocket", "rawsocket"];
const TLS: [&str; 2] = ["no", "yes"];
const SERIALIZERS: [&str; 3] = ["json", "msgpack", "cbor"];

impl ByWire {
    fn of(&mut self, outbox: &Outbox) -> &mut usize {
        let wire = outbox.wire();
        let serializer = match wire.serializer {
            Serializer::Json => 0,
            Serializer::MsgPack => 1,
            Serializer::Cbor => 2,
        };
        &mut self.0[usize::from(wire.framing == Framing::RawSocket)][usize::from(outbox.is_tls())][serializer]
    }

    /// Transport (`websocket`, `rawsocket`), encryption (`no`, `yes`), serializer and how many sessions; all there are, none left out.
    pub fn iter(&self) -> impl Iterator<Item = ([&'static str; 3], usize)> {
        let transports = TRANSPORTS.into_iter().zip(self.0);
        let with_tls = transports
            .flat_map(|(transport, counts)| TLS.into_iter().zip(counts).map(move |(tls, counts)| (transport, tls, counts)));
        with_tls.flat_map(|(transport, tls, counts)| {
            let named = SERIALIZERS.into_iter().zip(counts);
            named.map(move |(serializer, count)| ([transport, tls, serializer], count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{limits::SessionLimits, outbox::WireFormat};

    fn outbox(serializer: Serializer, framing: Framing) -> Arc<Outbox> {
        let wire = WireFormat {
            serializer,
            framing,
            message_bytes_max: usize::MAX,
        };
        Outbox::new(wire, &SessionLimits::default(), None, Arc::default())
    }

    #[test]
    fn sessions_are_counted_by_what_they_speak_until_they_leave() {
        let mut present = Present::default();
        let ids: Vec<_> = (1..5).map(|id| SessionId::new(id).unwrap()).collect();
        present.insert(ids[0], outbox(Serializer::Json, Framing::WebSocketText));
        present.insert(ids[1], outbox(Serializer::Cbor, Framing::RawSocket));
        present.insert(ids[2], outbox(Serializer::Cbor, Framing::RawSocket));
        present.insert(ids[2], outbox(Serializer::MsgPack, Framing::WebSocketBinary));
        assert!(present.remove(&ids[3]).is_none());
        let counts = |present: &Present| -> Vec<_> { present.by_wire().iter().filter(|(_, count)| *count > 0).collect() };
        assert_eq!(
            counts(&present),
            [
                (["websocket", "yes", "json"], 1),
                (["websocket", "yes", "msgpack"], 1),
                (["rawsocket", "yes", "cbor"], 1)
            ]
        );
        for id in &ids[..3] {
            assert!(present.remove(id).is_some());
        }
        assert_eq!((counts(&present), present.by_wire().iter().count()), (vec![], 12));
    }
}
