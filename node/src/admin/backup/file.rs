//! The file of a backup: how it is laid out, and how it is known to be whole.
//!
//! Layout, little-endian: `RINGFBAK`, format `u32`, length of the body `u64`, the body (`Backup` of
//! `proto/ringfort/cluster/v1/log.proto`), SHA-256 of all before it. Nothing of it is believed before the checksum was found right.

use prost::Message as _;
use ringfort_proto::cluster::v1 as pb;
use sha2::{Digest, Sha256};

use crate::{
    cluster::{
        catalog::{Edits, Itself},
        edits,
    },
    router::Change,
};

const MAGIC: &[u8; 8] = b"RINGFBAK";
/// Raised when what the body says is not understood by builds before.
const FORMAT: u32 = 1;
const HEAD: usize = 8 + 4 + 8;
const SUM: usize = 32;
/// A file is read whole; more than this is some other file.
pub const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The cluster it is of.
    pub cluster_id: String,
    /// How far its log had been applied.
    pub index: u64,
    /// When it was made, milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// The build that made it.
    pub version: String,
    /// The node that made it.
    pub node: String,
    /// What puts it into place.
    pub edits: Edits,
}

/// Bytes that are no backup which this build can use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something else.
    #[error("not a backup of Ringfort")]
    Foreign,
    /// Made by a newer build.
    #[error("the backup has format {found}, and this build reads up to {FORMAT}: use the build that made it, or a newer one")]
    Newer { found: u32 },
    /// Its end is missing, or something follows it.
    #[error("the backup should have {expected} bytes and has {found}: it is cut off, or was appended to; use another copy")]
    Length { expected: u64, found: u64 },
    /// A bit is wrong.
    #[error("the checksum of the backup is wrong: it was damaged or changed; use another copy")]
    Damaged,
    /// The checksum is right and the content makes no sense.
    #[error("the backup cannot be read: {0}")]
    Unreadable(String),
}

/// How much there is of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Realms that the log makes.
    pub realms: u64,
    /// Roles of the log.
    pub roles: u64,
    /// Principals of the log.
    pub principals: u64,
    /// Definitions of clients.
    pub definitions: u64,
}

impl Contents {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = pb::Backup {
            cluster_id: self.cluster_id.clone(),
            index: self.index,
            at_ms: self.at_ms,
            version: self.version.clone(),
            node: self.node.clone(),
            edit: Some(edits::to_pb(&self.edits)),
        };
        let mut bytes = Vec::with_capacity(HEAD + body.encoded_len() + SUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(body.encoded_len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body.encode_to_vec());
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// The reverse of [`Self::to_bytes`].
    ///
    /// # Errors
    /// They are not a whole backup that this build reads.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(Error::Foreign);
        };
        if magic != MAGIC {
            return Err(Error::Foreign);
        }
        let found = bytes.len() as u64;
        let short = |expected: usize| Error::Length {
            expected: expected as u64,
            found,
        };
        let (format, rest) = rest.split_first_chunk().ok_or_else(|| short(HEAD + SUM))?;
        match u32::from_le_bytes(*format) {
            FORMAT => {}
            newer if newer > FORMAT => return Err(Error::Newer { found: newer }),
            _ => return Err(Error::Damaged),
        }
        let (length, rest) = rest.split_first_chunk().ok_or_else(|| short(HEAD + SUM))?;
        let length = u64::from_le_bytes(*length);
        let expected = length.saturating_add((HEAD + SUM) as u64);
        if expected != found {
            return Err(Error::Length { expected, found });
        }
        // The lengths agree, so there are that many.
        let (body, sum) = rest.split_at(rest.len() - SUM);
        if Sha256::digest(&bytes[..bytes.len() - SUM]).as_slice() != sum {
            return Err(Error::Damaged);
        }
        let body = pb::Backup::decode(body).map_err(|error| Error::Unreadable(error.to_string()))?;
        let edit = body.edit.ok_or_else(|| Error::Unreadable("nothing is in it".to_owned()))?;
        Ok(Self {
            cluster_id: body.cluster_id,
            index: body.index,
            at_ms: body.at_ms,
            version: body.version,
            node: body.node,
            edits: edits::from_pb(edit).map_err(|error| Error::Unreadable(error.to_string()))?,
        })
    }

    /// How much there is of what.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for realm in &self.edits.realms {
            counts.realms += u64::from(matches!(realm.itself, Itself::Put(_)));
            counts.definitions += realm.edit.definitions.len() as u64;
            for change in &realm.edit.changes {
                match change {
                    Change::PutRole { .. } => counts.roles += 1,
                    Change::PutPrincipal { .. } => counts.principals += 1,
                    Change::RemoveRole { .. } | Change::RemovePrincipal { .. } | Change::Seed { .. } => {}
                }
            }
        }
        counts
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} realms, {} roles, {} principals, {} definitions",
            self.realms, self.roles, self.principals, self.definitions
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::catalog::RealmEdit,
        config,
        router::{Edit, Permission},
        wamp::Uri,
    };

    fn contents() -> Contents {
        let edit = RealmEdit {
            itself: Itself::Put(Box::new(config::Realm {
                name: "a".to_owned(),
                rights: config::RightsFrom::Seed,
                ..config::Realm::default()
            })),
            edit: Edit {
                clear: true,
                changes: vec![Change::PutRole {
                    role: "device".to_owned(),
                    permissions: vec![Permission::all()],
                }],
                definitions: Vec::new(),
            },
            ..RealmEdit::of(Uri::from("a"))
        };
        Contents {
            cluster_id: "home".to_owned(),
            index: 7,
            at_ms: 8,
            version: "1".to_owned(),
            node: "n1".to_owned(),
            edits: Edits {
                actor: String::new(),
                fresh: true,
                key: Some([9; 16]),
                realms: vec![edit],
            },
        }
    }

    #[test]
    fn a_file_reads_as_it_was_written() {
        let read = Contents::from_bytes(&contents().to_bytes());
        assert_eq!(read.as_ref(), Ok(&contents()));
        let counts = Counts {
            realms: 1,
            roles: 1,
            ..Counts::default()
        };
        assert_eq!(read.map(|read| read.counts()), Ok(counts));
    }

    #[test]
    fn every_flipped_bit_and_every_shorter_file_is_refused() {
        let bytes = contents().to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Contents::from_bytes(&flipped).is_err(), "byte {at} bit {bit}");
            }
            assert!(Contents::from_bytes(&bytes[..at]).is_err(), "{at} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Contents::from_bytes(&longer), Err(Error::Length { .. })));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        assert_eq!(Contents::from_bytes(b"PK\x03\x04 something else"), Err(Error::Foreign));
        let mut newer = contents().to_bytes();
        newer[8] = 2;
        assert_eq!(Contents::from_bytes(&newer), Err(Error::Newer { found: 2 }));
        let short = &contents().to_bytes()[..40];
        let said = Contents::from_bytes(short).unwrap_err().to_string();
        assert!(said.contains("has 40") && said.contains("cut off"), "{said}");
    }
}
