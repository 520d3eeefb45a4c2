//! `ringfort completions`: what a shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, Failure};

/// Print the completion script of a shell. For bash: `source <(ringfort completions bash)`; zsh: `ringfort completions zsh >
/// ~/.zfunc/_ringfort`; fish: `ringfort completions fish > ~/.config/fish/completions/ringfort.fish`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "ringfort", &mut script);
        super::print_line(String::from_utf8_lossy(&script).trim_end())
    }
}
