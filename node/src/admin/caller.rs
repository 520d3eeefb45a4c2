//! Who uses the admin port, and what it may do there.
//!
//! Invariant: a request is answered only after [`Caller::may`] has said so; whatever is not listed takes an owner.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    auth::CertificateMatch,
    config::{AdminClient, AdminRole},
};

/// Whoever is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name of its certificate that the configuration goes by; `loopback` where none is asked for.
    pub name: Arc<str>,
    /// What it may do; nothing if `None`.
    pub role: Option<AdminRole>,
    /// Where it comes from.
    pub source: SocketAddr,
}

/// Whom the configuration names.
#[derive(Clone, Debug)]
pub enum Callers {
    /// Whoever reaches the port, which is on loopback.
    Anybody,
    /// Those with these certificates.
    Named(Arc<[(CertificateMatch, AdminRole)]>),
}

/// Methods that look only. `*`: every method of that service.
const VIEWER: &[&str] = &[
    "/ringfort.admin.v1.Cluster/ListNodes",
    "/ringfort.admin.v1.Cluster/GetNode",
    "/ringfort.admin.v1.Realms/List",
    "/ringfort.admin.v1.Roles/List",
    "/ringfort.admin.v1.Roles/Why",
    "/ringfort.admin.v1.Principals/List",
    "/ringfort.admin.v1.Logs/GetLogLevel",
    "/ringfort.admin.v1.Drain/Status",
    "/ringfort.admin.v1.Sessions/List",
    "/ringfort.admin.v1.Sessions/Get",
    "/ringfort.admin.v1.Registrations/List",
    "/ringfort.admin.v1.Registrations/Get",
    "/ringfort.admin.v1.Subscriptions/List",
    "/ringfort.admin.v1.Subscriptions/Get",
    "/ringfort.admin.v1.SlowConsumers/List",
    "/grpc.health.v1.Health/*",
    "/grpc.reflection.v1.ServerReflection/*",
    "/grpc.reflection.v1alpha.ServerReflection/*",
    "/healthz",
    "/readyz",
    "/status",
    "/log",
];
/// Methods that change who somebody is or is there, or how much is logged, that send a node away, or that look at what others say. Payload takes
/// an owner.
const OPERATOR: &[&str] = &[
    "/ringfort.admin.v1.Principals/Put",
    "/ringfort.admin.v1.Principals/Remove",
    "/ringfort.admin.v1.Logs/SetLogLevel",
    "/ringfort.admin.v1.Settings/Reload",
    "/ringfort.admin.v1.Drain/Start",
    "/ringfort.admin.v1.Drain/Cancel",
    "/ringfort.admin.v1.Sessions/Kill",
    "/ringfort.admin.v1.Registrations/Remove",
    "/ringfort.admin.v1.Tap/Watch",
];

/// The least role for a request to that path.
pub(super) fn needed(path: &str) -> AdminRole {
    let listed = |list: &[&str]| {
        list.iter().any(|known| match known.strip_suffix('*') {
            Some(service) => path.starts_with(service),
            None => *known == path,
        })
    };
    match path {
        _ if listed(VIEWER) => AdminRole::Viewer,
        _ if listed(OPERATOR) => AdminRole::Operator,
        _ => AdminRole::Owner,
    }
}

impl Callers {
    /// Those of the configuration, which was checked.
    pub fn named(clients: &[AdminClient]) -> Self {
        let named = clients.iter().filter_map(|client| {
            let certificate = CertificateMatch::from_text(&client.certificate)?;
            Some((certificate, client.role))
        });
        Self::Named(named.collect())
    }

    /// Whoever shows a certificate of these names.
    pub(super) fn identify(&self, source: SocketAddr, names: &[CertificateMatch]) -> Caller {
        let (name, role) = match self {
            Self::Anybody => ("loopback".to_owned(), Some(AdminRole::Owner)),
            Self::Named(known) => match known.iter().find(|(certificate, _)| names.contains(certificate)) {
                Some((certificate, role)) => (certificate.to_string(), Some(*role)),
                // The common name comes last; the fingerprint, which every certificate has, comes first.
                None => (names.last().map_or_else(String::new, ToString::to_string), None),
            },
        };
        Caller {
            name: name.into(),
            role,
            source,
        }
    }
}

impl Caller {
    /// Whether it may ask for that path.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub(super) fn may(&self, path: &str) -> Result<(), String> {
        let needed = needed(path);
        match self.role {
            Some(role) if role >= needed => Ok(()),
            Some(role) => Err(format!(
                "{path} takes the role {}, and {} has the role {}: use a certificate of that role, or change it in [[admin.clients]]",
                needed.name(),
                self.name,
                role.name()
            )),
            None => Err(format!(
                "the certificate {} has no role here: add [[admin.clients]] with certificate = \"{}\" and role = \"{}\"",
                self.name,
                self.name,
                needed.name()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Callers {
        let client = |certificate: &str, role| AdminClient {
            certificate: certificate.to_owned(),
            role,
        };
        Callers::named(&[
            client("cn:vera", AdminRole::Viewer),
            client("dns:ops.example.com", AdminRole::Operator),
            client("cn:olga", AdminRole::Owner),
        ])
    }

    fn caller(names: &[&str]) -> Caller {
        let names: Vec<CertificateMatch> = names.iter().filter_map(|name| CertificateMatch::from_text(name)).collect();
        named().identify(([127, 0, 0, 1], 1).into(), &names)
    }

    #[test]
    fn a_role_may_what_those_below_it_may_and_no_more() {
        let paths = [
            "/ringfort.admin.v1.Roles/Why",
            "/ringfort.admin.v1.Principals/Remove",
            "/ringfort.admin.v1.Roles/Put",
        ];
        let may = |who: &Caller| paths.map(|path| who.may(path).is_ok());
        assert_eq!(may(&caller(&["cn:vera"])), [true, false, false]);
        assert_eq!(may(&caller(&["dns:ops.example.com", "cn:nobody"])), [true, true, false]);
        assert_eq!(may(&caller(&["cn:olga"])), [true, true, true]);
        assert_eq!(may(&caller(&["cn:eve"])), [false, false, false]);
        assert_eq!(may(&caller(&[])), [false, false, false]);
        assert_eq!(may(&Callers::Anybody.identify(([127, 0, 0, 1], 1).into(), &[])), [true; 3]);
    }

    #[test]
    fn a_refusal_names_the_role_and_the_remedy() {
        let said = caller(&["cn:vera"]).may("/ringfort.admin.v1.Roles/Put").unwrap_err();
        assert!(
            said.contains("takes the role owner") && said.contains("cn:vera has the role viewer"),
            "{said}"
        );
        let said = caller(&["cn:eve"]).may("/status").unwrap_err();
        assert!(said.contains("certificate = \"cn:eve\" and role = \"viewer\""), "{said}");
    }

    #[test]
    fn every_method_that_is_not_known_to_look_only_takes_more_than_a_viewer() {
        use prost::Message as _;
        let described = prost_types::FileDescriptorSet::decode(ringfort_proto::admin::v1::DESCRIPTORS).unwrap();
        let mut seen = 0;
        for file in &described.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let looks = matches!(
                        method.name(),
                        "List" | "Get" | "Why" | "GetLogLevel" | "ListNodes" | "GetNode" | "Status"
                    );
                    assert_eq!(needed(&path) == AdminRole::Viewer, looks, "{path}");
                    seen += 1;
                }
            }
        }
        assert!(seen >= 8);
        assert_eq!(needed("/ringfort.admin.v1.Nothing/Nothing"), AdminRole::Owner);
    }
}
