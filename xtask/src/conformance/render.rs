//! The table as Markdown, and its rows read back.

use super::{
    list::{List, Row},
    outcome::{Case, Outcomes},
};

/// A row of the table as it stands there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) id: String,
    /// Name and file of each case, the file as the link says it.
    pub(super) cases: Vec<(String, String)>,
}

const HEAD: &str = "\
# WAMP conformance

What WAMP asks for, row by row, and the cases that show that Ringfort does it. Each case is run in three serializers, with all its
sessions on one node and with its sessions spread over three; ✔ says that all cases of the row passed so. The rows come from
[rows.toml](../cluster-tests/conformance/rows.toml), the results from the suite `wamp_table`; `cargo xtask test` fails where a row is
missing, a case fails, or this page says something else.

    cargo xtask test --only wamp_table     runs the cases and compares
    cargo xtask conformance --write        writes this page from the last run
";

const COLUMNS: [(&str, &str); 5] = [
    ("1 node", "one-"),
    ("3 nodes", "three-"),
    ("JSON", "-json"),
    ("MessagePack", "-msgpack"),
    ("CBOR", "-cbor"),
];

/// How many rows there are and how many of them are exceptions.
pub(super) fn summary(list: &List) -> String {
    let all = list.rows().count();
    let exceptions = list.rows().filter(|row| row.exception.is_some()).count();
    format!("{all} rows: {} shown, {exceptions} exceptions", all - exceptions)
}

/// The whole page.
pub(super) fn table(list: &List, outcomes: &Outcomes) -> String {
    let mut page = format!("{HEAD}\n{}.\n", summary(list));
    for section in &list.sections {
        page.push_str(&format!("\n## {}\n\n{}\n\n", section.title, section.about));
        let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
        page.push_str(&format!("| Row | What | Shown by | {} |\n", names.join(" | ")));
        page.push_str(&format!("| --- | --- | --- |{}\n", " :---: |".repeat(COLUMNS.len())));
        for row in &section.rows {
            page.push_str(&line(row, outcomes));
        }
    }
    page.push_str("\n## Cases\n\nWhat each of them does.\n\n| Case | |\n| --- | --- |\n");
    for (name, case) in &outcomes.cases {
        page.push_str(&format!("| {} | {} |\n", link(name, case), cell(&case.about)));
    }
    page
}

fn line(row: &Row, outcomes: &Outcomes) -> String {
    let roles = if row.roles.is_empty() {
        String::new()
    } else {
        format!(" ({})", row.roles.join(", "))
    };
    let (by, marks) = match &row.exception {
        Some(reason) => (format!("*exception:* {}", cell(reason)), [""; COLUMNS.len()]),
        None => {
            let showing: Vec<_> = outcomes.showing(&row.id).collect();
            let links: Vec<_> = showing.iter().map(|(name, case)| link(name, case)).collect();
            let mark = |part: &str| {
                let good = showing
                    .iter()
                    .all(|(_, case)| case.passed_where(|variant| variant.contains(part)));
                if good && !showing.is_empty() { "✔" } else { "" }
            };
            (links.join(", "), COLUMNS.map(|(_, part)| mark(part)))
        }
    };
    let what = cell(&row.what);
    format!("| `{}`{roles} | {what} | {by} | {} |\n", row.id, marks.join(" | "))
}

fn link(name: &str, case: &Case) -> String {
    format!("[`{name}`](../cluster-tests/conformance/{})", case.file)
}

/// Text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The rows of a page, up to its list of cases.
pub(super) fn read_rows(page: &str) -> Vec<Told> {
    let rows = page.lines().take_while(|line| *line != "## Cases").filter_map(|line| {
        let id = line.strip_prefix("| `")?.split('`').next()?.to_owned();
        let links = line.split("[`").skip(1);
        let cases = links.filter_map(|link| {
            let (name, rest) = link.split_once("`](")?;
            Some((name.to_owned(), rest.split(')').next()?.to_owned()))
        });
        Some(Told {
            id,
            cases: cases.collect(),
        })
    });
    rows.collect()
}
