//! `ringfort keygen`: a certificate to try TLS with on a public port.

use std::path::PathBuf;

use clap::Args;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use super::{
    Failure,
    files::{self, Readers, failure},
    print_line,
};

/// Make a self-signed certificate for a public port: DIR/server.pem and DIR/server.key.
///
/// Clients must be told to trust it (`ringfort call --ca DIR/server.pem …`). For a port on the internet take a certificate of a
/// public authority instead.
#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// Where to write; made if missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// IP addresses and DNS names by which clients dial the port; repeat, or separate by commas.
    #[arg(long = "host", value_delimiter = ',', default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
    hosts: Vec<String>,
    /// How long it is valid.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
}

impl Keygen {
    pub(super) fn run(self) -> Result<(), Failure> {
        let key = KeyPair::generate().map_err(failure)?;
        let name = self.hosts.first().map_or("ringfort", String::as_str);
        let mut params = files::certificate(name, &self.hosts, self.days)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(failure)?;
        let files = [
            ("server.pem", Readers::Everybody, certificate.pem()),
            ("server.key", Readers::OwnerOnly, key.serialize_pem()),
        ];
        files::write_new(&self.out, &files)?
            .iter()
            .try_for_each(|path| print_line(&path.display().to_string()))
    }
}
