//! `ringfort admin put-realm` and `remove-realm`.

use clap::Args;
use ringfort_proto::admin::v1::{self as pb, realms_client::RealmsClient};
use tonic::transport::Channel;

use super::{
    output::{Output, Sure},
    reply::changed,
};
use crate::{
    cli::Failure,
    cluster::{catalog::replicable, settings},
    config::Document,
};

/// Make a realm that clients can join on every node, or change what it is like.
///
/// What is not set is as docs/config.md has it for a realm. Its roles and principals are put with put-role and put-principal, or all of it
/// with apply.
#[derive(Debug, Args)]
pub(super) struct PutRealm {
    realm: String,
    /// A setting of a realm and its value, such as anonymous=loopback or call_timeout_max=5000.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only if its settings still have this revision, 0 if it must be new.
    #[arg(long)]
    revision: Option<u64>,
}

/// Take a realm away that was put: its sessions end on every node, and its roles and principals are gone.
#[derive(Debug, Args)]
pub(super) struct RemoveRealm {
    realm: String,
    /// Only if its settings still have this revision.
    #[arg(long)]
    revision: Option<u64>,
    #[command(flatten)]
    sure: Sure,
}

impl PutRealm {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let settings = settings_of(&self.realm, &self.set)?;
        let request = pb::PutRealmRequest {
            realm: self.realm,
            settings: Some(settings),
            expected: self.revision,
        };
        changed(RealmsClient::new(channel).put(request).await, output)
    }
}

impl RemoveRealm {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        self.sure.ask(&format!(
            "this takes realm {} away on every node, with its roles, principals and sessions",
            self.realm
        ))?;
        let request = pb::RemoveRealmRequest {
            realm: self.realm,
            expected: self.revision,
        };
        changed(RealmsClient::new(channel).remove(request).await, output)
    }
}

/// Reads settings as a configuration file has them; a value that is no TOML is a text.
fn settings_of(realm: &str, set: &[String]) -> Result<pb::RealmSettings, Failure> {
    let usage = |text: String| Failure { code: 2, text };
    let mut table = toml::Table::new();
    table.insert("name".to_owned(), realm.into());
    for text in set {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| usage(format!("--set {text}: write KEY=VALUE, such as anonymous=loopback")))?;
        let read = format!("value = {value}").parse::<toml::Table>();
        let value = read
            .ok()
            .and_then(|mut read| read.remove("value"))
            .unwrap_or_else(|| value.into());
        if table.insert(key.trim().to_owned(), value).is_some() {
            return Err(usage(format!("--set {text}: {} is set twice", key.trim())));
        }
    }
    let document = toml::Table::from_iter([("realm".to_owned(), toml::Value::Array(vec![table.into()]))]);
    let document = Document::parse(&document.to_string()).map_err(usage)?;
    let [realm] = &document.realms[..] else {
        return Err(usage("--set: only settings of one realm".to_owned()));
    };
    let refused = |setting| {
        usage(format!(
            "{setting} cannot be replicated: set it in the configuration file of each node"
        ))
    };
    replicable(realm).map(|realm| settings::to_pb(&realm)).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_in_a_file() {
        let set = ["anonymous=loopback", "call_timeout_max = 5000", "allow_define=true"].map(str::to_owned);
        let read = settings_of("a.b", &set).unwrap();
        assert_eq!(
            (read.anonymous.as_str(), read.call_timeout_max, read.allow_define),
            ("loopback", 5000, true)
        );
        for (wrong, says) in [
            ("anonymous", "KEY=VALUE"),
            ("anonymous=maybe", "anonymous"),
            ("colour=3", "colour"),
            ("jwt=[{ issuer = \"a\", audience = \"b\", file = \"c\" }]", "jwt"),
        ] {
            let said = settings_of("a.b", &[wrong.to_owned()]).unwrap_err();
            assert!(said.code == 2 && said.text.contains(says), "{wrong}: {}", said.text);
        }
    }
}
