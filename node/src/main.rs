//! The binary: arguments in, exit code out. What each subcommand does stands in `cli/`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringfort::cli::main()
}
