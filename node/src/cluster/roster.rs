//! Which nodes are to become core nodes and which are to leave: what operators asked for, the one change that is open, and the disks
//! that were removed for good. Part of the replicated state, pure.
//!
//! Who votes stands in the membership of consensus; the leader changes that step by step until it is as the open plan says
//! ([`super::autopilot`]). A plan stands in the log, so the next leader goes on where the last one stopped.
//!
//! Invariants: at most one plan is open; a disk that was retired is never admitted again; a name that was removed comes back only if it is
//! announced.

use std::collections::{BTreeMap, VecDeque};

use ringfort_proto::cluster::v1 as pb;

use super::command::DecodeError;
use crate::router::LogIndex;

/// One step, as an entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An operator expects a core node of this name, maybe in the place of another.
    Announce {
        name: String,
        replaces: Option<String>,
        actor: String,
    },
    /// A node with an empty disk asks to become a core node. `listed`: the configuration of the member it asked names it.
    Admit {
        raft_id: u64,
        name: String,
        address: String,
        listed: bool,
    },
    /// An operator wants a core node to go, or not to come.
    PlanRemoval { name: String, actor: String },
    /// The leader has taken a disk's vote for good.
    Retire { plan: LogIndex, raft_id: u64, name: String },
    /// The leader has carried a plan out, or given it up.
    Close { plan: LogIndex, failed: Option<String> },
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken.
    Done,
    /// This plan is open now.
    Planned(LogIndex),
    /// That disk was removed for good.
    Removed,
    /// Nothing was changed, for this reason.
    Refused(String),
}

/// A change of the core membership that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The index of the entry that opened it.
    pub id: LogIndex,
    /// The node it is about.
    pub name: String,
    /// What is to become of it.
    pub goal: Goal,
}

/// What a plan wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A disk becomes a learner, then a voter, and takes the place of `replaces`.
    Add {
        raft_id: u64,
        address: String,
        replaces: Option<String>,
    },
    /// The disks of that name, or the one of this id, lose their votes. `withdrew`: an announcement went with it.
    Remove { only: Option<u64>, withdrew: bool },
}

/// A disk that was removed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// Its id.
    pub raft_id: u64,
    /// Its node's name.
    pub name: String,
    /// The plan that removed it.
    pub plan: LogIndex,
    /// True until that name is announced again.
    pub barred: bool,
}

/// A plan that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its id.
    pub id: LogIndex,
    /// The node it was about.
    pub name: String,
    /// Why nothing came of it; `None` if it was carried out.
    pub failed: Option<String>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    announced: BTreeMap<String, Option<String>>,
    open: Option<Plan>,
    retired: VecDeque<Retired>,
    closed: VecDeque<Closed>,
}

/// More announcements than any cluster has core nodes.
const ANNOUNCED_MAX: usize = 16;
/// Removed disks that are remembered. One that is older than so many removals would find no history that it could disturb.
const RETIRED_MAX: usize = 4_096;
/// Plans whose end is remembered, for those who wait for it.
const CLOSED_MAX: usize = 16;

impl Roster {
    /// The change that is under way.
    pub fn open(&self) -> Option<&Plan> {
        self.open.as_ref()
    }

    /// Names that an operator expects, each with the node it replaces.
    pub fn announced(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.announced
            .iter()
            .map(|(name, replaces)| (name.as_str(), replaces.as_deref()))
    }

    /// True if that disk was removed for good.
    pub fn is_retired(&self, raft_id: u64) -> bool {
        self.retired.iter().any(|one| one.raft_id == raft_id)
    }

    /// True if that plan has removed a disk.
    pub fn has_retired(&self, plan: LogIndex) -> bool {
        self.retired.iter().any(|one| one.plan == plan)
    }

    /// The end of a plan; `None` while it is open or if it is forgotten.
    pub fn closed(&self, plan: LogIndex) -> Option<&Closed> {
        self.closed.iter().find(|closed| closed.id == plan)
    }

    /// The newest plan that is over.
    pub fn last_closed(&self) -> Option<&Closed> {
        self.closed.back()
    }

