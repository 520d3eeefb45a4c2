//! `ringfort check`: is this file fit to be served?

use std::path::PathBuf;

use clap::Args;

use super::{Failure, environment, print_line};
use crate::{
    config::{Config, Source},
    node,
};

/// Look a configuration over without starting anything.
///
/// Certificates and keys are opened and compared too. Variables RINGFORT__SECTION__KEY count as they would for serve. Exit codes as
/// for serve: 3 wrong settings, 5 a certificate or key, 6 the data directory.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The TOML file, or - for standard input.
    file: PathBuf,
    /// Also print the settings in effect, defaults included and secrets masked.
    #[arg(long)]
    print: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let source = Source::from_argument(Some(&self.file));
        let config = Config::load(&source, environment())?;
        node::check_definitions(&config).map_err(|error| Failure {
            text: error.to_string(),
            code: node::StartError::from(error).exit_code(),
        })?;
        if self.print {
            return print_line(config.redacted().trim_end());
        }
        print_line(&format!("{source}: no problems"))
    }
}
