//! What a session announced, as far as the core asks for it.
//!
//! Spec: WAMP advanced profile, "Feature Announcement". Choice: the spelling `call_cancelling` that stands in one place of the text
//! counts as `call_canceling`.

/// A feature in a role of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ability {
    /// A caller may send the arguments of a call in parts.
    CallInParts,
    /// A caller can open payloads that only it can read.
    ReceiveSealedResults,
    /// A callee gives up an invocation when it is told to.
    GiveUp,
    /// A callee may send its result in parts.
    ResultInParts,
    /// A callee takes the arguments of an invocation in parts.
    InvokedInParts,
    /// A callee that says `wamp.error.unavailable` means that another one may be asked.
    PassOn,
    /// A callee wants to hear that it has lost a registration.
    LoseRegistrations,
    /// A callee keeps the time of its invocations itself.
    KeepTime,
    /// A callee can open payloads that only it can read.
    ReceiveSealedCalls,
    /// A publisher may publish payloads that only some can read.
    PublishSealed,
    /// A caller takes a payload that is no list of arguments, as older clients send it.
    OpaqueResults,
    /// A callee does.
    OpaqueCalls,
    /// A subscriber does.
    OpaqueEvents,
}

/// The features as HELLO names them.
const NAMES: [(&str, Ability); 14] = [
    ("caller.progressive_call_invocations", Ability::CallInParts),
    ("caller.payload_passthru_mode", Ability::ReceiveSealedResults),
    ("callee.call_canceling", Ability::GiveUp),
    ("callee.call_cancelling", Ability::GiveUp),
    ("callee.progressive_call_results", Ability::ResultInParts),
    ("callee.progressive_call_invocations", Ability::InvokedInParts),
    ("callee.call_reroute", Ability::PassOn),
    ("callee.registration_revocation", Ability::LoseRegistrations),
    ("callee.call_timeout", Ability::KeepTime),
    ("callee.payload_passthru_mode", Ability::ReceiveSealedCalls),
    ("publisher.payload_passthru_mode", Ability::PublishSealed),
    ("caller.payload_transparency", Ability::OpaqueResults),
    ("callee.payload_transparency", Ability::OpaqueCalls),
    ("subscriber.payload_transparency", Ability::OpaqueEvents),
];

/// The features of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Abilities(u16);

impl Abilities {
    /// Reads them from names such as `callee.call_canceling`.
    ///
    /// Spec: progressive results and progressive invocations of a callee count only together with call canceling. Clients that
    /// announce the former alone (autobahn-js) are believed where their listener says so: `lenient`.
    pub(super) fn from_features(features: &[String], lenient: bool) -> Self {
        let mut abilities = Self::default();
        for (name, ability) in NAMES {
            if features.iter().any(|feature| feature == name) {
                abilities.0 |= Self::bit(ability);
            }
        }
        if !abilities.has(Ability::GiveUp) {
            abilities.0 &= !Self::bit(Ability::InvokedInParts);
            if !lenient {
                abilities.0 &= !Self::bit(Ability::ResultInParts);
            }
        }
        abilities
    }

    pub(super) fn has(self, ability: Ability) -> bool {
        self.0 & Self::bit(ability) != 0
    }

    const fn bit(ability: Ability) -> u16 {
        1 << ability as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abilities(names: &[&str]) -> Abilities {
        judged(names, false)
    }

    fn judged(names: &[&str], lenient: bool) -> Abilities {
        Abilities::from_features(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), lenient)
    }

    #[test]
    fn every_name_stands_for_its_feature() {
        for (name, ability) in NAMES {
            assert!(abilities(&[name, "callee.call_canceling"]).has(ability), "{name}");
            assert!(!abilities(&["callee.no_such_feature"]).has(ability), "{name}");
        }
    }

    #[test]
    fn without_canceling_a_callee_has_no_progress_either_way() {
        let callee = abilities(&["callee.progressive_call_results", "callee.progressive_call_invocations"]);
        assert!(!callee.has(Ability::ResultInParts) && !callee.has(Ability::InvokedInParts));
        let callee = abilities(&["callee.call_cancelling", "callee.progressive_call_results"]);
        assert!(callee.has(Ability::ResultInParts) && !callee.has(Ability::InvokedInParts));
    }

    #[test]
    fn a_lenient_listener_takes_results_in_parts_from_callees_that_cannot_be_told_to_give_up() {
        let both = ["callee.progressive_call_results", "callee.progressive_call_invocations"];
        let callee = judged(&both, true);
        assert!(callee.has(Ability::ResultInParts) && !callee.has(Ability::InvokedInParts));
        assert!(!judged(&[], true).has(Ability::ResultInParts));
    }
}
