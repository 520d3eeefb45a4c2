//! A realm that is changed as a whole, gets other settings, and is removed.

use crate::{
    auth::Principal,
    router::{
        Change, Edit, Effect, Permission, RealmConfig,
        testing::{ME, TestRealm, TestSession},
    },
    wamp::{Message, SessionId, Uri, error_uri},
};

fn realm() -> TestRealm {
    TestRealm::with(|config| config.policy = crate::router::Policy::default())
}

fn put_role(role: &str) -> Change {
    Change::PutRole {
        role: role.to_owned(),
        permissions: vec![Permission::all()],
    }
}

fn put_principal(authid: &str, role: &str) -> Change {
    let principal = Principal {
        authid: authid.to_owned(),
        role: role.to_owned(),
        credentials: Vec::new(),
    };
    Change::PutPrincipal { principal }
}

fn edit(realm: &TestRealm, clear: bool, changes: Vec<Change>) -> (u64, Vec<Effect>) {
    let edit = Edit {
        clear,
        changes,
        definitions: Vec::new(),
    };
    let (index, now, mut effects) = (realm.next_index(), realm.now(), Vec::new());
    let revision = realm.inside(|core| core.edit(now, index, &edit, &mut effects));
    (revision, effects)
}

fn joins(realm: &TestRealm, authid: &str, role: &str, method: &str) -> TestSession {
    let session = realm.join_changed(|info| {
        (info.authid, info.authrole, info.authmethod) = (authid.into(), role.into(), method.into());
    });
    realm.commit();
    session
}

/// Whose sessions are ended, and why.
fn killed(effects: &[Effect]) -> Vec<(SessionId, Uri)> {
    let kill = |effect: &Effect| match effect {
        Effect::Kill {
            session,
            goodbye: Message::Goodbye { reason, .. },
        } => Some((*session, reason.clone())),
        _ => None,
    };
    effects.iter().filter_map(kill).collect()
}

#[test]
fn an_edit_is_one_step_and_ends_only_what_it_takes_away() {
    let realm = realm();
    let begun = vec![
        put_role("device"),
        put_role("app"),
        put_principal("lamp", "device"),
        put_principal("door", "device"),
    ];
    assert_eq!(edit(&realm, false, begun).0, 4);
    let (lamp, door) = (
        joins(&realm, "lamp", "device", "ticket"),
        joins(&realm, "door", "device", "ticket"),
    );
    let same = edit(
        &realm,
        true,
        vec![
            put_role("device"),
            put_principal("lamp", "device"),
            put_principal("door", "device"),
        ],
    );
    assert_eq!(
        (same.0, killed(&same.1)),
        (8, vec![]),
        "what goes and comes back the same was never gone"
    );
    let changes = vec![Change::RemovePrincipal { authid: "door".into() }, put_role("more")];
    let (revision, effects) = edit(&realm, false, changes);
    assert_eq!(revision, 10);
    assert_eq!(killed(&effects), [(door.id, Uri::from(error_uri::NOT_AUTHORIZED))]);
    let registration = lamp.registers("com.a");
    let (_, effects) = edit(&realm, false, vec![Change::RemoveRole { role: "device".into() }]);
    assert_eq!(killed(&effects), []);
    let takes_back = |effect: &Effect| matches!(effect, Effect::Propose { op: crate::router::Op::Unregister { registration: of, .. } } if *of == registration);
    assert!(effects.iter().any(takes_back), "{effects:?}");
}

#[test]
fn an_edit_beyond_the_bounds_is_recognised_whatever_its_order() {
    let realm = realm();
    let roles: Vec<Change> = (0..1_000).map(|n| put_role(&n.to_string())).collect();
    edit(&realm, false, roles);
    let fits = |changes: Vec<Change>, clear: bool| {
        let edit = Edit {
            clear,
            changes,
            ..Edit::default()
        };
        realm.inside(|core| core.authority().has_room_for(&edit))
    };
    let remove = || Change::RemoveRole { role: "7".into() };
    assert!(!fits(vec![put_role("new")], false) && fits(vec![put_role("7")], false) && fits(vec![put_role("new")], true));
    assert!(fits(vec![put_role("new"), remove()], false));
    edit(&realm, false, vec![put_role("new"), remove()]);
    let roles: Vec<String> = realm.inside(|core| core.authority().roles().map(|(name, _)| name.to_owned()).collect());
    assert!(roles.len() == 1_000 && roles.contains(&"new".to_owned()));
}

#[test]
fn other_settings_end_anonymous_sessions_that_they_would_not_let_in() {
    let realm = realm();
    edit(
        &realm,
        false,
        vec![put_role("guest"), put_role("visitor"), put_principal("lamp", "guest")],
    );
    let (guest, lamp) = (
        joins(&realm, "x", "guest", "anonymous"),
        joins(&realm, "lamp", "guest", "ticket"),
    );
    let configure = |anonymous| {
        let config = RealmConfig::new(Uri::from("realm1"), 1, [0; 16]);
        let (now, mut effects) = (realm.now(), Vec::new());
        realm.inside(|core| core.configure(now, config, anonymous, &mut effects));
        killed(&effects).into_iter().map(|(session, _)| session).collect::<Vec<_>>()
    };
    assert_eq!(configure(Some("guest")), []);
    assert_eq!(configure(Some("visitor")), [guest.id]);
    assert_eq!(configure(None), []);
    assert_eq!(lamp.calls("com.a").1, [Effect::Barrier], "its role stands");
}

#[test]
fn a_realm_that_is_removed_ends_every_session_of_its_node() {
    let realm = realm();
    edit(&realm, false, vec![put_role("guest")]);
    let (one, other) = (
        joins(&realm, "x", "guest", "anonymous"),
        joins(&realm, "y", "guest", "ticket"),
    );
    let (now, mut effects) = (realm.now(), Vec::new());
    realm.inside(|core| core.close(now, &mut effects));
    let reason = Uri::from(error_uri::CLOSE_REALM);
    assert_eq!(killed(&effects), [(one.id, reason.clone()), (other.id, reason)]);
    assert!(effects.contains(&one.gone()) && effects.contains(&other.gone()));
    for effect in effects {
        if let Effect::Propose { op } = effect {
            realm.commit_by(ME, op);
        }
    }
    assert_eq!(realm.inside(|core| core.registry().sessions().len()), 0);
}
