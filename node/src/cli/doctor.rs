//! `ringfort doctor`: what a configuration exposes, and how bad that is.

use std::{fmt, path::PathBuf};

use clap::Args;
use serde_json::json;

use super::{Failure, check::idle_roles, environment, print_line};
use crate::config::{Anonymous, ClientCertificates, Config, CrlExpired, ListenerTls, Source, UnknownName};

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
    /// Good to know, and no finding.
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
        let count = |weight| findings.iter().filter(|finding| finding.weight == weight).count();
        let [bad, warn, notes] = [Weight::Bad, Weight::Warn, Weight::Note].map(count);
        print_line(&format!(
            "{source}: {} findings, {bad} of them bad; {notes} notes",
            bad + warn
        ))
    }
}

/// What a port with TLS that others reach could do better.
fn of_tls(tls: &ListenerTls, setting: &dyn Fn(&str) -> String, find: &mut impl FnMut(Weight, String, &str, &'static str)) {
    if tls.client_certificates != ClientCertificates::Off {
        if tls.client_crl.is_none() {
            find(
                Weight::Warn,
                setting("tls.client_crl"),
                "the certificate of a device that was lost cannot be revoked",
                "name a file with the revocation lists of client_ca; it is read again when it changes",
            );
        } else if tls.crl_expired == CrlExpired::Accept {
            find(
                Weight::Note,
                setting("tls.crl_expired"),
                "a revocation list that is not renewed counts for ever",
                "write refuse, where renewing it is looked after",
            );
        }
    }
    if tls.unknown_name == UnknownName::Default {
        find(
            Weight::Note,
            setting("tls.unknown_name"),
            "who looks for servers by their addresses is shown a certificate with the server's names",
            "write refuse, unless clients connect by address",
        );
    }
}

/// True if whoever is named there is on this machine.
fn is_loopback(host: &str) -> bool {
    let host = host.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
        let setting = |key: &str| format!("listener[{index}].{key}");
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
        if let Some(tls) = listener.tls.as_ref().filter(|_| reachable) {
            of_tls(tls, &setting, &mut find);
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
        if realm.allow_force_reregister && is_open {
            let what = format!(
                "whoever may register with force_reregister in {} can take a procedure from a device",
                realm.name
            );
            find(
                Weight::Warn,
                format!("realm[{index}].allow_force_reregister"),
                &what,
                "leave it out, or give the right force_reregister to few",
            );
        }
        if realm.allow_define && is_open {
            let what = format!("any client of {} can say which payloads are let through", realm.name);
            find(
                Weight::Warn,
                format!("realm[{index}].allow_define"),
                &what,
                "leave it out, and write [[realm.definitions]]",
            );
        }
    }
    if is_open && config.audit.path.is_none() {
        find(
            Weight::Note,
            "audit.path".to_owned(),
            "who was refused, and who changed which rights, is not kept",
            "name a file in [audit]",
        );
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
    let traces = &config.observability.traces;
    let elsewhere = traces.endpoint.strip_prefix("http://").filter(|host| !is_loopback(host));
    if elsewhere.is_some() {
        let (weight, what) = match traces.headers.is_empty() {
            true => (
                Weight::Warn,
                "which procedures and topics are used, and by which sessions, crosses the network in clear",
            ),
            false => (
                Weight::Bad,
                "what the collector knows this node by, and which procedures are used, crosses the network in clear",
            ),
        };
        find(
            weight,
            "observability.traces.endpoint".to_owned(),
            what,
            "write https:// and observability.traces.ca, or run a collector beside the node",
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
        // A first try loses nothing that anybody else relies on.
        let weight = if is_open || !cluster.is_single() {
            Weight::Warn
        } else {
            Weight::Note
        };
        find(
            weight,
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
        assert!(
            examine(&config).iter().all(|finding| finding.weight == Weight::Note),
            "nothing is to be found in what runs without a file"
        );
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
        config.audit.path = Some(PathBuf::from("/var/log/ringfort.jsonl"));
        let tls = config.listeners[0].tls.as_mut().unwrap();
        tls.unknown_name = UnknownName::Refuse;
        assert_eq!(examine(&config).len(), 1, "a single node remains to be noted");
    }

    #[test]
    fn what_was_opened_beside_the_ports_is_found() {
        let mut config = Config::default();
        let settings = |config: &Config, weight| -> Vec<String> {
            let findings = examine(config).into_iter().filter(|finding| finding.weight == weight);
            findings.map(|finding| finding.setting).collect()
        };
        config.observability.traces.endpoint = "http://127.0.0.1:4317".to_owned();
        assert!(settings(&config, Weight::Warn).is_empty());
        config.observability.traces.endpoint = "http://otel.example.com:4317".to_owned();
        assert_eq!(settings(&config, Weight::Warn), ["observability.traces.endpoint"]);
        config.observability.traces.headers = vec![crate::config::Secret::new("key: secret")];
        assert_eq!(settings(&config, Weight::Bad), ["observability.traces.endpoint"]);
        config.observability.traces = crate::config::Traces::default();
        config.listeners[0].address = "0.0.0.0:8443".parse().unwrap();
        config.listeners[0].tls = Some(ListenerTls {
            client_certificates: ClientCertificates::Required,
            ..ListenerTls::default()
        });
        config.realms[0].allow_force_reregister = true;
        config.realms[0].allow_define = true;
        assert_eq!(
            settings(&config, Weight::Warn),
            [
                "listener[0].tls.client_crl",
                "realm[0].allow_force_reregister",
                "realm[0].allow_define",
                "cluster.data_dir"
            ]
        );
    }
}
