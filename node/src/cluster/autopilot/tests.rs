use super::*;

const PLAN: u64 = 50;
const LAST: u64 = 10_000;

/// Three voters n1 to n3 of the ids 1 to 3, all heard of; 1 leads.
struct Stage {
    roster: Roster,
    members: Vec<Member>,
    progress: Progress,
    live: BTreeSet<u64>,
    me: u64,
    kept_up: Duration,
    waited: Duration,
}

fn set(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

fn member(id: u64, name: &str, voter: bool) -> Member {
    Member {
        id,
        name: name.into(),
        voter,
    }
}

impl Stage {
    fn new(step: Step) -> Self {
        let mut roster = Roster::default();
        roster.apply(PLAN, step);
        let members = (1..=3).map(|id| member(id, &format!("n{id}"), true)).collect();
        Self {
            roster,
            members,
            progress: Progress {
                matched: (1..=3).map(|id| (id, LAST)).collect(),
                heard: (2..=3).map(|id| (id, Duration::ZERO)).collect(),
                joint: false,
            },
            live: set(&[1, 2, 3]),
            me: 1,
            kept_up: STABLE_FOR,
            waited: Duration::ZERO,
        }
    }

    fn adding(raft_id: u64, name: &str, replaces: Option<&str>) -> Self {
        let mut stage = Self::new(Step::Announce {
            name: name.into(),
            replaces: replaces.map(str::to_owned),
            actor: String::new(),
        });
        let (name, address) = (name.into(), String::new());
        let admit = Step::Admit {
            raft_id,
            name,
            address,
            listed: false,
        };
        stage.roster.apply(PLAN, admit);
        stage
    }

    fn removing(name: &str) -> Self {
        let (name, actor) = (name.into(), String::new());
        Self::new(Step::PlanRemoval { name, actor })
    }

    fn lose(&mut self, id: u64) {
        self.progress.heard.insert(id, HEARD_WITHIN);
        self.live.remove(&id);
    }

    fn next(&self) -> Act {
        next(&Sight {
            plan: self.roster.open().expect("an open plan"),
            roster: &self.roster,
            members: &self.members,
            progress: &self.progress,
            last: LAST,
            me: self.me,
            live: &self.live,
            kept_up: self.kept_up,
            waited: self.waited,
        })
    }

    /// Does what is to be done, as a cluster without faults would; returns all that was done.
    fn carry_out(&mut self) -> Vec<Act> {
        let mut done = Vec::new();
        loop {
            let act = self.next();
            done.push(act.clone());
            match act {
                Act::Learn(id, name) => {
                    self.members.push(member(id, &name, false));
                    self.progress.matched.insert(id, LAST - LAG_MAX);
                    self.progress.heard.insert(id, Duration::ZERO);
                }
                Act::Vote { add, remove } => {
                    for member in &mut self.members {
                        member.voter = (member.voter || add.contains(&member.id)) && !remove.contains(&member.id);
                    }
                }
                Act::Retire(raft_id, name) => {
                    let step = Step::Retire {
                        plan: PLAN,
                        raft_id,
                        name,
                    };
                    self.roster.apply(PLAN + 1, step);
                    self.live.remove(&raft_id);
                }
                Act::Drop(id) => self.members.retain(|member| member.id != id),
                Act::StepDown => self.me = if self.me == 1 { 2 } else { 1 },
                Act::Close(_) | Act::Wait(_) => return done,
            }
        }
    }
}

#[test]
fn a_newcomer_learns_then_votes() {
    let mut stage = Stage::adding(4, "n4", None);
    let vote = Act::Vote {
        add: set(&[4]),
        remove: set(&[]),
    };
    assert_eq!(stage.carry_out(), [Act::Learn(4, "n4".into()), vote, Act::Close(None)]);
}

#[test]
fn a_newcomer_gets_no_vote_before_it_has_kept_up_for_a_while() {
    let mut stage = Stage::adding(4, "n4", None);
    stage.members.push(member(4, "n4", false));
    assert!(matches!(stage.next(), Act::Wait(_)), "it has nothing yet");
    stage.progress.heard.insert(4, Duration::ZERO);
    stage.progress.matched.insert(4, LAST - LAG_MAX - 1);
    assert!(matches!(stage.next(), Act::Wait(_)));
    stage.progress.matched.insert(4, LAST);
    stage.kept_up = STABLE_FOR - Duration::from_millis(1);
    assert!(matches!(stage.next(), Act::Wait(_)));
    stage.kept_up = STABLE_FOR;
    assert!(matches!(stage.next(), Act::Vote { .. }));
    stage.lose(4);
    assert!(matches!(stage.next(), Act::Wait(_)), "it was there and is gone");
    stage.progress.heard.insert(4, Duration::ZERO);
    stage.lose(2);
    stage.lose(3);
    assert!(matches!(stage.next(), Act::Wait(_)), "two of four are no majority");
}

#[test]
fn a_lost_disk_is_replaced_in_one_change_also_under_its_old_name() {
    for name in ["n2", "n4"] {
        let mut stage = Stage::adding(4, name, Some("n2"));
        stage.lose(2);
        let vote = Act::Vote {
            add: set(&[4]),
            remove: set(&[2]),
        };
        let expected = [
            Act::Learn(4, name.into()),
            vote,
            Act::Retire(2, "n2".into()),
            Act::Drop(2),
            Act::Close(None),
        ];
        assert_eq!(stage.carry_out(), expected);
    }
}

#[test]
fn the_name_of_a_member_is_not_taken_without_saying_so() {
    let why = |act: Act| match act {
        Act::Close(Some(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(Stage::adding(4, "n2", None).next()).contains("--replaces n2"));
    assert!(why(Stage::adding(4, "n4", Some("n9")).next()).contains("no core node n9"));
    let mut stage = Stage::adding(9, "n9", None);
    stage.members.extend((4..=7).map(|id| member(id, &format!("n{id}"), true)));
    assert!(why(stage.next()).contains("7 voters"));
}

#[test]
fn a_node_that_goes_hears_of_it_and_says_goodbye_before_it_is_dropped() {
    let mut stage = Stage::removing("n3");
    let vote = Act::Vote {
        add: set(&[]),
        remove: set(&[3]),
    };
    assert_eq!(stage.next(), vote);
    stage.members[2].voter = false;
    assert_eq!(stage.next(), Act::Retire(3, "n3".into()));
    stage.roster.apply(
        PLAN + 1,
        Step::Retire {
            plan: PLAN,
            raft_id: 3,
            name: "n3".into(),
        },
    );
    assert!(matches!(stage.next(), Act::Wait(_)), "its sessions");
    stage.waited = GOODBYE_WITHIN;
    assert_eq!(stage.next(), Act::Drop(3));
    stage.waited = Duration::ZERO;
    stage.live.remove(&3);
    assert_eq!(stage.next(), Act::Drop(3));
    stage.members.pop();
    assert_eq!(stage.next(), Act::Close(None));
}

#[test]
fn a_leader_steps_down_before_it_goes() {
    let stage = Stage::removing("n1");
    assert_eq!(stage.next(), Act::StepDown);
    let mut stage = Stage::adding(4, "n4", Some("n1"));
    stage.members.push(member(4, "n4", false));
    stage.progress.matched.insert(4, LAST);
    stage.progress.heard.insert(4, Duration::ZERO);
    assert_eq!(stage.next(), Act::StepDown);
}

#[test]
fn nobody_goes_whom_the_quorum_needs() {
    let why = |act: Act| match act {
        Act::Close(Some(why)) => why,
        other => panic!("{other:?}"),
    };
    let mut stage = Stage::removing("n2");
    stage.lose(3);
    let said = why(stage.next());
    assert!(
        said.contains("lose its quorum") && said.contains("of n1, n3 only n1"),
        "{said}"
    );
    // The lost one itself may go.
    let mut stage = Stage::removing("n3");
    stage.lose(3);
    assert!(matches!(stage.next(), Act::Vote { .. }));
    let mut stage = Stage::removing("n1");
    stage.members.truncate(1);
    assert!(why(stage.next()).contains("only voter"));
    assert!(why(Stage::removing("n9").next()).contains("there are n1, n2, n3"));
}

#[test]
fn a_change_that_an_earlier_leader_left_half_done_is_finished() {
    let mut stage = Stage::removing("n2");
    stage.progress.joint = true;
    stage.lose(3);
    assert!(matches!(stage.next(), Act::Vote { .. }), "whatever is heard now");
    let mut stage = Stage::adding(4, "n4", Some("n2"));
    stage.members.push(member(4, "n4", true));
    stage.progress.joint = true;
    let vote = Act::Vote {
        add: set(&[4]),
        remove: set(&[2]),
    };
    assert_eq!(stage.next(), vote);
}

#[test]
fn a_newcomer_that_is_called_off_is_told_and_dropped() {
    let mut stage = Stage::adding(4, "n2", Some("n2"));
    stage.members.push(member(4, "n2", false));
    let (name, actor) = ("n2".to_owned(), String::new());
    stage.roster.apply(PLAN, Step::PlanRemoval { name, actor });
    let expected = [Act::Retire(4, "n2".into()), Act::Drop(4), Act::Close(None)];
    assert_eq!(stage.carry_out(), expected);
    assert_eq!(stage.members.len(), 3);
}
