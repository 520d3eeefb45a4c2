use super::*;
use crate::{
    auth::{Clear, Secret},
    router::{MatchPolicy, Right, Rights},
};

fn may(right: Right, uri: &str) -> Permission {
    Permission {
        uri: Uri::from(uri),
        policy: MatchPolicy::Prefix,
        allow: Rights::NONE.with(right),
        deny: Rights::NONE,
        disclose: None,
    }
}

fn ticket(text: &str) -> Clear {
    Clear::Ticket(Secret::new(text.as_bytes()))
}

fn seed(authid: &str, role: &str, clear: Clear) -> Seed {
    Seed {
        principal: Principal {
            authid: authid.to_owned(),
            role: role.to_owned(),
            credentials: Vec::new(),
        },
        clear: vec![clear],
    }
}

fn wanted() -> Wanted {
    Wanted {
        name: Uri::from("a"),
        settings: Some(settings()),
        roles: vec![(
            "device".to_owned(),
            vec![may(Right::Call, "com."), may(Right::Publish, "com.")],
        )],
        principals: vec![seed("lamp", "device", ticket("a-ticket-of-lamp"))],
    }
}

fn settings() -> config::Realm {
    config::Realm {
        name: "a".to_owned(),
        rights: config::RightsFrom::Seed,
        ..config::Realm::default()
    }
}

/// What stands once that was applied.
fn applied(plan: &Plan, standing: &Standing) -> Standing {
    let edit = &plan.edits[0];
    let mut authority = standing.authority.clone();
    let revision = authority.applied_in_tests(&edit.edit);
    let settings = match &edit.itself {
        Itself::Put(settings) => Some((1, (**settings).clone())),
        Itself::Stays => standing.settings.clone(),
        Itself::Goes => None,
    };
    assert_eq!(revision, authority.revision());
    Standing { settings, authority }
}

fn plan(wanted: &Wanted, standing: &Standing, prune: Prune) -> Plan {
    let mut plan = Plan::default();
    let mut salts = 0;
    plan.realm(wanted, standing, prune, &mut || {
        salts += 1;
        [salts; 16]
    });
    plan.sorted()
}

/// Kind, action, name, lines before and after, and whether something is taken away.
fn told(plan: &Plan) -> Vec<String> {
    let one = |one: &pb::Difference| {
        format!(
            "{:?} {:?} {}@{} -{:?} +{:?}{}",
            one.kind(),
            one.action(),
            one.name,
            one.revision,
            one.before,
            one.after,
            if one.takes_away { " !" } else { "" }
        )
    };
    plan.differences.iter().map(one).collect()
}

#[test]
fn everything_is_added_once_and_then_nothing_differs() {
    let first = plan(&wanted(), &Standing::default(), Prune::Yes);
    assert_eq!(
        told(&first),
        [
            "Realm Added @0 -[] +[]",
            "Role Added device@0 -[] +[\"allow call prefix \\\"com.\\\"\", \"allow publish prefix \\\"com.\\\"\"]",
            "Principal Added lamp@0 -[] +[\"role device\", \"ticket (sha256)\"]",
        ]
    );
    assert_eq!(first.edits[0].edit.changes.len(), 2);
    let standing = applied(&first, &Standing::default());
    let second = plan(&wanted(), &standing, Prune::Yes);
    assert_eq!((told(&second), second.unchanged, second.edits.len()), (vec![], 3, 0));
    assert_eq!(second.revisions[0].rights, standing.authority.revision());
}

#[test]
fn a_change_names_what_goes_and_what_comes_and_whether_it_takes_something_away() {
    let standing = applied(&plan(&wanted(), &Standing::default(), Prune::No), &Standing::default());
    let mut other = wanted();
    other.settings = Some(config::Realm {
        disclose: config::Disclose::Deny,
        ..settings()
    });
    other.roles[0].1.pop();
    other.principals = vec![seed("lamp", "device", ticket("another-ticket-of-it"))];
    let changes = plan(&other, &standing, Prune::No);
    assert_eq!(
        told(&changes),
        [
            "Realm Changed @1 -[\"disclose = \\\"allow\\\"\"] +[\"disclose = \\\"deny\\\"\"]",
            "Role Changed device@1 -[\"allow publish prefix \\\"com.\\\"\"] +[] !",
            "Principal Changed lamp@2 -[\"ticket (sha256)\"] +[\"ticket (sha256)\"] !",
        ]
    );
    // More than before takes nothing away.
    let mut more = wanted();
    more.roles[0].1.push(may(Right::Subscribe, "org."));
    assert_eq!(
        told(&plan(&more, &standing, Prune::No)),
        ["Role Changed device@1 -[] +[\"allow subscribe prefix \\\"org.\\\"\"]"]
    );
}

#[test]
fn what_is_not_named_goes_only_where_that_is_asked_for() {
    let standing = applied(&plan(&wanted(), &Standing::default(), Prune::No), &Standing::default());
    let less = Wanted {
        roles: Vec::new(),
        principals: Vec::new(),
        ..wanted()
    };
    assert_eq!(told(&plan(&less, &standing, Prune::No)), Vec::<String>::new());
    let pruned = plan(&less, &standing, Prune::Yes);
    let actions: Vec<String> = told(&pruned)
        .iter()
        .map(|text| text[..text.find('@').unwrap()].to_owned())
        .collect();
    assert_eq!(actions, ["Role Removed device", "Principal Removed lamp"]);
    assert_eq!(applied(&pruned, &standing).authority.principals().count(), 0);
    let mut gone = Plan::default();
    gone.without(&Uri::from("a"), &standing);
    assert_eq!(gone.edits[0].itself, Itself::Goes);
    assert!(gone.differences[0].takes_away);
}

#[test]
fn the_order_of_permissions_and_credentials_says_nothing() {
    let standing = applied(&plan(&wanted(), &Standing::default(), Prune::No), &Standing::default());
    let mut turned = wanted();
    turned.roles[0].1.reverse();
    assert!(plan(&turned, &standing, Prune::Yes).edits.is_empty());
}