    /// Applies a step at `index` of the log.
    pub fn apply(&mut self, index: LogIndex, step: Step) -> Answer {
        match step {
            Step::Announce { name, replaces, .. } => self.announce(name, replaces),
            Step::Admit {
                raft_id,
                name,
                address,
                listed,
            } => self.admit(index, raft_id, name, address, listed),
            Step::PlanRemoval { name, .. } => self.plan_removal(index, name),
            Step::Retire { plan, raft_id, name } => self.retire(plan, raft_id, name),
            Step::Close { plan, failed } => self.close(plan, failed),
        }
    }

    fn announce(&mut self, name: String, replaces: Option<String>) -> Answer {
        if self.announced.len() >= ANNOUNCED_MAX && !self.announced.contains_key(&name) {
            let text = format!("{ANNOUNCED_MAX} nodes are announced and have not come: withdraw one with remove-node");
            return Answer::Refused(text);
        }
        for one in self.retired.iter_mut().filter(|one| one.name == name) {
            one.barred = false;
        }
        self.announced.insert(name, replaces);
        Answer::Done
    }

    fn admit(&mut self, index: LogIndex, raft_id: u64, name: String, address: String, listed: bool) -> Answer {
        if self.is_retired(raft_id) {
            return Answer::Removed;
        }
        if let Some(Plan {
            id,
            goal: Goal::Add {
                raft_id: open,
                address: at,
                ..
            },
            ..
        }) = &mut self.open
            && *open == raft_id
        {
            *at = address;
            return Answer::Planned(*id);
        }
        let replaces = match self.announced.get(&name) {
            Some(replaces) => replaces.clone(),
            None if self.retired.iter().any(|one| one.barred && one.name == name) => {
                let text = format!("{name} was removed from the cluster: to have it back, run ringfort admin add-node {name}");
                return Answer::Refused(text);
            }
            None if !listed => {
                let text = format!(
                    "nobody expects a core node {name}: run ringfort admin add-node {name}, or name it in cluster.peers of the other nodes"
                );
                return Answer::Refused(text);
            }
            None => None,
        };
        if let Some(open) = &self.open {
            return Answer::Refused(format!(
                "another change is open, one goes after the other: {}",
                open.describe()
            ));
        }
        self.announced.remove(&name);
        self.open = Some(Plan {
            id: index,
            name,
            goal: Goal::Add {
                raft_id,
                address,
                replaces,
            },
        });
        Answer::Planned(index)
    }

    fn plan_removal(&mut self, index: LogIndex, name: String) -> Answer {
        let mut only = None;
        match &self.open {
            // Whoever does not want a node any more that has not arrived need not wait for it.
            Some(Plan {
                id,
                name: coming,
                goal: Goal::Add { raft_id, .. },
            }) if *coming == name => {
                only = Some(*raft_id);
                let id = *id;
                self.close(id, Some(format!("{name} is removed before it has arrived")));
            }
            Some(open) => {
                let text = format!(
                    "another change is open, one goes after the other: {}; wait for it, see ringfort admin nodes",
                    open.describe()
                );
                return Answer::Refused(text);
            }
            None => {}
        }
        let withdrew = self.announced.remove(&name).is_some();
        self.open = Some(Plan {
            id: index,
            name,
            goal: Goal::Remove { only, withdrew },
        });
        Answer::Planned(index)
    }

    fn retire(&mut self, plan: LogIndex, raft_id: u64, name: String) -> Answer {
        let Some(open) = self.open.as_ref().filter(|open| open.id == plan) else {
            return Answer::Refused("that plan is not open".to_owned());
        };
        if !self.is_retired(raft_id) {
            // A new disk of the same name is the reason why the old one goes.
            let barred = !(open.name == name && matches!(open.goal, Goal::Add { .. }));
            if self.retired.len() == RETIRED_MAX {
                self.retired.pop_front();
            }
            self.retired.push_back(Retired {
                raft_id,
                name,
                plan,
                barred,
            });
        }
        Answer::Done
    }

