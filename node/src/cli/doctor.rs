//! `ringfort doctor`: what a configuration exposes, and how bad that is.

use std::{fmt, path::PathBuf};

use clap::Args;
use serde_json::json;

use super::{Failure, check::idle_roles, environment, print_line};
use crate::config::{Anonymous, Config, Source};

/// Tell what a configuration exposes to others, and what it would lose.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The TOML file to look at, or - for standard input; without it, what serve does without a file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one line of JSON per finding.
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Somebody can get in, or read along.
    Bad,
    /// Something may be lost, or is open wider than it need be.
    Warn,
    /// Good to know.
    Note,
}

/// One thing to know.
#[derive(Debug)]
struct Finding {
    weight: Weight,
    setting: String,
    what: String,
    remedy: &'static str,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Failure> {
        let source = Source::from_argument(self.config.as_deref());
        let config = Config::load(&source, environment())?;
        let mut findings = examine(&config);
        findings.sort_by_key(|finding| finding.weight);
        if self.json {
            for Finding {
                weight,
                setting,
                what,
                remedy,
            } in &findings
            {
                let line = json!({ "weight": weight.to_string(), "setting": setting, "what": what, "remedy": remedy });
                print_line(&line.to_string())?;
            }
            return Ok(());
        }
        let width = findings.iter().map(|finding| finding.setting.len()).max().unwrap_or(0);
        for Finding {
            weight,
            setting,
            what,
            remedy,
        } in &findings
        {
            print_line(&format!(
                "{weight:<4}  {setting:<width$}  {what}\n{:6}{:width$}  remedy: {remedy}",
                "", ""
            ))?;
        }
        let bad = findings.iter().filter(|finding| finding.weight == Weight::Bad).count();
        print_line(&format!("{source}: {} findings, {bad} of them bad", findings.len()))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Weight::Bad => "bad",
            Weight::Warn => "warn",
            Weight::Note => "note",
        })
    }
}

fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |weight, setting: String, what: &str, remedy| {
        findings.push(Finding {
            weight,
            setting,
            what: what.to_owned(),
            remedy,
        });
    };
    let is_open = config.listeners.iter().any(|listener| !listener.address.ip().is_loopback());
    for (index, listener) in config.listeners.iter().enumerate() {
        let setting = |key| format!("listener[{index}].{key}");
        let reachable = !listener.address.ip().is_loopback();
        if reachable && listener.tls.is_none() {
            let what = format!("{} is reachable from other machines and not encrypted", listener.address);
            find(
                Weight::Bad,
                setting("tls"),
                &what,
                "add [listener.tls], or listen on loopback behind a TLS proxy",
            );
        }
        if listener.origins.iter().any(|origin| origin == "*") {
            let weight = if reachable { Weight::Warn } else { Weight::Note };
            find(
                weight,
                setting("origins"),
                "pages of any web site may connect",
                "list the origins of your own pages",
            );
        }
    }
    if is_open && config.limits.per_source.sessions_max == 0 {
        find(
            Weight::Note,
            "limits.per_source.sessions_max".to_owned(),
            "one address may take all connections of a listener",
            "write how many one address may have; offices and mobile networks share one",
        );
    }
    for (index, realm) in config.realms.iter().enumerate() {
        let setting = format!("realm[{index}].anonymous");
        let remedy = "add [[principal]] entries and write anonymous = \"off\"";
        match realm.anonymous {
            Anonymous::On if is_open => {
                let what = format!(
                    "anybody who reaches a port may join {} and call, register and publish there",
                    realm.name
                );
                find(Weight::Bad, setting, &what, remedy);
            }
            Anonymous::On | Anonymous::Loopback => {
                let what = format!("every program of this machine may join {}", realm.name);
                find(Weight::Note, setting, &what, remedy);
            }
            Anonymous::Off => {}
        }
    }
    if let Some(address) = config.observability.address.0.filter(|address| !address.ip().is_loopback()) {
        let what = format!("{address} tells whoever reaches it how much traffic there is, and the names of realms and nodes");
        find(
            Weight::Note,
            "observability.address".to_owned(),
            &what,
            "let only Prometheus and the probes reach it, by the rules of the network",
        );
    }
    for what in idle_roles(config) {
        find(
            Weight::Note,
            "realm.roles".to_owned(),
            &what,
            "list what each role may do in [[realm.roles]]",
        );
    }
    let sends_tickets = |principal: &crate::config::Principal| {
        let verifier = |one: &crate::config::Secret| one.expose().trim_start().starts_with("ticket:");
        !principal.ticket.expose().is_empty() || principal.verifiers.iter().any(verifier)
    };
    if config.principals.iter().any(sends_tickets)
        && config
            .listeners
            .iter()
            .any(|l| !l.address.ip().is_loopback() && l.tls.is_none() && l.tickets_in_clear)
    {
        find(
            Weight::Bad,
            "principal".to_owned(),
            "tickets cross the network in clear",
            "add [listener.tls] to every open listener, or take tickets_in_clear out",
        );
    }
    let cluster = &config.cluster;
    if cluster.data_dir.is_none() {
        let what = "durable = false: what the cluster agreed on is forgotten when the process ends";
        find(
            Weight::Warn,
            "cluster.data_dir".to_owned(),
            what,
            "name a directory on a disk of this node",
        );
    }
    if !cluster.is_single() && cluster.tls.is_none() {
        let what = "nodes do not prove themselves to each other; any program of this machine may pose as one";
        find(
            Weight::Warn,
            "cluster.tls".to_owned(),
            what,
            "make certificates with ringfort ca",
        );
    }
    if cluster.is_single() {
        let what = "a single node: while it is down, nobody is served";
        find(
            Weight::Note,
            "cluster.peers".to_owned(),
            what,
            "list three nodes on three machines",
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_port_without_walls_is_called_bad() {
        let mut config = Config::default();
        assert!(examine(&config).iter().all(|finding| finding.weight != Weight::Bad));
        config.listeners[0].address = "0.0.0.0:8080".parse().unwrap();
        config.realms[0].anonymous = Anonymous::On;
        let findings = examine(&config);
        let bad: Vec<&str> = findings
            .iter()
            .filter(|f| f.weight == Weight::Bad)
            .map(|f| f.setting.as_str())
            .collect();
        assert_eq!(bad, ["listener[0].tls", "realm[0].anonymous"]);
        assert!(findings.iter().any(|finding| finding.what.contains("durable = false")));
        config.listeners[0].tls = Some(crate::config::ListenerTls::default());
        config.cluster.data_dir = Some(PathBuf::from("/var/lib/ringfort"));
        config.realms[0].anonymous = Anonymous::Off;
        assert!(
            findings
                .iter()
                .any(|finding| finding.setting == "limits.per_source.sessions_max")
        );
        config.limits.per_source.sessions_max = 100;
        assert_eq!(examine(&config).len(), 1, "a single node remains to be noted");
    }
}
