//! `ringfort audit`: is the audit log what it was?

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, print_line};
use crate::audit::verify::verify;

/// Look at audit logs.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Follow the chain of an audit log and of what was rotated of it; name the first record that is broken.
    ///
    /// Exit code 8 where one is. That the newest records were cut off cannot be seen in the files: compare the last number and hash with
    /// those that /status showed.
    Verify {
        /// The files, as in audit.path.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

/// The exit code where the chain is broken.
const BROKEN: u8 = 8;

impl Audit {
    pub(super) fn run(self) -> Result<(), Failure> {
        let What::Verify { paths } = self.what;
        for path in &paths {
            let read = verify(std::slice::from_ref(path));
            let whole = read
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?
                .map_err(|broken| Failure {
                    code: BROKEN,
                    text: format!("the chain is broken: {broken}"),
                })?;
            let torn = match whole.torn {
                0 => String::new(),
                torn => format!("; {torn} bytes behind it are being written, or were torn by a crash"),
            };
            print_line(&format!(
                "{}: records {} to {} in {} files are whole; the last one is {}{torn}",
                path.display(),
                whole.first,
                whole.last.seq,
                whole.files,
                whole.last.hash
            ))?;
        }
        Ok(())
    }
}