    fn close(&mut self, plan: LogIndex, failed: Option<String>) -> Answer {
        if let Some(open) = self.open.take_if(|open| open.id == plan) {
            if self.closed.len() == CLOSED_MAX {
                self.closed.pop_front();
            }
            self.closed.push_back(Closed {
                id: plan,
                name: open.name,
                failed,
            });
        }
        Answer::Done
    }
}

impl Plan {
    /// In a few words.
    pub fn describe(&self) -> String {
        match &self.goal {
            Goal::Add { replaces: None, .. } => format!("{} is being added", self.name),
            Goal::Add {
                replaces: Some(replaces),
                ..
            } => format!("{} takes the place of {replaces}", self.name),
            Goal::Remove { .. } => format!("{} is being removed", self.name),
        }
    }
}

impl Step {
    /// For the list of applied commands.
    pub(super) fn describe(&self) -> (&'static str, String) {
        match self {
            Step::Announce { name, replaces, actor } => {
                let place = replaces
                    .as_ref()
                    .map(|of| format!(" in the place of {of}"))
                    .unwrap_or_default();
                ("announce_node", format!("{name}{place} by {actor}"))
            }
            Step::Admit { name, raft_id, .. } => ("admit_node", format!("{name} {raft_id:016x}")),
            Step::PlanRemoval { name, actor } => ("plan_removal", format!("{name} by {actor}")),
            Step::Retire { name, raft_id, .. } => ("retire_node", format!("{name} {raft_id:016x}")),
            Step::Close { plan, failed: None } => ("close_plan", format!("{plan} carried out")),
            Step::Close {
                plan, failed: Some(why), ..
            } => ("close_plan", format!("{plan}: {why}")),
        }
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn step_to_pb(step: &Step) -> pb::Membership {
    use pb::membership::Change as P;
    let change = match step {
        Step::Announce { name, replaces, actor } => P::Announce(pb::AnnounceNode {
            name: name.clone(),
            replaces: replaces.clone().unwrap_or_default(),
            actor: actor.clone(),
        }),
        Step::Admit {
            raft_id,
            name,
            address,
            listed,
        } => P::Admit(pb::AdmitNode {
            raft_id: *raft_id,
            name: name.clone(),
            address: address.clone(),
            listed: *listed,
        }),
        Step::PlanRemoval { name, actor } => P::PlanRemoval(pb::PlanRemoval {
            name: name.clone(),
            actor: actor.clone(),
        }),
        Step::Retire { plan, raft_id, name } => P::Retire(pb::RetireNode {
            plan: *plan,
            raft_id: *raft_id,
            name: name.clone(),
        }),
        Step::Close { plan, failed } => P::Close(pb::ClosePlan {
            plan: *plan,
            failed: failed.clone().unwrap_or_default(),
        }),
    };
    pb::Membership { change: Some(change) }
}

pub(super) fn step_from_pb(membership: pb::Membership) -> Result<Step, DecodeError> {
    use pb::membership::Change as P;
    let change = membership
        .change
        .ok_or(DecodeError::Field("step of the membership this build does not know"))?;
    Ok(match change {
        P::Announce(announce) => Step::Announce {
            name: announce.name,
            replaces: some(announce.replaces),
            actor: announce.actor,
        },
        P::Admit(admit) => Step::Admit {
            raft_id: admit.raft_id,
            name: admit.name,
            address: admit.address,
            listed: admit.listed,
        },
        P::PlanRemoval(plan) => Step::PlanRemoval {
            name: plan.name,
            actor: plan.actor,
        },
        P::Retire(retire) => Step::Retire {
            plan: retire.plan,
            raft_id: retire.raft_id,
            name: retire.name,
        },
        P::Close(close) => Step::Close {
            plan: close.plan,
            failed: some(close.failed),
        },
    })
}

impl Roster {
    /// For a snapshot.
    pub(super) fn to_pb(&self) -> pb::Roster {
        let announced = self.announced.iter().map(|(name, replaces)| pb::AnnouncedNode {
            name: name.clone(),
            replaces: replaces.clone().unwrap_or_default(),
        });
        let open = self.open.as_ref().map(|plan| pb::OpenPlan {
            id: plan.id,
            name: plan.name.clone(),
            goal: Some(match &plan.goal {
                Goal::Add {
                    raft_id,
                    address,
                    replaces,
                } => pb::open_plan::Goal::Add(pb::AddGoal {
                    raft_id: *raft_id,
                    address: address.clone(),
                    replaces: replaces.clone().unwrap_or_default(),
                }),
                Goal::Remove { only, withdrew } => pb::open_plan::Goal::Remove(pb::RemoveGoal {
                    only: only.unwrap_or_default(),
                    withdrew: *withdrew,
                }),
            }),
        });
        let retired = self.retired.iter().map(|one| pb::RetiredNode {
            raft_id: one.raft_id,
            name: one.name.clone(),
            plan: one.plan,
            barred: one.barred,
        });
        let closed = self.closed.iter().map(|closed| pb::ClosedPlan {
            id: closed.id,
            name: closed.name.clone(),
            failed: closed.failed.clone().unwrap_or_default(),
        });
        pb::Roster {
            announced: announced.collect(),
            open,
            retired: retired.collect(),
            closed: closed.collect(),
        }
    }

    /// The reverse of [`Self::to_pb`].
    pub(super) fn from_pb(roster: pb::Roster) -> Result<Self, DecodeError> {
        let open = roster.open.map(|plan| {
            let goal = plan.goal.ok_or(DecodeError::Field("plan this build does not know"))?;
            Ok::<_, DecodeError>(Plan {
                id: plan.id,
                name: plan.name,
                goal: match goal {
                    pb::open_plan::Goal::Add(add) => Goal::Add {
                        raft_id: add.raft_id,
                        address: add.address,
                        replaces: some(add.replaces),
                    },
                    pb::open_plan::Goal::Remove(remove) => Goal::Remove {
                        only: (remove.only != 0).then_some(remove.only),
                        withdrew: remove.withdrew,
                    },
                },
            })
        });
        Ok(Self {
            announced: roster
                .announced
                .into_iter()
                .map(|one| (one.name, some(one.replaces)))
                .collect(),
            open: open.transpose()?,
            retired: roster
                .retired
                .into_iter()
                .map(|one| Retired {
                    raft_id: one.raft_id,
                    name: one.name,
                    plan: one.plan,
                    barred: one.barred,
                })
                .collect(),
            closed: roster
                .closed
                .into_iter()
                .map(|one| Closed {
                    id: one.id,
                    name: one.name,
                    failed: some(one.failed),
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce(name: &str, replaces: Option<&str>) -> Step {
        Step::Announce {
            name: name.into(),
            replaces: replaces.map(str::to_owned),
            actor: "op".into(),
        }
    }

    fn admit(raft_id: u64, name: &str, listed: bool) -> Step {
        Step::Admit {
            raft_id,
            name: name.into(),
            address: "127.0.0.1:1".into(),
            listed,
        }
    }

    fn remove(name: &str) -> Step {
        Step::PlanRemoval {
            name: name.into(),
            actor: "op".into(),
        }
    }

    fn close(plan: LogIndex) -> Step {
        Step::Close { plan, failed: None }
    }

    fn retire(plan: LogIndex, raft_id: u64, name: &str) -> Step {
        let name = name.into();
        Step::Retire { plan, raft_id, name }
    }

    fn refused(answer: Answer) -> String {
        match answer {
            Answer::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_who_is_announced_or_listed_is_admitted_and_a_repeat_is_recognised() {
        let mut roster = Roster::default();
        assert!(refused(roster.apply(1, admit(4, "n4", false))).contains("add-node n4"));
        assert_eq!(roster.apply(2, announce("n4", Some("n2"))), Answer::Done);
        assert_eq!(roster.apply(3, admit(4, "n4", false)), Answer::Planned(3));
        assert_eq!(roster.apply(4, admit(4, "n4", false)), Answer::Planned(3));
        let Some(Plan {
            goal: Goal::Add { replaces, .. },
            ..
        }) = roster.open()
        else {
            panic!("{roster:?}")
        };
        assert_eq!(replaces.as_deref(), Some("n2"));
        assert_eq!(roster.announced().count(), 0, "it has come");
        roster.apply(5, close(3));
        assert_eq!(roster.apply(6, admit(5, "n5", true)), Answer::Planned(6));
    }

    #[test]
    fn one_change_goes_after_the_other() {
        let mut roster = Roster::default();
        roster.apply(1, remove("n3"));
        assert!(refused(roster.apply(2, remove("n2"))).contains("n3 is being removed"));
        assert!(refused(roster.apply(3, admit(4, "n4", true))).contains("n3 is being removed"));
        assert_eq!(roster.apply(4, close(99)), Answer::Done, "not the open one");
        assert!(roster.open().is_some());
        roster.apply(5, close(1));
        assert_eq!(roster.closed(1).map(|closed| closed.failed.is_none()), Some(true));
        assert_eq!(roster.apply(6, remove("n2")), Answer::Planned(6));
    }

    #[test]
    fn a_removed_disk_never_comes_back_and_its_name_only_if_announced() {
        let mut roster = Roster::default();
        roster.apply(1, remove("n3"));
        assert!(matches!(roster.apply(2, retire(99, 3, "n3")), Answer::Refused(_)));
        roster.apply(2, retire(1, 3, "n3"));
        roster.apply(3, close(1));
        assert_eq!(roster.apply(4, admit(3, "n3", true)), Answer::Removed);
        assert!(refused(roster.apply(5, admit(33, "n3", true))).contains("was removed"));
        roster.apply(6, announce("n3", None));
        assert_eq!(
            roster.apply(7, admit(3, "n3", true)),
            Answer::Removed,
            "that disk is not wanted"
        );
        assert_eq!(roster.apply(8, admit(33, "n3", false)), Answer::Planned(8));
    }

    #[test]
    fn the_old_disk_of_a_replaced_node_is_retired_and_its_name_goes_on() {
        let mut roster = Roster::default();
        roster.apply(1, announce("n2", Some("n2")));
        roster.apply(2, admit(22, "n2", true));
        roster.apply(3, retire(2, 2, "n2"));
        roster.apply(4, close(2));
        assert!(roster.is_retired(2) && !roster.is_retired(22));
        // It may lose its disk once more, and the configuration lets its name in: what stands in the way is its member of that name.
        assert_eq!(roster.apply(5, admit(222, "n2", true)), Answer::Planned(5));
    }

    #[test]
    fn a_node_that_has_not_arrived_is_called_off() {
        let mut roster = Roster::default();
        roster.apply(1, admit(4, "n4", true));
        assert_eq!(roster.apply(2, remove("n4")), Answer::Planned(2));
        assert!(roster.closed(1).is_some_and(|closed| closed.failed.is_some()));
        let goal = Goal::Remove {
            only: Some(4),
            withdrew: false,
        };
        assert_eq!(roster.open().map(|plan| plan.goal.clone()), Some(goal));
    }

    #[test]
    fn a_roster_survives_its_bytes_and_stays_bounded() {
        let mut roster = Roster::default();
        for index in 0..5_000 {
            roster.apply(index, remove("n3"));
            roster.apply(index, retire(index, index + 1, "n3"));
            roster.apply(index, close(index));
        }
        assert_eq!((roster.retired.len(), roster.closed.len()), (RETIRED_MAX, CLOSED_MAX));
        for number in 0..20 {
            roster.apply(6_000 + number, announce(&format!("n{number}"), None));
        }
        assert_eq!(roster.announced.len(), ANNOUNCED_MAX);
        assert_eq!(Roster::from_pb(roster.to_pb()).unwrap(), roster);
        roster.apply(7_000, admit(9_999, "n9", true));
        assert_eq!(Roster::from_pb(roster.to_pb()).unwrap(), roster);
        roster.apply(7_001, remove("n9"));
        assert_eq!(Roster::from_pb(roster.to_pb()).unwrap(), roster);
    }
}
