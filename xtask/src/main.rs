//! Developer commands: `cargo xtask test` checks everything, `fmt` and `lint` are its quick parts, `setup` installs what tests need.
//!
//! Start reading at [`mod@test`]; [`setup`] holds the list of what is installed, [`licences`] the rule for dependencies.

mod checks;
mod conformance;
mod deploy;
mod image;
mod licences;
mod links;
mod report;
mod secrets;
mod setup;
mod shell;
mod test;

use std::{path::Path, process::ExitCode};

use anyhow::Result;

const USAGE: &str = "usage: cargo xtask COMMAND

  test [--long] [--only SUITE] [--seed N|random]
                                 install what is needed, run every check and test, end with `N passed, N failed`
  lint                           formatting and clippy, without changing anything
  fmt                            format all sources
  conformance [--write]          compare docs/wamp-conformance.md with the last run of wamp_table, or write it
  image [--from DIR]             pack target/images/*.tar out of a release build, or of the programs in DIR
  licences                       check licences and sources of all dependencies
  setup                          install what the tests need, and nothing else

Suites: fmt, clippy, docs, links, table, licences, ignored, unit, cluster (all tests with real processes), one file of
cluster-tests/tests by its name, such as conformance, deploy (terraform, image, pods and charts), or one of these.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; false means that it found something wrong and has said so.
fn run(words: &[&str]) -> Result<bool> {
    match words {
        ["test", options @ ..] => match test::Options::parse(options) {
            Some(options) => test::run(&options),
            None => usage(),
        },
        ["lint"] => Ok(checks::format() & checks::clippy()),
        ["fmt"] => Ok(shell::succeeds(&mut shell::cargo(&["fmt", "--all"]))),
        ["conformance"] => conformance::results(conformance::Mode::Check),
        ["conformance", "--write"] => conformance::results(conformance::Mode::Write),
        ["image"] => image::run(None),
        ["image", "--from", folder] => image::run(Some(Path::new(folder))),
        ["licences"] => licences::run(),
        ["setup"] => setup::run(setup::Crossbar::Wanted).map(|()| true),
        _ => usage(),
    }
}

fn usage() -> Result<bool> {
    eprintln!("{USAGE}");
    Ok(false)
}
