//! What one session may hold where that is less than what every session of its realm may.

use crate::{
    router::{
        Bounds,
        testing::{TestRealm, error_of},
    },
    wamp::Dict,
};

#[test]
fn a_session_with_bounds_of_its_own_is_held_to_them_and_no_other_is() {
    let realm = TestRealm::new();
    let bounded = realm.join_changed(|info| {
        info.bounds = Bounds {
            subscriptions: 1,
            registrations: 1,
            calls: 1,
        };
    });
    let other = realm.join();
    let add = other.registers("com.add");
    bounded.asks_to_subscribe("com.news");
    assert_eq!(error_of(&bounded.asks_to_subscribe("com.other").1), "wamp.error.unavailable");
    bounded.registers("com.a");
    let refused = bounded.asks_to_register("com.b", Dict::new()).1;
    assert_eq!(error_of(&refused), "wamp.error.unavailable");
    bounded.calls("com.add");
    assert_eq!(error_of(&bounded.calls("com.add").1), "wamp.error.unavailable");
    assert_eq!(realm.stats().over_limits, 3);
    other.yields(1);
    assert_eq!(bounded.calls("com.add").1, [other.gets_invocation(2, add)]);

    for topic in ["com.news", "com.other"] {
        other.asks_to_subscribe(topic);
    }
    other.calls("com.a");
    other.calls("com.a");
    assert_eq!(realm.stats().over_limits, 3);
}
