//! `cargo xtask test`: every check and every test, in the order in which a fault is cheapest to find.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    checks, conformance, deploy, licences, links,
    report::{Count, Report},
    secrets::{self, Search},
    setup,
    shell::{cargo, root, succeeds, target, watch},
};

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The heavy repeats too.
    long: bool,
    /// One suite instead of all.
    only: Option<String>,
    /// What the random tests draw from: a number, or `random`.
    seed: Option<String>,
}

/// The seed of the random tests where none is named: a change is judged by the change, not by luck. `--seed random` looks for what no
/// seed has shown yet, with `RINGFORT_WALKS` for as long as wanted.
const SEED: &str = "20261122";

impl Options {
    /// Reads the words after `test`; `None` if one is not known.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--long" => options.long = true,
                "--only" => options.only = Some((*words.next()?).to_owned()),
                "--seed" => {
                    let seed = *words.next()?;
                    let known = seed == "random" || seed.parse::<u64>().is_ok();
                    options.seed = Some(known.then(|| seed.to_owned())?);
                }
                _ => return None,
            }
        }
        Some(options)
    }

    fn wants(&self, suite: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == suite)
    }
}

/// Runs the suites; true if all passed.
///
/// # Errors
/// If what the tests need cannot be installed, or there is no such suite.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut report = Report::default();
    for name in ["fmt", "ignored", "links", "table", "licences", "clippy", "docs"] {
        if options.wants(name) {
            report.suite(name, || {
                Count::one(match name {
                    "fmt" => checks::format(),
                    "ignored" => checks::ignored_tests(),
                    "links" => links::run(),
                    "table" => conformance::sources().unwrap_or_else(|error| said(Err(error))),
                    "licences" => licences::run().unwrap_or_else(|error| said(Err(error))),
                    "clippy" => checks::clippy(),
                    _ => checks::docs(),
                })
            });
        }
    }
    if options.wants("unit") {
        // The compiler has had its say; what is left of the workspace are unit tests, property tests and doc tests.
        let arguments = ["test", "--workspace", "--exclude", "ringfort-cluster-tests", "--no-fail-fast"];
        let mut command = cargo(&arguments);
        match options.seed.as_deref().unwrap_or(SEED) {
            // Proptest draws one, and says it with a failure.
            "random" => {}
            seed => _ = command.env("PROPTEST_RNG_SEED", seed),
        }
        report.suite("unit", || tests(command));
    }
    let cluster = options.only.as_deref() == Some("cluster");
    if cluster || options.wants("layers") {
        // Reads sources only; nothing must be built or installed for it.
        report.suite("layers", || process_tests("layers", options.long));
    }
    let suites: Vec<String> = process_suites()
        .into_iter()
        .filter(|name| cluster || options.wants(name))
        .collect();
    if !suites.is_empty() {
        forget_notes();
        if suites.iter().any(|name| name == TABLE_SUITE) {
            conformance::forget_results();
        }
        let crossbar = if suites.iter().any(|name| name == "crossbar") {
            setup::Crossbar::Wanted
        } else {
            setup::Crossbar::NotWanted
        };
        let installed = report.suite("setup", || Count::one(said(setup::run(crossbar))));
        let built = report.suite("release build", || Count::one(release_build()));
        let mut search = Search::default();
        for suite in suites {
            report.suite(&suite, || {
                if installed && built {
                    searched_tests(&suite, options.long, &mut search)
                } else {
                    Count::one(false)
                }
            });
            if suite == TABLE_SUITE {
                report.suite("wamp_table results", || {
                    let good = conformance::results(conformance::Mode::Check);
                    Count::one(good.unwrap_or_else(|error| said(Err(error))))
                });
            }
        }
        print_notes();
        if options.only.is_none() || cluster {
            report.suite("secrets", || {
                let reports = search.through(&target().join("artifacts"));
                Count::one(said(reports) && search.close())
            });
        }
    }
    let deployments: Vec<&str> = deploy::SUITES
        .into_iter()
        .filter(|name| options.only.as_deref() == Some("deploy") || options.wants(name))
        .collect();
    if !deployments.is_empty() {
        let installed = report.suite("deploy setup", || Count::one(said(deploy::setup())));
        let built = !deployments.iter().any(|suite| deploy::needs_build(suite))
            || report.suite("release build for them", || Count::one(release_build()));
        for suite in deployments {
            report.suite(suite, || {
                if installed && (built || !deploy::needs_build(suite)) {
                    tests(deploy::suite(suite))
                } else {
                    Count::one(false)
                }
            });
        }
    }
    ensure!(
        !report.is_empty(),
        "no suite is called {:?}",
        options.only.as_deref().unwrap_or_default()
    );
    Ok(report.close())
}

