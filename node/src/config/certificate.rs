//! Looks at certificate and key files before anything is started, so that a mistake is named instead of every handshake failing.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{ClusterTls, Fault, Problem};

/// What the certificate of a node must say.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) cluster_id: &'a str,
    pub(super) node_name: &'a str,
}

/// Checks a certificate chain and its key: readable, in date, and belonging together.
pub(super) fn check_pair(
    path: &str,
    certificate: &Path,
    key: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Vec<CertificateDer<'static>>> {
    let chain = chain(&format!("{path}.certificate"), certificate, problems);
    let key = private_key(&format!("{path}.key"), key, problems);
    let (chain, key) = (chain?, key?);
    let signing_key = rustls::crypto::ring::sign::any_supported_type(&key);
    let fits = match signing_key {
        Ok(signing_key) => rustls::sign::CertifiedKey::new(chain.clone(), signing_key)
            .keys_match()
            .is_ok(),
        Err(_) => false,
    };
    if !fits {
        let remedy = "give the key that was made together with the certificate";
        problems.push(wrong(&format!("{path}.key"), "does not belong to the certificate", remedy));
    }
    Some(chain)
}

/// Checks a file of authorities.
pub(super) fn check_authorities(path: &str, file: &Path, problems: &mut Vec<Problem>) {
    chain(path, file, problems);
}

/// Checks the three files of a cluster node, and that the certificate names this node of this cluster.
pub(super) fn check_cluster(path: &str, tls: &ClusterTls, identity: Identity<'_>, problems: &mut Vec<Problem>) {
    let roots = chain(&format!("{path}.ca"), &tls.ca, problems);
    let Some(certificates) = check_pair(path, &tls.certificate, &tls.key, problems) else {
        return;
    };
    let Some(leaf) = certificates
        .first()
        .and_then(|der| X509Certificate::from_der(der).ok())
        .map(|(_, leaf)| leaf)
    else {
        return;
    };
    let at = format!("{path}.certificate");
    let Identity { cluster_id, node_name } = identity;
    let wanted = format!("ringfort://{cluster_id}/{node_name}");
    let names = leaf
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|names| names.value.general_names.clone())
        .unwrap_or_default();
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    if !uris.contains(&wanted.as_str()) {
        let found = if uris.is_empty() {
            "no node".to_owned()
        } else {
            uris.join(", ")
        };
        let remedy = format!(
            "make it with ringfort ca node --name {node_name} from the authority of cluster {cluster_id}, or mend node.name or cluster.id"
        );
        problems.push(wrong(&at, &format!("names {found}, not {wanted}"), &remedy));
    }
    let authorities: Vec<_> = roots
        .iter()
        .flatten()
        .filter_map(|der| X509Certificate::from_der(der).ok())
        .map(|(_, ca)| ca)
        .collect();
    let intermediates = certificates.len() > 1;
    if roots.is_some() && !intermediates && !authorities.iter().any(|ca| ca.subject() == leaf.issuer()) {
        let remedy = "give the ca.pem of the authority that signed it";
        problems.push(wrong(
            &at,
            &format!("was signed by {}, which is not in {path}.ca", leaf.issuer()),
            remedy,
        ));
    }
}

fn chain(path: &str, file: &Path, problems: &mut Vec<Problem>) -> Option<Vec<CertificateDer<'static>>> {
    if file.as_os_str().is_empty() {
        problems.push(wrong(
            path,
            "missing",
            "name a PEM file; ringfort ca and ringfort keygen make some",
        ));
        return None;
    }
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = match read {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => {
            problems
                .push(wrong(path, "holds no certificate", "name a PEM file with BEGIN CERTIFICATE in it").value(file.display()));
            return None;
        }
        Err(error) => {
            problems.push(unreadable(path, file, &error));
            return None;
        }
    };
    for der in &chain {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            problems.push(wrong(path, "holds something that is no X.509 certificate", "make it anew").value(file.display()));
            return None;
        };
        let validity = certificate.validity();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as i64);
        if now > validity.not_after.timestamp() {
            let what = format!("expired on {}", validity.not_after);
            problems.push(wrong(path, &what, "make a new one").value(file.display()));
        } else if now < validity.not_before.timestamp() {
            let what = format!("not valid before {}", validity.not_before);
            problems.push(wrong(path, &what, "set the clock of this machine, or make a new one").value(file.display()));
        }
    }
    Some(chain)
}

fn private_key(path: &str, file: &Path, problems: &mut Vec<Problem>) -> Option<PrivateKeyDer<'static>> {
    if file.as_os_str().is_empty() {
        problems.push(wrong(path, "missing", "name the PEM file of the certificate's private key"));
        return None;
    }
    PrivateKeyDer::from_pem_file(file)
        .map_err(|error| problems.push(unreadable(path, file, &error)))
        .ok()
}

fn unreadable(path: &str, file: &Path, error: &rustls_pki_types::pem::Error) -> Problem {
    use rustls_pki_types::pem::Error;
    let (what, remedy) = match error {
        Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => (
            "no such file".to_owned(),
            "mend the path; it is relative to the directory in which ringfort was started",
        ),
        Error::Io(error) => (format!("cannot be read: {error}"), "let the user that runs ringfort read it"),
        Error::NoItemsFound => (
            "holds nothing of the kind".to_owned(),
            "name a PEM file; certificate and key are two files",
        ),
        other => (format!("not readable as PEM: {other}"), "make it anew, or convert it to PEM"),
    };
    wrong(path, &what, remedy).value(file.display())
}

fn wrong(path: &str, what: &str, remedy: &str) -> Problem {
    Problem::new(path, what, remedy).fault(Fault::Certificate)
}
