//! `ringfort backup`: what a file of `ringfort admin backup` holds, without a cluster.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{Failure, print_line};
use crate::{
    admin::backup::file::{BYTES_MAX, Contents},
    wamp::timestamp,
};

/// Look at backups that `ringfort admin backup` made.
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check that a backup is whole and readable by this build, and tell what is in it.
    Verify {
        /// The file.
        file: PathBuf,
    },
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Failure> {
        let What::Verify { file } = self.what;
        let contents = read(&file)?;
        print_line(&told(&file, &contents))
    }
}

/// A file, whole.
pub(super) fn bytes(file: &Path) -> Result<(Vec<u8>, Contents), Failure> {
    let failure = |error: &dyn std::fmt::Display| Failure {
        code: NOT_USABLE,
        text: format!("{}: {error}", file.display()),
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    opened.map_err(|error| failure(&error))?;
    let contents = Contents::from_bytes(&bytes).map_err(|error| failure(&error))?;
    Ok((bytes, contents))
}

/// What a file holds.
pub(super) fn read(file: &Path) -> Result<Contents, Failure> {
    Ok(bytes(file)?.1)
}

/// In a line, for people.
pub(super) fn told(file: &Path, contents: &Contents) -> String {
    format!(
        "{}: whole; cluster {}, made at {} by {} (ringfort {}), log index {}: {}",
        file.display(),
        contents.cluster_id,
        timestamp::format(contents.at_ms.saturating_mul(1_000)),
        contents.node,
        contents.version,
        contents.index,
        contents.counts()
    )
}

/// The exit code for a backup that is missing, not whole or not readable.
const NOT_USABLE: u8 = 13;