fn said(result: Result<()>) -> bool {
    if let Err(error) = &result {
        println!("{error:#}");
    }
    result.is_ok()
}

/// The suite whose results the conformance table is made of.
const TABLE_SUITE: &str = "wamp_table";

/// The tests with real processes, one suite a file, quick ones first.
fn process_suites() -> Vec<String> {
    const ORDER: [&str; 2] = ["demo", "bad_config"];
    let files = std::fs::read_dir(root().join("cluster-tests/tests"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.retain(|name| name != "layers");
    names.sort_by_key(|name| {
        (
            ORDER.iter().position(|first| first == name).unwrap_or(ORDER.len()),
            name.clone(),
        )
    });
    names
}

fn release_build() -> bool {
    succeeds(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "ringfort",
        "--package",
        "ringfort-bench",
    ]))
}

/// Runs one file of `cluster-tests/tests`, and looks through all it has written for the secrets it has used.
fn searched_tests(suite: &str, long: bool, search: &mut Search) -> Count {
    let searched = secrets::folder(suite).and_then(|dir| {
        let mut lines = Vec::new();
        let mut command = process_command(suite, long);
        command.env("RINGFORT_RUN_DIR", &dir);
        let count = tests_with(command, |line| lines.push(line.to_owned()));
        std::fs::write(dir.join(secrets::OUTPUT), lines.join("\n"))?;
        search.suite(&dir)?;
        Ok(count)
    });
    searched.unwrap_or_else(|error| Count::one(said(Err(error))))
}

/// Runs one file of `cluster-tests/tests`.
fn process_tests(suite: &str, long: bool) -> Count {
    tests(process_command(suite, long))
}

/// One test at a time: they measure, and there may be two cores only.
fn process_command(suite: &str, long: bool) -> Command {
    let release = target().join("release");
    let arguments = [
        "test",
        "--package",
        "ringfort-cluster-tests",
        "--test",
        suite,
        "--no-fail-fast",
        "--",
        "--test-threads=1",
        "--nocapture",
    ];
    let mut command = cargo(&arguments);
    command
        .env("RINGFORT_BIN", release.join("ringfort"))
        .env("RINGFORT_BENCH_BIN", release.join("ringfort-bench"));
    if long {
        command.env("RINGFORT_LONG", "1");
    }
    command
}

/// Runs a `cargo test` and adds its result lines up. A run that fails without a failed test, such as one that does not
/// compile, counts as one failure; so does one that runs nothing.
fn tests(command: Command) -> Count {
    tests_with(command, |_| {})
}

/// The same, with each line it says handed to `each`.
fn tests_with(command: Command, mut each: impl FnMut(&str)) -> Count {
    let mut count = Count::default();
    let good = watch(command, |line| {
        count.add_line(line);
        each(line);
    });
    let good = good.unwrap_or_else(|error| said(Err(error)));
    if (!good && count.failed == 0) || count.passed + count.failed == 0 {
        count.failed += 1;
    }
    count
}

/// The one-line results that suites leave behind, by suite.
fn notes() -> Vec<(String, PathBuf)> {
    let files = std::fs::read_dir(target().join("artifacts")).into_iter().flatten().flatten();
    let suite = |name: &str| Some(name.strip_prefix("suite-")?.strip_suffix(".txt")?.to_owned());
    let mut notes: Vec<_> = files
        .filter_map(|file| Some((suite(file.file_name().to_str()?)?, file.path())))
        .collect();
    notes.sort();
    notes
}

/// Takes the results of an earlier run away, which would look like this one's.
fn forget_notes() {
    for (_, file) in notes() {
        // What cannot be removed cannot be written either, and that shows.
        let _ = std::fs::remove_file(file);
    }
}

fn print_notes() {
    println!("\nFigures (more in {}):", target().join("artifacts").display());
    for (suite, file) in notes() {
        println!("{suite:<28} {}", std::fs::read_to_string(file).unwrap_or_default().trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        assert_eq!(Options::parse(&[]), Some(Options::default()));
        assert_eq!(
            Options::parse(&["--long", "--only", "demo", "--seed", "7"]),
            Some(Options {
                long: true,
                only: Some("demo".to_owned()),
                seed: Some("7".to_owned())
            })
        );
        assert!(Options::parse(&["--seed", "random"]).is_some());
        assert_eq!(Options::parse(&["--only"]), None);
        assert_eq!(Options::parse(&["--seed", "luck"]), None);
        assert_eq!(Options::parse(&["--short"]), None);
    }

    #[test]
    fn every_process_suite_is_found() {
        let suites = process_suites();
        assert_eq!(suites.first().map(String::as_str), Some("demo"));
        for name in ["conformance", TABLE_SUITE] {
            assert!(suites.iter().any(|suite| suite == name), "{name} of {suites:?}");
        }
    }
}
