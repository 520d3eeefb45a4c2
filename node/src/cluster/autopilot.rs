//! What the leader does with the open plan of the [`super::roster`]: one change of the membership after the other, each only when it is
//! safe.
//!
//! - A new disk learns first. It gets its vote once its log has kept up for [`STABLE_FOR`], and in the same change the disk that it
//!   replaces loses its own.
//! - A disk that is to go becomes a learner, so that it hears from the log that it was retired. Then it ends its sessions and its life
//!   by itself; only after that, or after [`GOODBYE_WITHIN`], it is dropped.
//! - No change is made after which fewer than a majority of the voters would be heard of.
//!
//! [`next`] decides and is pure; [`run`] looks, acts and looks again, on the leader only. Everything it knows between two looks is how
//! long the newcomer has kept up: another leader loses a few seconds by starting anew.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    command::{Command, Outcome},
    consensus::{ChangeError, Consensus, Member, Progress},
    machine::ClusterView,
    roster::{Goal, Plan, Roster, Step},
};

/// A newcomer that is at most so many entries behind keeps up.
const LAG_MAX: u64 = 500;
/// For how long it has to.
const STABLE_FOR: Duration = Duration::from_secs(2);
/// A member that has not answered for this long counts as lost.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// How long a retired disk may take to end its sessions.
const GOODBYE_WITHIN: Duration = Duration::from_secs(20);
/// More voters only slow every write down.
const VOTERS_MAX: usize = 7;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the leader sees.
struct Sight<'a> {
    plan: &'a Plan,
    roster: &'a Roster,
    members: &'a [Member],
    progress: &'a Progress,
    /// The end of the leader's log.
    last: u64,
    /// The leader's own id.
    me: u64,
    /// Disks that have a life.
    live: &'a BTreeSet<u64>,
    /// For how long the newcomer has kept up.
    kept_up: Duration,
    /// For how long there has been nothing to do but wait for a retired disk.
    waited: Duration,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    /// Nothing yet, for this reason.
    Wait(String),
    /// Let this disk follow the log.
    Learn(u64, String),
    /// Change who votes.
    Vote { add: BTreeSet<u64>, remove: BTreeSet<u64> },
    /// Have another node lead.
    StepDown,
    /// Say in the log that this disk is removed for good.
    Retire(u64, String),
    /// Drop this learner.
    Drop(u64),
    /// The plan is over.
    Close(Option<String>),
}

impl Sight<'_> {
    fn keeps_up(&self, id: u64) -> bool {
        // The log of one that is gone is as long as that of the leader for as long as nothing is added.
        let matched = self.progress.matched.get(&id).filter(|_| self.hears(id));
        matched.is_some_and(|matched| self.last.saturating_sub(*matched) <= LAG_MAX)
    }

    fn hears(&self, id: u64) -> bool {
        id == self.me || self.progress.heard.get(&id).is_some_and(|age| *age < HEARD_WITHIN)
    }

    fn names(&self, ids: &BTreeSet<u64>) -> String {
        let mut names: Vec<&str> = self
            .members
            .iter()
            .filter(|member| ids.contains(&member.id))
            .map(|member| member.name.as_str())
            .collect();
        names.sort_unstable();
        names.join(", ")
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.members
            .iter()
            .filter(|member| member.voter)
            .map(|member| member.id)
            .collect()
    }

    /// Why these could not decide anything by themselves.
    fn lacks_majority(&self, voters: &BTreeSet<u64>) -> Option<String> {
        let heard: BTreeSet<u64> = voters.iter().copied().filter(|id| self.hears(*id)).collect();
        let needed = voters.len() / 2 + 1;
        (heard.len() < needed).then(|| {
            format!(
                "of {} only {} would answer, and {needed} are needed",
                self.names(voters),
                if heard.is_empty() {
                    "none".to_owned()
                } else {
                    self.names(&heard)
                },
            )
        })
    }

    /// The last steps of disks that have no vote any more.
    fn see_off(&self, gone: &[&Member]) -> Option<Act> {
        for member in gone {
            if !self.roster.is_retired(member.id) {
                return Some(Act::Retire(member.id, member.name.clone()));
            }
        }
        let member = gone.first()?;
        if self.live.contains(&member.id) && self.hears(member.id) && self.waited < GOODBYE_WITHIN {
            return Some(Act::Wait(format!("{} ends its sessions", member.name)));
        }
        Some(Act::Drop(member.id))
    }
}

