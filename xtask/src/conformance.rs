//! `docs/wamp-conformance.md`: what WAMP asks for, row by row, and the case that shows each row.
//!
//! The required rows are listed in `cluster-tests/conformance/rows.toml`; the suite `wamp_table` runs the cases and leaves its results
//! among the artifacts. From both the table is made (`render`) or compared with the one that is checked in ([`results`]). Without a run,
//! [`sources`] finds out whether the table has the rows of the list, and whether the cases it names are there.

mod list;
mod outcome;
mod render;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, Result};

use crate::shell::{root, target};
use list::List;
use outcome::Outcomes;

/// Whether the table is compared or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Check,
    Write,
}

/// Holds the checked-in table against the list and the sources of the cases; true if they fit.
///
/// # Errors
/// If one of them cannot be read.
pub(crate) fn sources() -> Result<bool> {
    let list = List::read(&list_file())?;
    let table = read(&table_file())?;
    let case_is_there = |file: &str, name: &str| {
        let text = read(&root().join("docs").join(file)).unwrap_or_default();
        text.contains(&format!("\"{name}\""))
    };
    Ok(told(&faults_of_sources(&list, &table, case_is_there)))
}

/// Holds the last run of the suite against the list, and the table against both, or writes the table; true if nothing is wrong.
///
/// # Errors
/// If there was no run, or a file cannot be read or written.
pub(crate) fn results(mode: Mode) -> Result<bool> {
    let list = List::read(&list_file())?;
    let text = read(&results_file()).context("run `cargo xtask test --only wamp_table` first")?;
    let outcomes = Outcomes::parse(&text).with_context(|| results_file().display().to_string())?;
    let faults = faults_of_run(&list, &outcomes);
    if !told(&faults) {
        return Ok(false);
    }
    let table = render::table(&list, &outcomes);
    match mode {
        Mode::Write => std::fs::write(table_file(), table).with_context(|| table_file().display().to_string())?,
        Mode::Check if read(&table_file())? != table => {
            println!("docs/wamp-conformance.md is not what the run says; `cargo xtask conformance --write` mends it");
            return Ok(false);
        }
        Mode::Check => {}
    }
    println!("{}", render::summary(&list));
    Ok(true)
}

/// Takes the results of an earlier run away, which would look like this one's.
pub(crate) fn forget_results() {
    // What is not there need not go; what cannot be removed cannot be written either, and that shows.
    let _ = std::fs::remove_file(results_file());
}

fn list_file() -> PathBuf {
    root().join("cluster-tests/conformance/rows.toml")
}

fn table_file() -> PathBuf {
    root().join("docs/wamp-conformance.md")
}

fn results_file() -> PathBuf {
    target().join("artifacts/wamp-table.json")
}

fn read(file: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| file.display().to_string())
}

/// Prints what is wrong; true if nothing is.
fn told(faults: &[String]) -> bool {
    for fault in faults {
        println!("{fault}");
    }
    faults.is_empty()
}

/// What does not fit between the table, the list and the sources. `case_is_there`: whether a file, as the table's links name it, has a
/// case of a name.
fn faults_of_sources(list: &List, table: &str, case_is_there: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut faults = list.faults();
    let rows = render::read_rows(table);
    let required: BTreeSet<&str> = list.rows().map(|row| row.id.as_str()).collect();
    let mut seen = BTreeSet::new();
    for row in &rows {
        if !seen.insert(row.id.as_str()) {
            faults.push(format!("{}: twice in the table", row.id));
        }
        if !required.contains(row.id.as_str()) {
            faults.push(format!("{}: in the table and not in the list", row.id));
        }
        for (name, file) in &row.cases {
            if !case_is_there(file, name) {
                faults.push(format!("{}: there is no case {name} in {file}", row.id));
            }
        }
    }
    for row in list.rows() {
        match rows.iter().find(|told| told.id == row.id) {
            None => faults.push(format!("{}: missing in the table", row.id)),
            Some(told) if told.cases.is_empty() != row.exception.is_some() => {
                faults.push(format!("{}: the table and the list differ on whether it is shown", row.id));
            }
            Some(_) => {}
        }
    }
    faults
}

