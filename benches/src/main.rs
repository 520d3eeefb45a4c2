//! The `ringfort-bench` command. Exit code 0: passed; 1: the run was wrong (lost, doubled, reordered, refused); 2: it could not run.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("ringfort-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}
