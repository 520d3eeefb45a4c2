//! `ringfort admin backup` and `restore`.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use ringfort_proto::admin::v1::{self as pb, backup_client::BackupClient};
use serde_json::json;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

use super::{
    output::{Output, Shown},
    reply::{confirmed, refused, told},
};
use crate::{
    admin::backup::file::Contents,
    cli::{Failure, backup},
};

/// Write what cannot be made again into a file: realms, roles, principals with their verifiers, definitions, and the cluster's key.
///
/// The file appears under its name once it is whole, on the disk, and was read back. No secret in clear stands in it; keep it like one all the same.
#[derive(Debug, Args)]
pub(super) struct CreateBackup {
    /// The file to write, for its owner alone; one of that name is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Put a backup into place in a new cluster.
///
/// Refused where realms, roles or principals were put already, and where the file is not whole.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup.
    file: PathBuf,
    /// It may be of a cluster of another id.
    #[arg(long)]
    other_cluster: bool,
}

impl CreateBackup {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut client = BackupClient::new(channel);
        let mut chunks = client.create(pb::CreateBackupRequest {}).await.map_err(refused)?.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk.map_err(refused)?.data);
        }
        // What arrived, before anything is replaced by it.
        Contents::from_bytes(&bytes).map_err(|error| Failure::new(format!("what the node sent: {error}")))?;
        write(&self.out, &bytes).map_err(|error| Failure::new(format!("{}: {error}", self.out.display())))?;
        let contents = backup::read(&self.out)?;
        let counts = contents.counts();
        let json = json!({
            "file": self.out.display().to_string(), "cluster": contents.cluster_id, "at_ms": contents.at_ms, "node": contents.node,
            "index": contents.index, "realms": counts.realms, "roles": counts.roles, "principals": counts.principals,
            "definitions": counts.definitions,
        });
        output.show(&Shown::new(json, backup::told(&self.out, &contents)))
    }
}

/// Writes beside, syncs, and puts it into place, so that there is the former file or the whole new one.
fn write(out: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = out.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let beside = out.with_file_name(name);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&beside, out));
    if written.is_err() {
        // It may not be there at all.
        let _ = std::fs::remove_file(&beside);
    }
    written?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

impl Restore {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let (bytes, _) = backup::bytes(&self.file)?;
        let other_cluster = self.other_cluster;
        let chunks: Vec<pb::RestoreChunk> = bytes
            .chunks(CHUNK)
            .map(|data| pb::RestoreChunk {
                data: data.to_vec().into(),
                other_cluster,
            })
            .collect();
        let mut client = BackupClient::new(channel);
        let reply = client
            .restore(tokio_stream::iter(chunks))
            .await
            .map_err(refused)?
            .into_inner();
        let text = format!(
            "restored {} realms, {} roles, {} principals, {} definitions of cluster {} at log index {}, in force on {}",
            reply.realms,
            reply.roles,
            reply.principals,
            reply.definitions,
            reply.cluster_id,
            reply.index,
            reply.confirmed.join(", ")
        );
        let json = json!({
            "cluster": reply.cluster_id, "at_ms": reply.at_ms, "realms": reply.realms, "roles": reply.roles, "principals": reply.principals,
            "definitions": reply.definitions, "index": reply.index, "confirmed": reply.confirmed, "unconfirmed": told(&reply.unconfirmed),
        });
        output.show(&Shown::new(json, text))?;
        confirmed(&reply.unconfirmed)
    }
}

/// Bytes of one message.
const CHUNK: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_replaces_the_former_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a.backup");
        std::fs::write(&out, "former").unwrap();
        write(&out, b"new").unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), b"new");
        assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write(&folder.path().join("missing/a"), b"new").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