/// What a run has not shown, and what it has shown that the list does not know of.
fn faults_of_run(list: &List, outcomes: &Outcomes) -> Vec<String> {
    let mut faults = list.faults();
    for (name, case) in &outcomes.cases {
        faults.extend(case.faults(name));
        for row in &case.rows {
            if !list.rows().any(|listed| listed.id == *row) {
                faults.push(format!("{name}: shows {row}, which the list does not know"));
            }
        }
    }
    for row in list.rows() {
        let shown = outcomes.showing(&row.id).next().is_some();
        match (&row.exception, shown) {
            (None, false) => faults.push(format!("{}: no case shows it", row.id)),
            (Some(_), true) => faults.push(format!("{}: shown, so it is no exception any more", row.id)),
            _ => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
        [[section]]
        id = "uri"
        title = "URIs"
        about = "Some."
        rows = [
            { id = "uri.a", what = "one" },
            { id = "uri.b", what = "two", exception = "not yet" },
        ]
    "#;

    fn run(rows: &str, outcome: &str) -> Outcomes {
        let variants: Vec<String> = outcome::VARIANTS
            .iter()
            .map(|variant| format!(r#""{variant}": {{"outcome": "{outcome}", "why": "x"}}"#))
            .collect();
        let text = format!(
            r#"{{"cases": {{"a-case": {{"file": "rows/a.py", "about": "does a", "rows": [{rows}], "variants": {{{}}}}}}}}}"#,
            variants.join(",")
        );
        Outcomes::parse(&text).unwrap()
    }

    #[test]
    fn a_run_that_shows_all_and_no_exception_is_good_and_its_table_fits_the_list() {
        let (list, outcomes) = (List::parse(LIST).unwrap(), run(r#""uri.a""#, "passed"));
        assert_eq!(faults_of_run(&list, &outcomes), [] as [String; 0]);
        let table = render::table(&list, &outcomes);
        assert_eq!(faults_of_sources(&list, &table, |_, _| true), [] as [String; 0]);
        let of = |file: &str, name: &str| (file, name) == ("../cluster-tests/conformance/rows/a.py", "a-case");
        assert_eq!(faults_of_sources(&list, &table, of), [] as [String; 0]);
    }

    #[test]
    fn what_a_run_lacks_is_said() {
        let list = List::parse(LIST).unwrap();
        let faults = |rows: &str, outcome: &str| faults_of_run(&list, &run(rows, outcome)).join("\n");
        assert!(faults("", "passed").contains("uri.a: no case shows it"));
        assert!(faults(r#""uri.a", "uri.c""#, "passed").contains("which the list does not know"));
        assert!(faults(r#""uri.a", "uri.b""#, "passed").contains("uri.b: shown"));
        assert!(faults(r#""uri.a""#, "failed").contains("a-case: failed in one-json: x"));
        // What was skipped shows nothing.
        let skipped = faults(r#""uri.a", "uri.b""#, "skipped");
        assert!(
            skipped.contains("uri.a: no case shows it") && !skipped.contains("uri.b"),
            "{skipped}"
        );
        let mut short = run(r#""uri.a""#, "passed");
        short.cases.get_mut("a-case").unwrap().variants.remove("three-cbor");
        assert!(
            faults_of_run(&list, &short)
                .join("\n")
                .contains("a-case: was not run in three-cbor")
        );
    }

    #[test]
    fn a_table_that_does_not_fit_is_found_without_a_run() {
        let (list, outcomes) = (List::parse(LIST).unwrap(), run(r#""uri.a""#, "passed"));
        let table = render::table(&list, &outcomes);
        let faults = |table: &str| faults_of_sources(&list, table, |_, _| true).join("\n");
        assert!(faults(&table.replace("`uri.b`", "`uri.c`")).contains("uri.b: missing in the table"));
        assert!(faults(&table.replace("`uri.b`", "`uri.a`")).contains("uri.a: twice"));
        let row = table.lines().find(|line| line.contains("`uri.a`")).unwrap();
        assert!(faults(&table.replace(row, "")).contains("uri.a: missing in the table"));
        assert!(
            faults_of_sources(&list, &table, |_, _| false)
                .join("\n")
                .contains("no case a-case")
        );
    }

    #[test]
    fn a_list_says_each_row_once_and_gives_reasons() {
        assert!(List::parse(&LIST.replace("uri.b", "uri.a")).unwrap().faults()[0].contains("twice"));
        assert!(List::parse(&LIST.replace("not yet", " ")).unwrap().faults()[0].contains("reason"));
        assert!(List::parse(&LIST.replace("what = \"one\"", "wat = \"one\"")).is_err());
    }
}
