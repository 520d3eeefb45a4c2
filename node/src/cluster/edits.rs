//! Edits of several realms as bytes of the log, and as the body of a backup.

use ringfort_proto::{admin::v1::RealmSettings, cluster::v1 as pb};

use super::{
    catalog::{Edits, Itself, RealmEdit, RealmRevision, broken, no_more_than_fit},
    change,
    command::DecodeError,
    settings,
};
use crate::{
    config,
    router::{
        Edit, MatchPolicy,
        policy::Request,
        reflection::{Definition, Kind},
    },
    wamp::Uri,
};

pub fn to_pb(edits: &Edits) -> pb::Edit {
    pb::Edit {
        actor: edits.actor.clone(),
        fresh: edits.fresh,
        key: edits.key.map(|key| key.to_vec().into()).unwrap_or_default(),
        realms: edits.realms.iter().map(realm_to_pb).collect(),
    }
}

pub fn from_pb(edits: pb::Edit) -> Result<Edits, DecodeError> {
    let key = match edits.key.len() {
        0 => None,
        _ => Some(edits.key.as_ref().try_into().map_err(|_| broken("a key is not 16 bytes"))?),
    };
    Ok(Edits {
        actor: edits.actor,
        fresh: edits.fresh,
        key,
        realms: edits.realms.into_iter().map(realm_from_pb).collect::<Result<_, _>>()?,
    })
}

fn realm_to_pb(edit: &RealmEdit) -> pb::RealmEdit {
    use pb::realm_edit::Settings as P;
    let change = |change: &crate::router::Change| {
        let request = Request {
            change: change.clone(),
            expected: None,
        };
        change::to_pb(&Uri::from(""), "", &request)
    };
    let definition = |definition: &Definition| pb::Define {
        kind: definition.kind.code().into(),
        r#match: definition.policy.code().into(),
        uri: definition.uri.to_string(),
        text: definition.text.to_string(),
        ..pb::Define::default()
    };
    pb::RealmEdit {
        realm: edit.realm.to_string(),
        rights_expected: edit.rights_expected,
        settings_expected: edit.settings_expected,
        settings: match &edit.itself {
            Itself::Stays => None,
            Itself::Put(realm) => Some(P::Put(settings::to_pb(realm))),
            Itself::Goes => Some(P::Remove(pb::Removed {})),
        },
        clear: edit.edit.clear,
        changes: edit.edit.changes.iter().map(change).collect(),
        definitions: edit.edit.definitions.iter().map(definition).collect(),
    }
}

fn realm_from_pb(edit: pb::RealmEdit) -> Result<RealmEdit, DecodeError> {
    use pb::realm_edit::Settings as P;
    let definition = |definition: pb::Define| {
        let small = |code| u8::try_from(code).ok();
        let kind = small(definition.kind).and_then(Kind::from_code);
        let policy = small(definition.r#match).and_then(MatchPolicy::from_code);
        Ok::<_, DecodeError>(Definition::from_parts(
            kind.ok_or(broken("kind of a definition that this build does not know"))?,
            policy.ok_or(broken("match policy this build does not know"))?,
            Uri::new(definition.uri),
            definition.text.into(),
        ))
    };
    let changes = edit.changes.into_iter().map(|one| Ok(change::from_pb(one)?.2.change));
    let definitions = edit.definitions.into_iter().map(definition).collect::<Result<Vec<_>, _>>()?;
    no_more_than_fit(&definitions)?;
    Ok(RealmEdit {
        rights_expected: edit.rights_expected,
        settings_expected: edit.settings_expected,
        itself: match edit.settings {
            None => Itself::Stays,
            Some(P::Put(put)) => Itself::Put(Box::new(settings_from_pb(&edit.realm, &put)?)),
            Some(P::Remove(_)) => Itself::Goes,
        },
        edit: Edit {
            clear: edit.clear,
            changes: changes.collect::<Result<_, DecodeError>>()?,
            definitions,
        },
        realm: Uri::new(edit.realm),
    })
}

/// Settings that a node has checked before they went into the log.
pub(super) fn settings_from_pb(name: &str, put: &RealmSettings) -> Result<config::Realm, DecodeError> {
    settings::from_pb(name, put).map_err(|_| broken("settings of a realm that this build does not know"))
}

pub(super) fn revision_to_pb(revision: &RealmRevision) -> pb::RealmRevision {
    pb::RealmRevision {
        realm: revision.realm.to_string(),
        settings: revision.settings,
        rights: revision.rights,
    }
}

pub(super) fn revision_from_pb(revision: pb::RealmRevision) -> RealmRevision {
    RealmRevision {
        realm: Uri::new(revision.realm),
        settings: revision.settings,
        rights: revision.rights,
    }
}
