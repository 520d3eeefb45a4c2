//! Random events and filters.

use bytes::Bytes;
use proptest::{option, prelude::*};

use crate::wamp::{
    Dict, Payload, PublicationId, Serializer, Uri, Value,
    history::{Asker, Audience, Filter, KeptEvent, Stamp},
};

/// An event of a few topics, with any stamp.
pub(crate) fn event() -> impl Strategy<Value = KeptEvent> {
    let payload = prop_oneof![
        2 => Just(Payload::EMPTY),
        5 => "[a-z]{0,20}".prop_map(|text| Payload::from_values(Serializer::Json, &[Value::from(text)], &Dict::new())),
        2 => any::<u64>().prop_map(|n| Payload::from_values(Serializer::MsgPack, &[Value::from(n)], &Dict::new().with("n", n))),
        1 => Just(Payload::from_proven(Serializer::Json, 1, Bytes::from_static(b"[1,2]"))),
    ];
    let details = prop_oneof![
        3 => Just(Dict::new()),
        1 => any::<u32>().prop_map(|id| Dict::new().with("publisher", u64::from(id)).with("publisher_authid", "alice")),
    ];
    (
        any::<u64>(),
        1u64..=1 << 53,
        topic(),
        option::weighted(0.3, audience()),
        details,
        payload,
    )
        .prop_map(|(time, publication, topic, audience, details, payload)| KeptEvent {
            stamp: Stamp {
                time: time >> 12,
                publication: PublicationId::new(publication).unwrap(),
            },
            topic,
            audience: audience.map(Box::new),
            details,
            payload,
        })
}

pub(crate) fn topic() -> impl Strategy<Value = Uri> {
    prop_oneof![Just("a.b"), Just("a.c"), Just("a.d.e")].prop_map(Uri::from)
}

fn audience() -> impl Strategy<Value = Audience> {
    let names = || proptest::collection::vec(prop_oneof![Just("alice"), Just("bob")].prop_map(str::to_owned), 0..2);
    let eligible = || option::weighted(0.5, names());
    (eligible(), eligible(), names(), names()).prop_map(
        |(eligible_authid, eligible_authrole, exclude_authid, exclude_authrole)| Audience {
            eligible_authid,
            eligible_authrole,
            exclude_authid,
            exclude_authrole,
        },
    )
}

/// A filter on a history whose times lie in 0..`times`, with publications 1..`publications`, some of which may not be there.
pub(crate) fn filter(times: u64, publications: u64) -> impl Strategy<Value = Filter> {
    let publication = move || option::weighted(0.15, (1..publications).prop_map(|raw| PublicationId::new(raw).unwrap()));
    let asker = option::weighted(0.5, prop_oneof![Just("alice"), Just("bob"), Just("carol")]);
    let asker = asker.prop_map(|name| {
        name.map(|name| Asker {
            authid: name.to_owned(),
            authrole: name.to_owned(),
        })
    });
    (
        any::<bool>(),
        prop_oneof![1usize..8, Just(1000)],
        (0..times, prop_oneof![0..times, Just(u64::MAX)]),
        option::weighted(0.4, topic()),
        (publication(), publication(), publication(), publication()),
        asker,
    )
        .prop_map(|(reverse, limit, (from, until), topic, places, asker)| Filter {
            reverse,
            limit,
            times: from..=until,
            topic,
            from_publication: places.0,
            after_publication: places.1,
            before_publication: places.2,
            until_publication: places.3,
            asker,
        })
}
