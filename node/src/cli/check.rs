//! `ringfort check`: is this file fit to be served?

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;

use super::{Failure, environment, print_line};
use crate::{
    config::{Anonymous, Config, RightsFrom, Source},
    node::{self, policy::policy as policy_of},
    router::{MatchPolicy, Right, policy::Who},
    wamp::Uri,
};

/// Look a configuration over without starting anything.
///
/// Certificates and keys are opened and compared too. Variables RINGFORT__SECTION__KEY count as they would for serve. Exit codes as
/// for serve: 3 wrong settings, 5 a certificate or key, 6 the data directory.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The TOML file, or - for standard input.
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Print instead a JSON Schema of the settings, for editors.
    #[arg(long, exclusive = true)]
    schema: bool,
    /// Also print the settings in effect, defaults included and secrets masked.
    #[arg(long)]
    print: bool,
    /// Explain instead whether a principal may do something, and which permission of the file decides: its authid, then call,
    /// register, publish or subscribe, then a URI.
    #[arg(long, num_args = 3, value_names = ["AUTHID", "VERB", "URI"], conflicts_with = "print")]
    why: Option<Vec<String>>,
    #[command(flatten)]
    about: About,
}

/// What a question about rights leaves open.
#[derive(Debug, Args)]
struct About {
    /// The realm, where the file has several.
    #[arg(long, requires = "why")]
    realm: Option<String>,
    /// The role, for somebody who is no `[[principal]]` of the file.
    #[arg(long, requires = "why")]
    role: Option<String>,
    /// How URI is meant: exact, prefix or wildcard, as in SUBSCRIBE and REGISTER.
    #[arg(long = "match", requires = "why", default_value = "exact")]
    policy: String,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.schema {
            return print_line(SCHEMA.trim_end());
        }
        let source = Source::from_argument(self.file.as_deref());
        let config = Config::load(&source, environment())?;
        node::check_definitions(&config).map_err(|error| Failure {
            text: error.to_string(),
            code: node::StartError::from(error).exit_code(),
        })?;
        node::check_issuers(&config).map_err(|error| Failure {
            text: error.to_string(),
            code: node::StartError::from(error).exit_code(),
        })?;
        node::check_traces(&config).map_err(|error| Failure {
            text: error.to_string(),
            code: node::StartError::from(error).exit_code(),
        })?;
        if self.print {
            return print_line(config.redacted().trim_end());
        }
        if let Some([authid, verb, uri]) = self.why.as_deref() {
            return print_line(&self.about.explain(&config, authid, verb, uri)?);
        }
        for realm in config.realms.iter().filter(|realm| realm.rights == RightsFrom::Seed) {
            print_line(&format!(
                "note: the roles and principals of realm {} are those it begins with; once a cluster has it, they are looked at and changed \
                 with ringfort admin, and what the file says has no effect",
                realm.name
            ))?;
        }
        for note in idle_roles(&config) {
            print_line(&format!("note: {note}"))?;
        }
        print_line(&format!(
            "stops within {} s of SIGTERM ([drain] and node.drain_secs): give whatever stops it more",
            config.stops_within().as_secs_f64().ceil()
        ))?;
        print_line(&format!("{source}: no problems"))
    }
}

impl About {
    fn explain(&self, config: &Config, authid: &str, verb: &str, uri: &str) -> Result<String, Failure> {
        let usage = |text: String| Failure { code: USAGE, text };
        let names = || {
            config
                .realms
                .iter()
                .map(|realm| realm.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let realm = match (&self.realm, config.realms.as_slice()) {
            (None, [only]) => only,
            (None, _) => return Err(usage(format!("say which realm with --realm: {}", names()))),
            (Some(name), realms) => {
                let found = realms.iter().find(|realm| realm.name == *name);
                found.ok_or_else(|| usage(format!("no realm {name} in the file; there are: {}", names())))?
            }
        };
        let principal = config.principals.iter().find(|p| p.realm == realm.name && p.authid == authid);
        let Some(authrole) = self.role.as_deref().or(principal.map(|p| p.role.as_str())) else {
            let text = format!(
                "{authid} is no principal of realm {} in the file: say its role with --role",
                realm.name
            );
            return Err(usage(text));
        };
        let right = Right::from_name(verb).ok_or_else(|| {
            let known: Vec<&str> = Right::ALL.into_iter().map(Right::name).collect();
            usage(format!("unknown verb {verb}; known are {}", known.join(", ")))
        })?;
        let policy = MatchPolicy::from_name(&self.policy)
            .ok_or_else(|| usage(format!("--match {} is none of exact, prefix and wildcard", self.policy)))?;
        let who = Who { authid, authrole };
        let explained = policy_of(realm).why(who, right, policy, &Uri::from(uri)).to_string();
        Ok(match realm.rights {
            RightsFrom::Fixed => explained,
            RightsFrom::Seed => format!(
                "{explained}\nby what realm {} begins with; ringfort admin why says what stands in a cluster that has it",
                realm.name
            ),
        })
    }
}

/// Made from the structs of the configuration; a test keeps both equal.
const SCHEMA: &str = include_str!("../../../docs/config.schema.json");

/// The exit code of a wrong command line.
const USAGE: u8 = 2;

/// Roles that sessions get and that may do nothing: nearly always an oversight.
pub(super) fn idle_roles(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    for realm in &config.realms {
        let anonymous = (realm.anonymous != Anonymous::Off).then_some(realm.anonymous_role.as_str());
        let principals = config.principals.iter().filter(|principal| principal.realm == realm.name);
        let given: BTreeSet<&str> = principals.map(|principal| principal.role.as_str()).chain(anonymous).collect();
        for role in given {
            if realm
                .roles
                .iter()
                .all(|known| known.name != role || known.permissions.is_empty())
            {
                notes.push(format!(
                    "role {role} of realm {} has no permissions, so its sessions may do nothing: add [[realm.roles]] with name = \"{role}\"",
                    realm.name
                ));
            }
        }
    }
    notes
}
