//! `ringfort ca`: the certificates with which the nodes of a cluster prove themselves to each other, and operators to the nodes.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    Failure,
    files::{self, Readers, failure},
    print_line,
};
use crate::config::Node;

/// Make the certificates of a cluster: once an authority, then one certificate per node; and of those who use its admin ports.
///
/// Keep ca.key away from the nodes: whoever has it can add nodes. Each node needs ca.pem, and its own .pem and .key.
#[derive(Debug, Args)]
pub(super) struct Ca {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Make the authority: DIR/ca.pem and DIR/ca.key.
    Init {
        /// The cluster's name, as in cluster.id of the settings.
        #[arg(long, value_name = "ID")]
        cluster_id: String,
        /// Where to write; made if missing.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How long it is valid.
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
    },
    /// Make the certificate of a node: DIR/NAME.pem and DIR/NAME.key.
    Node {
        /// The directory with ca.pem and ca.key.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The node's name, as in node.name of its settings.
        #[arg(long)]
        name: String,
        /// IP addresses and DNS names by which the other nodes dial it; repeat, or separate by commas.
        #[arg(long = "host", value_delimiter = ',', default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
        hosts: Vec<String>,
        /// How long it is valid.
        #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
        /// Write into this directory instead of DIR; made if missing.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Take the place of an earlier certificate and key of this name.
        #[arg(long)]
        replace: bool,
    },
    /// Make the certificate of somebody who uses admin ports: DIR/NAME.pem and DIR/NAME.key. It is of no use to a node.
    ///
    /// DIR is best that of an authority of its own: make it with ringfort ca init, and name its ca.pem in admin.tls.client_ca.
    Client {
        /// The directory with ca.pem and ca.key.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Who it is: [[admin.clients]] names it as cn:NAME.
        #[arg(long)]
        name: String,
        /// How long it is valid.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
    },
}

/// The authority's common name is this, followed by the id of its cluster.
const SUBJECT: &str = "ringfort cluster ";

impl Ca {
    pub(super) fn run(self) -> Result<(), Failure> {
        let paths = match self.command {
            CaCommand::Init { cluster_id, out, days } => init(&cluster_id, &out, days)?,
            CaCommand::Node {
                dir,
                name,
                hosts,
                days,
                out,
                replace,
            } => {
                let files = node(&dir, &name, &hosts, days)?;
                write(out.as_deref().unwrap_or(&dir), &files, replace)?
            }
            CaCommand::Client { dir, name, days } => {
                let files = client(&dir, &name, days)?;
                write(&dir, &files, false)?
            }
        };
        paths.iter().try_for_each(|path| print_line(&path.display().to_string()))
    }
}

/// Writes a new authority for the cluster `id`.
fn init(id: &str, directory: &Path, days: u32) -> Result<Vec<PathBuf>, Failure> {
    check_name("--cluster-id", id)?;
    let key = KeyPair::generate().map_err(failure)?;
    let certificate = authority(id, days)?.self_signed(&key).map_err(failure)?;
    let files = [
        ("ca.pem", Readers::Everybody, certificate.pem()),
        ("ca.key", Readers::OwnerOnly, key.serialize_pem()),
    ];
    files::write_new(directory, &files)
}

/// The certificate of the node `name` and its key, signed by the authority in `directory`.
fn node(directory: &Path, name: &str, hosts: &[String], days: u32) -> Result<[(String, Readers, String); 2], Failure> {
    check_name("--name", name)?;
    let mut params = files::certificate(name, hosts, days)?;
    let (cluster_id, _) = authority_in(&directory.join("ca.pem"))?;
    let identity = format!("ringfort://{cluster_id}/{name}");
    params
        .subject_alt_names
        .push(SanType::URI(identity.try_into().map_err(failure)?));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    sign(directory, name, params)
}

/// The same of the operator `name`.
fn client(directory: &Path, name: &str, days: u32) -> Result<[(String, Readers, String); 2], Failure> {
    let mut params = files::certificate(name, &[], days)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(directory, name, params)
}

/// Writes files that nobody has yet, or takes the place of those that were.
fn write(directory: &Path, files: &[(String, Readers, String)], replace: bool) -> Result<Vec<PathBuf>, Failure> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, readers, text)| (name.as_str(), *readers, text.clone()))
        .collect();
    if replace {
        files::replace(directory, &files)
    } else {
        files::write_new(directory, &files)
    }
}

/// Signs a certificate for `name` with the authority in `directory`; with its key.
fn sign(directory: &Path, name: &str, mut params: CertificateParams) -> Result<[(String, Readers, String); 2], Failure> {
    check_name("--name", name)?;
    if name == "ca" {
        return Err(failure("nobody can be called ca: its files would be those of the authority"));
    }
    let (_, authority) = authority_in(&directory.join("ca.pem"))?;
    let ca_key = directory.join("ca.key");
    let unreadable = |error: &dyn std::fmt::Display| {
        failure(format!(
            "cannot read {}: {error}; make it with ringfort ca init",
            ca_key.display()
        ))
    };
    let ca_key = KeyPair::from_pem(&std::fs::read_to_string(&ca_key).map_err(|error| unreadable(&error))?)
        .map_err(|error| unreadable(&error))?;
    // The issuer is named in the very bytes of the authority's certificate, whoever made that: a Helm chart makes its own.
    let issuer = Issuer::from_ca_cert_der(&authority, ca_key).map_err(failure)?;

    let key = KeyPair::generate().map_err(failure)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(failure)?;
    Ok([
        (format!("{name}.pem"), Readers::Everybody, certificate.pem()),
        (format!("{name}.key"), Readers::OwnerOnly, key.serialize_pem()),
    ])
}

fn authority(id: &str, days: u32) -> Result<CertificateParams, Failure> {
    let mut params = files::certificate(&format!("{SUBJECT}{id}"), &[], days)?;
    params.distinguished_name.push(DnType::OrganizationName, "Ringfort");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// The cluster for which the authority in `file` was made, and its certificate.
fn authority_in(file: &Path) -> Result<(String, CertificateDer<'static>), Failure> {
    let shown = file.display();
    let der = CertificateDer::from_pem_file(file)
        .map_err(|error| failure(format!("cannot read {shown}: {error}; make it with ringfort ca init")))?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| failure(format!("{shown}: {error}")))?;
    let name = certificate
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    let id = name.and_then(|name| name.strip_prefix(SUBJECT));
    let id = id.map(str::to_owned);
    let id = id.ok_or_else(|| failure(format!("{shown} was not made by ringfort ca init")))?;
    Ok((id, der))
}

fn check_name(argument: &str, name: &str) -> Result<(), Failure> {
    if Node::is_name(name) {
        return Ok(());
    }
    Err(Failure {
        code: 2,
        text: format!("{argument} {name}: use letters, digits, -, _ and ., at most 63"),
    })
}
