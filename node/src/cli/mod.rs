//! The command line: what each subcommand takes, prints and returns.
//!
//! Owns: arguments, what stands on standard output, exit codes, and the choice of runtime for each subcommand. Results go to
//! standard output as text or JSON, logs and complaints to standard error. Does not own what a node does ([`crate::node`]), its
//! settings ([`crate::config`]) or how a client speaks ([`crate::client`]).
//!
//! Start reading at [`Command`]; each subcommand has its file.

mod admin;
mod audit;
mod ca;
mod check;
mod client;
mod completions;
mod credential;
mod demo;
mod doctor;
mod files;
mod healthcheck;
mod json;
mod keygen;
mod serve;
mod signals;

#[cfg(test)]
mod tests;

use std::{fmt, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::telemetry::logging;

/// Ringfort: a clustered WAMP router.
///
/// Devices and browsers call each other's procedures and follow each other's events through it; all of them only connect outwards.
/// `ringfort demo` shows it in two seconds.
#[derive(Debug, Parser)]
#[command(name = "ringfort", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Call(client::Call),
    Publish(client::Publish),
    Subscribe(client::Subscribe),
    Register(client::Register),
    Ca(ca::Ca),
    Keygen(keygen::Keygen),
    Credential(credential::MakeCredential),
    Healthcheck(healthcheck::Healthcheck),
    Admin(admin::Admin),
    Audit(audit::Audit),
    Completions(completions::Completions),
}

/// Why a subcommand ends without success: what to tell the operator, and the exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

/// The exit code of failures that have none of their own. The others: 2 wrong command line, 3 settings, 4 port, 5 certificate or
/// key, 6 data directory or audit log,
/// 7 a change that some node has not confirmed, 8 an audit log that was changed; of `admin`: 9 refused, 10 not found, 11 nobody answers.
const OTHER: u8 = 1;

/// Runs the process: reads its arguments, does what they say, and returns its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringfort: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Command::Demo(command) => command.run(),
            Command::Serve(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Call(command) => command.run(),
            Command::Publish(command) => command.run(),
            Command::Subscribe(command) => command.run(),
            Command::Register(command) => command.run(),
            Command::Ca(command) => command.run(),
            Command::Keygen(command) => command.run(),
            Command::Credential(command) => command.run(),
            Command::Healthcheck(command) => command.run(),
            Command::Admin(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Completions(command) => command.run(),
        }
    }
}

impl Failure {
    fn new(text: impl fmt::Display) -> Self {
        Self {
            code: OTHER,
            text: text.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<crate::config::Report> for Failure {
    fn from(report: crate::config::Report) -> Self {
        Self {
            code: report.exit_code(),
            text: report.to_string().trim_end().to_owned(),
        }
    }
}

impl From<crate::client::Error> for Failure {
    fn from(error: crate::client::Error) -> Self {
        Self::new(error)
    }
}

/// A runtime for a subcommand that is a client: one thread is enough.
fn small_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))
}

/// The environment as texts; variables that are no UTF-8 cannot be settings of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Prints one line to standard output. A reader that has gone away, as `head` does, ends the command quietly.
fn print_line(line: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure {
            code: OTHER,
            text: "nobody reads the output".to_owned(),
        }),
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
