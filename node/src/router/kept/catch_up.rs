//! How a node fills the gaps in the histories it keeps on its own.
//!
//! When a link comes up, each of its nodes asks the other for what was published since they last heard of each other, page by page. A
//! page may repeat what is there already, for a store takes an event once. The place of an event in a history does not depend on when it
//! came, so that a filled gap cannot be told from one that never was. Where a page is lost, because a lane or a store was
//! full, the rest of that gap stays until the next link.

use std::sync::Arc;

use super::{Keep, Keeper, Retained, rules::Copies, share};
use crate::{
    router::{Effect, MatchPolicy, NodeRef, PeerFrame, Realm, turn::Turn},
    wamp::{
        Dict, Uri, Value,
        history::{Filter, Found, KeptEvent},
        timestamp::Micros,
    },
};

/// A question to the store on behalf of another node; answered by one [`HistoryPage`].
#[derive(Clone, Debug, PartialEq)]
pub struct TellHistory {
    /// Who asks.
    pub to: NodeRef,
    /// Whose history it is: a place in [`crate::router::RealmConfig::kept`].
    pub rule: usize,
    /// Which events.
    pub filter: Filter,
}

/// What the store has to tell another node.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage {
    /// Who asked.
    pub to: NodeRef,
    /// Whose history it is.
    pub rule: usize,
    /// The events.
    pub found: Found,
}

impl Realm {
    /// Says when the newest event of each history was published that this node kept in an earlier life, in the order of
    /// [`crate::router::RealmConfig::kept`]; 0 where there is none.
    pub fn set_history_ends(&mut self, ends: Vec<Micros>) {
        self.keeper.ends = ends;
    }

    /// A link is up: its node is asked for what this one has missed.
    pub(in crate::router) fn ask_for_missed(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        let heard = self.keeper.heard_until.get(&node.slot).copied();
        let asks: Vec<Dict> = self
            .keeper
            .rules
            .histories()
            .filter(|(_, rule)| rule.history == Some(Copies::OnEachNode))
            .map(|(at, rule)| {
                let end = heard.unwrap_or_else(|| self.keeper.ends.get(at).copied().unwrap_or_default());
                ask(rule.policy, &rule.uri, end.saturating_sub(OVERLAP))
            })
            .collect();
        for what in asks {
            turn.forward(node, share::any_lane(), PeerFrame::Kept { what });
        }
    }

    /// A link ended: from now on something may be missed.
    pub(in crate::router) fn note_unlinked(&mut self, turn: &Turn<'_>, node: NodeRef) {
        let time = self.keeper.time(turn.now);
        self.keeper.heard_until.insert(node.slot, time);
    }

    /// Another node asks for a page, or sends one.
    pub(super) fn on_catch_up(&mut self, turn: &mut Turn<'_>, from: NodeRef, what: &Dict) {
        let Some((rule, policy, uri)) = self.keeper.named_history(what) else {
            return;
        };
        let time = |key: &str| {
            what.get(key)
                .and_then(Value::as_integer)
                .and_then(|time| Micros::try_from(time).ok())
        };
        if let Some(since) = time("since") {
            let filter = Filter {
                times: since..=Micros::MAX,
                ..Filter::all(PAGE_EVENTS)
            };
            let tell = TellHistory { to: from, rule, filter };
            turn.effects.push(Effect::TellHistory(Box::new(tell)));
            return;
        }
        for event in what.get("events").and_then(Value::as_list).unwrap_or_default() {
            let Some(event) = event
                .as_dict()
                .and_then(share::read)
                .and_then(|retained| retained.events.into_iter().next())
            else {
                self.stats.dropped_late_frames += 1;
                continue;
            };
            self.stats.events_caught_up += 1;
            let keep = Keep::Append {
                rules: vec![rule],
                event,
                own: false,
            };
            turn.effects.push(Effect::Keep(Box::new(keep)));
        }
        if let Some(next) = time("more_since") {
            let what = ask(policy, &uri, next);
            turn.forward(from, share::any_lane(), PeerFrame::Kept { what });
        }
    }

    /// The store has a page for another node.
    pub(in crate::router) fn on_history_page(&mut self, turn: &mut Turn<'_>, page: HistoryPage) {
        let HistoryPage { to, rule, found } = page;
        let Some(of) = self.keeper.rules.get(rule).filter(|_| self.peers.contains(&to)) else {
            return;
        };
        let mut what = name(of.policy, &of.uri);
        // The last one comes again: others may have the same time.
        if let Some(last) = found.events.last().filter(|_| found.cut && found.events.len() > 1) {
            what.set("more_since", last.stamp.time);
        }
        let event = |event: KeptEvent| {
            let topic = event.topic.clone();
            let events = vec![Arc::new(event)];
            let cleared = None;
            Value::Dict(share::write(&Retained { topic, cleared, events }))
        };
        what.set("events", found.events.into_iter().map(event).collect::<Vec<_>>());
        turn.forward(to, share::any_lane(), PeerFrame::Kept { what });
    }
}

impl Keeper {
    /// The history of this node's own that a frame is about.
    fn named_history(&self, what: &Dict) -> Option<(usize, MatchPolicy, Uri)> {
        let uri = what.text("history")?;
        let code = what.get("policy").and_then(Value::as_integer)?;
        let policy = MatchPolicy::from_code(u8::try_from(code).ok()?)?;
        let mut own = self
            .rules
            .histories()
            .filter(|(_, rule)| rule.history == Some(Copies::OnEachNode));
        let (at, rule) = own.find(|(_, rule)| rule.policy == policy && rule.uri.as_str() == uri)?;
        Some((at, policy, rule.uri.clone()))
    }
}

/// How the frames of a history begin.
fn name(policy: MatchPolicy, uri: &Uri) -> Dict {
    Dict::new()
        .with("history", uri.as_str())
        .with("policy", u64::from(policy.code()))
}

fn ask(policy: MatchPolicy, uri: &Uri, since: Micros) -> Dict {
    name(policy, uri).with("since", since)
}

/// Events in a page.
const PAGE_EVENTS: usize = 512;
/// How far before the moment at which a link ended, or this node, is asked for: what was on its way then, and clocks that differ.
const OVERLAP: Micros = 30_000_000;
