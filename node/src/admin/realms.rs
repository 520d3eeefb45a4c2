//! Realms over gRPC: which there are, and those that are made and taken away at run time.

use ringfort_proto::admin::v1::{self as pb, realms_server::Realms};
use serde_json::Value;
use tonic::{Request, Response, Status};

use super::{
    access::{Access, Reply, caller},
    caller::Caller,
};
use crate::{
    audit::Event,
    cluster::{
        catalog::{Edits, Itself, RealmEdit},
        settings,
    },
    config,
    wamp::Uri,
};

#[tonic::async_trait]
impl Realms for Access {
    async fn list(&self, _: Request<pb::ListRealmsRequest>) -> Reply<pb::ListRealmsReply> {
        let catalog = std::sync::Arc::clone(&self.inspect.view.borrow().catalog);
        let fixed: Vec<_> = self.fixed().keys().map(|name| (name.clone(), None)).collect();
        let of_log = catalog.live().filter(|(name, ..)| !self.fixed().contains_key(*name));
        let of_log = of_log.map(|(name, revision, settings)| (name.clone(), Some((revision, settings::to_pb(settings)))));
        let mut all: Vec<_> = fixed.into_iter().chain(of_log).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let realms = all.into_iter().filter_map(|(name, of_log)| {
            let handle = self.inspect.shared.realm(&name)?;
            let (settings_revision, settings) = of_log.unzip();
            Some(handle.with_core(|core| {
                let authority = core.authority();
                pb::Realm {
                    name: name.to_string(),
                    revision: authority.revision(),
                    roles: core.policy().roles().count() as u64,
                    principals: authority.principals().count() as u64,
                    fixed: settings.is_none(),
                    settings_revision: settings_revision.unwrap_or(0),
                    settings,
                }
            }))
        });
        let realms = realms.collect();
        Ok(Response::new(pb::ListRealmsReply { realms }))
    }

    async fn put(&self, request: Request<pb::PutRealmRequest>) -> Reply<pb::ChangeReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let settings = request.settings.unwrap_or_default();
        let settings = settings::from_pb(&request.realm, &settings).map_err(Status::invalid_argument)?;
        config::Document::check_realm(&settings).map_err(Status::invalid_argument)?;
        let itself = Itself::Put(Box::new(settings));
        self.change_realm(&caller, &request.realm, itself, request.expected).await
    }

    async fn remove(&self, request: Request<pb::RemoveRealmRequest>) -> Reply<pb::ChangeReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        self.change_realm(&caller, &request.realm, Itself::Goes, request.expected)
            .await
    }
}

impl Access {
    async fn change_realm(&self, caller: &Caller, name: &str, itself: Itself, expected: Option<u64>) -> Reply<pb::ChangeReply> {
        if self.fixed().contains_key(name) {
            let text = format!("realm {name} stands in the configuration of this node and is changed there");
            return Err(Status::failed_precondition(text));
        }
        let before = {
            let view = self.inspect.view.borrow();
            view.catalog.settings(name).map_or(Value::Null, told)
        };
        let (what, after) = match &itself {
            Itself::Put(settings) => ("put_realm", told(settings)),
            _ => ("remove_realm", Value::Null),
        };
        let event = Event {
            realm: Some(name.to_owned()),
            what: Some(format!("{what} {name}")),
            before: Some(before),
            after: Some(after),
            ..Event::of("change")
        };
        let edit = RealmEdit {
            itself,
            settings_expected: expected,
            ..RealmEdit::of(Uri::from(name))
        };
        let edits = Edits {
            realms: vec![edit],
            ..Edits::default()
        };
        let made = self.edit(caller, edits, vec![event]).await?;
        let revision = made.revisions.first().map_or(0, |one| one.settings);
        Ok(Response::new(pb::ChangeReply {
            revision,
            index: made.index,
            confirmed: made.confirmed,
            unconfirmed: made.unconfirmed,
        }))
    }
}

/// Settings as the audit log has them: those that are not the default.
pub(super) fn told(realm: &config::Realm) -> Value {
    let mut settings = settings_of(realm);
    let default = settings_of(&config::Realm::default());
    settings.retain(|key, value| default.get(key) != Some(value));
    Value::Object(settings)
}

/// All that are replicated, by name.
pub(super) fn settings_of(realm: &config::Realm) -> serde_json::Map<String, Value> {
    const NOT_REPLICATED: [&str; 6] = ["name", "rights", "roles", "topics", "definitions", "jwt"];
    // A struct of texts and numbers: it cannot fail.
    let Ok(Value::Object(mut settings)) = serde_json::to_value(realm) else {
        return serde_json::Map::new();
    };
    settings.retain(|key, _| !NOT_REPLICATED.contains(&key.as_str()));
    settings
}