/// The next thing to do for the open plan.
fn next(sight: &Sight<'_>) -> Act {
    match &sight.plan.goal {
        Goal::Add { raft_id, replaces, .. } => add(sight, *raft_id, replaces.as_deref()),
        Goal::Remove { only, withdrew } => remove(sight, *only, *withdrew),
    }
}

fn add(sight: &Sight<'_>, raft_id: u64, replaces: Option<&str>) -> Act {
    let name = &sight.plan.name;
    let replaced: Vec<&Member> = sight
        .members
        .iter()
        .filter(|member| member.id != raft_id && Some(member.name.as_str()) == replaces)
        .collect();
    let old: BTreeSet<u64> = replaced.iter().map(|member| member.id).collect();
    let voters = sight.voters();
    let me = sight.members.iter().find(|member| member.id == raft_id);
    let voted = || Act::Vote {
        add: BTreeSet::from([raft_id]),
        remove: old.clone(),
    };
    match me {
        None => {
            if let Some(of) = replaces
                && replaced.is_empty()
            {
                return Act::Close(Some(format!("there is no core node {of} that {name} could replace")));
            }
            if sight
                .members
                .iter()
                .any(|member| member.name == *name && !old.contains(&member.id))
            {
                return Act::Close(Some(format!(
                    "{name} is a core node with another disk: if that disk is lost, run ringfort admin add-node {name} --replaces {name}"
                )));
            }
            if voters.len() >= VOTERS_MAX && old.is_empty() {
                return Act::Close(Some(format!("there are {VOTERS_MAX} voters already: remove one first")));
            }
            Act::Learn(raft_id, name.clone())
        }
        // Half done by an earlier leader.
        Some(member) if sight.progress.joint && member.voter => voted(),
        Some(member) if !member.voter => {
            if !sight.keeps_up(raft_id) {
                return Act::Wait(format!("{name} catches up with the log"));
            }
            if sight.kept_up < STABLE_FOR {
                return Act::Wait(format!("{name} has caught up and has to keep up for a moment"));
            }
            let new: BTreeSet<u64> = voters
                .iter()
                .copied()
                .filter(|id| !old.contains(id))
                .chain([raft_id])
                .collect();
            if let Some(why) = sight.lacks_majority(&new) {
                return Act::Wait(format!("{name} gets no vote yet: {why}"));
            }
            if old.contains(&sight.me) {
                return Act::StepDown;
            }
            voted()
        }
        Some(_) => match sight.see_off(&replaced) {
            Some(act) => act,
            None => Act::Close(None),
        },
    }
}

fn remove(sight: &Sight<'_>, only: Option<u64>, withdrew: bool) -> Act {
    let name = &sight.plan.name;
    let going: Vec<&Member> = sight
        .members
        .iter()
        .filter(|member| match only {
            Some(only) => member.id == only,
            None => member.name == *name,
        })
        .collect();
    if going.is_empty() {
        let known = only.is_some() || withdrew || sight.roster.has_retired(sight.plan.id);
        return Act::Close((!known).then(|| {
            let all = sight.members.iter().map(|member| member.id).collect();
            format!("there is no core node {name}; there are {}", sight.names(&all))
        }));
    }
    let voting: BTreeSet<u64> = going.iter().filter(|member| member.voter).map(|member| member.id).collect();
    let act = Act::Vote {
        add: BTreeSet::new(),
        remove: going.iter().map(|member| member.id).collect(),
    };
    if sight.progress.joint {
        return act;
    }
    if voting.is_empty() {
        return sight
            .see_off(&going)
            .unwrap_or_else(|| Act::Wait("nobody is left to be seen off".to_owned()));
    }
    let rest: BTreeSet<u64> = sight.voters().difference(&voting).copied().collect();
    if rest.is_empty() {
        return Act::Close(Some(format!(
            "{name} is the only voter left, the cluster would be gone without it"
        )));
    }
    if let Some(why) = sight.lacks_majority(&rest) {
        return Act::Close(Some(format!(
            "without {name} the cluster would lose its quorum: {why}; bring the lost nodes back, or remove or replace them first"
        )));
    }
    if voting.contains(&sight.me) {
        return Act::StepDown;
    }
    act
}

