//! Files that are written once: certificates and keys.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::Write,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, DnType, SanType};

use super::Failure;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    Everybody,
    OwnerOnly,
}

/// The exit code of failures around certificates and keys.
const CERTIFICATE: u8 = 5;

/// A failure around certificates and keys.
pub(super) fn failure(text: impl std::fmt::Display) -> Failure {
    Failure {
        code: CERTIFICATE,
        text: text.to_string(),
    }
}

/// Writes `files` into `directory`, which is made if missing. Writes none if one of them is there already.
pub(super) fn write_new(directory: &Path, files: &[(&str, Readers, String)]) -> Result<Vec<PathBuf>, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| failure(format!("cannot make {}: {error}", directory.display())))?;
    let paths: Vec<PathBuf> = files.iter().map(|(name, ..)| directory.join(name)).collect();
    if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        let remedy = "nothing is overwritten: name another directory, or move the file away first";
        return Err(failure(format!("{} exists already; {remedy}", path.display())));
    }
    for (path, (_, readers, text)) in paths.iter().zip(files) {
        let written = create(path, *readers, text);
        written.map_err(|error| failure(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(paths)
}

/// Writes `files` into `directory`, which is made if missing, each in the place of what was called so before. Nobody sees half a
/// file, but a certificate may for a moment stand beside the key of its predecessor: for files that are read at a start.
pub(super) fn replace(directory: &Path, files: &[(&str, Readers, String)]) -> Result<Vec<PathBuf>, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| failure(format!("cannot make {}: {error}", directory.display())))?;
    let mut paths = Vec::new();
    for (name, readers, text) in files {
        let (path, draft) = (directory.join(name), directory.join(format!(".{name}.new")));
        // What an interrupted run has left behind; if it is there for another reason, creating it says so.
        let _ = std::fs::remove_file(&draft);
        let written = create(&draft, *readers, text).and_then(|()| std::fs::rename(&draft, &path));
        written.map_err(|error| failure(format!("cannot write {}: {error}", path.display())))?;
        paths.push(path);
    }
    Ok(paths)
}

fn create(path: &Path, readers: Readers, text: &str) -> std::io::Result<()> {
    let mode = if readers == Readers::OwnerOnly { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A certificate for `hosts` (IP addresses and DNS names), called `name`, valid from yesterday for `days` days.
pub(super) fn certificate(name: &str, hosts: &[String], days: u32) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::default();
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                let label =
                    |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b));
                let wrong = || failure(format!("{host} is neither an IP address nor a DNS name"));
                let host = host.as_str();
                if !host.split('.').all(label) {
                    return Err(wrong());
                }
                SanType::DnsName(host.try_into().map_err(|_| wrong())?)
            }
        });
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // A day back, for clocks that run behind.
    params.not_before = epoch + now.saturating_sub(Duration::from_secs(24 * 3600));
    params.not_after = epoch + now + Duration::from_secs(u64::from(days) * 24 * 3600);
    Ok(params)
}
