//! Where nodes are, as the log says: for those that no configuration names, and those that have moved since it was written.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    machine::ClusterView,
    net::PeerChannels,
    roster::{Goal, Plan},
};

/// One that has left speaks for a moment longer, and would be learned anew.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// Keeps the addresses in step with the log, for as long as the node runs. What is known of a node that is gone is let go, by `forget`
/// too.
pub(super) async fn keep(mut view: watch::Receiver<ClusterView>, channels: PeerChannels, forget: impl Fn(&str)) {
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut gone: VecDeque<(Instant, String)> = VecDeque::new();
    loop {
        let now = places(&view.borrow_and_update());
        for (name, at) in &now {
            if told.get(name) != Some(at) {
                channels.addresses().learn(name, at);
            }
        }
        let left = told.keys().filter(|name| !now.contains_key(*name));
        gone.extend(left.map(|name| (Instant::now() + FORGET_AFTER, name.clone())));
        told = now;
        while gone.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            if let Some((_, name)) = gone.pop_front()
                && !told.contains_key(&name)
            {
                channels.forget(&name);
                forget(&name);
            }
        }
        let due = gone.front().map_or_else(|| Instant::now() + FORGET_AFTER, |(due, _)| *due);
        tokio::select! {
            changed = view.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

fn places(view: &ClusterView) -> BTreeMap<String, String> {
    // Of two rows of one name the live one, which comes later, is where the node is.
    let mut rows: Vec<_> = view
        .table
        .rows()
        .map(|(_, row)| row)
        .filter(|row| !row.address.is_empty())
        .collect();
    rows.sort_by_key(|row| row.live);
    let rows = rows
        .into_iter()
        .filter(|row| row.live || !view.roster.is_retired(row.raft_id))
        .map(|row| (row.name.clone(), row.address.clone()));
    let mut places: BTreeMap<String, String> = rows.collect();
    // It has no life yet, and the leader has to bring it the log.
    if let Some(Plan {
        name,
        goal: Goal::Add { address, .. },
        ..
    }) = view.roster.open()
        && !address.is_empty()
    {
        places.insert(name.clone(), address.clone());
    }
    places
}