/// Carries open plans out while this node leads. Runs until the node stops.
pub async fn run(me: u64, consensus: Consensus, view: watch::Receiver<ClusterView>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut keeping_up, mut waiting): (Option<Instant>, Option<Instant>) = (None, None);
    let mut said = String::new();
    loop {
        tick.tick().await;
        let Some(progress) = consensus.progress().filter(|_| consensus.leadership().borrow().is_me) else {
            (keeping_up, waiting) = (None, None);
            continue;
        };
        let (roster, table) = {
            let view = view.borrow();
            (view.roster.clone(), view.table.clone())
        };
        let Some(plan) = roster.open() else {
            (keeping_up, waiting) = (None, None);
            continue;
        };
        let members = consensus.members();
        let live: BTreeSet<u64> = table.live().map(|(_, row)| row.raft_id).collect();
        let mut sight = Sight {
            plan,
            roster: &roster,
            members: &members,
            progress: &progress,
            last: consensus.log_state().last.unwrap_or(0),
            me,
            live: &live,
            kept_up: Duration::ZERO,
            waited: waiting.map_or(Duration::ZERO, |since| since.elapsed()),
        };
        match &plan.goal {
            Goal::Add { raft_id, .. } if sight.keeps_up(*raft_id) => {
                sight.kept_up = keeping_up.get_or_insert_with(Instant::now).elapsed();
            }
            _ => keeping_up = None,
        }
        let act = next(&sight);
        match &act {
            Act::Wait(why) => {
                if *why != said {
                    tracing::info!(plan = plan.id, why, "a change of the core nodes waits");
                    said.clone_from(why);
                    waiting = Some(Instant::now());
                }
                continue;
            }
            act => tracing::info!(plan = plan.id, ?act, "changing the core nodes"),
        }
        said.clear();
        if let Err(why) = carry_out(&consensus, plan.id, act).await {
            tracing::warn!(plan = plan.id, why, "the core nodes were not changed, trying again");
        }
    }
}

async fn carry_out(consensus: &Consensus, plan: u64, act: Act) -> Result<(), String> {
    let text = |error: ChangeError| error.to_string();
    match act {
        Act::Wait(_) => Ok(()),
        Act::Learn(id, name) => consensus.add_learner(id, &name).await.map_err(text),
        Act::Vote { add, remove } => consensus.change_voters(add, remove).await.map_err(text),
        Act::Drop(id) => consensus.drop_learner(id).await.map_err(text),
        Act::StepDown => consensus.transfer_leadership(None).await.map_err(|error| error.to_string()),
        Act::Retire(raft_id, name) => propose(consensus, Step::Retire { plan, raft_id, name }).await,
        Act::Close(failed) => propose(consensus, Step::Close { plan, failed }).await,
    }
}

async fn propose(consensus: &Consensus, step: Step) -> Result<(), String> {
    let command = Command::Membership(step).encode();
    let (_, outcome) = match consensus.propose(vec![command]).await.pop() {
        Some(result) => result.map_err(|error| error.to_string())?,
        None => return Err("no result".to_owned()),
    };
    match Outcome::decode(&outcome) {
        Ok(Outcome::Done) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests;
