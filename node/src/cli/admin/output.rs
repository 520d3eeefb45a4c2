//! How results are shown: as aligned tables for people, or as JSON for programs; once, or again and again.

use std::{io::IsTerminal, time::Duration};

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::{Failure, print_line};

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Aligned columns, for people.
    Table,
    /// One JSON document; with --watch one a line.
    Json,
}

/// A result in both forms.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) json: Value,
    pub(super) text: String,
    /// Nodes that have not answered: what is shown is not all.
    pub(super) missing: Vec<String>,
}

/// Whether a list is shown once or again and again.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Watch {
    /// Show it again every so many seconds, 2 if none are given, until interrupted.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

/// Whether a command that takes something away may go ahead.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Sure {
    /// Do not ask whether that is meant.
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Shown {
    pub(super) fn new(json: Value, text: impl Into<String>) -> Self {
        Self {
            json,
            text: text.into(),
            missing: Vec::new(),
        }
    }

    pub(super) fn without(mut self, missing: &[String]) -> Self {
        self.missing = missing.to_vec();
        self
    }
}

impl Output {
    /// Shows a result once.
    pub(super) fn show(self, shown: &Shown) -> Result<(), Failure> {
        match self {
            Self::Json => {
                let text = serde_json::to_string_pretty(&shown.json).map_err(Failure::new)?;
                print_line(&text)?;
            }
            Self::Table => print_line(shown.text.trim_end_matches('\n'))?,
        }
        shown.complain();
        Ok(())
    }
}

impl Shown {
    fn complain(&self) {
        if !self.missing.is_empty() {
            eprintln!("ringfort: not all is shown: no answer from {}", self.missing.join(", "));
        }
    }
}

impl Watch {
    /// Shows what `make` makes, once or again and again.
    pub(super) async fn show(self, output: Output, mut make: impl AsyncFnMut() -> Result<Shown, Failure>) -> Result<(), Failure> {
        let Some(seconds) = self.watch else {
            return output.show(&make().await?);
        };
        let clears = std::io::stdout().is_terminal();
        loop {
            let shown = make().await?;
            match output {
                Output::Json => print_line(&shown.json.to_string())?,
                // Home, then clear what is below.
                Output::Table if clears => print_line(&format!("\x1b[H\x1b[JEvery {seconds} s\n\n{}", shown.text))?,
                Output::Table => print_line(&shown.text)?,
            }
            shown.complain();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }
}

impl Sure {
    /// Asks whether `what` is meant, unless it was said already.
    ///
    /// # Errors
    /// It is not, or there is nobody to ask.
    pub(super) fn ask(self, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let refused = |text: &str| Failure {
            code: 2,
            text: text.to_owned(),
        };
        if !std::io::stdin().is_terminal() {
            return Err(refused(&format!(
                "{what}: nothing was done; add --yes where there is no terminal to ask at"
            )));
        }
        eprint!("{what}. Go ahead? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Failure::new)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(refused("nothing was done")),
        }
    }
}

/// Rows under a head, in columns as wide as they have to be.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            rows: vec![head.map(str::to_owned).to_vec()],
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Numbers stand to the right of their column, everything else to the left.
    pub(super) fn render(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let is_number = |cell: &String| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        let numbers = |column| self.rows.len() > 1 && cells(column).skip(1).all(is_number);
        let form: Vec<(usize, bool)> = (0..columns).map(|column| (width(column), numbers(column))).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, (width, is_number)) in row.iter().zip(&form) {
                let room = " ".repeat(width.saturating_sub(cell.chars().count()));
                // A peer's text must not move the terminal's cursor.
                let cell: String = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
                if *is_number {
                    line.push_str(&room);
                    line.push_str(&cell);
                } else {
                    line.push_str(&cell);
                    line.push_str(&room);
                }
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A time as people read it (UTC), from milliseconds since 1970; `-` for 0.
pub(super) fn time(ms: u64) -> String {
    if ms == 0 {
        return "-".to_owned();
    }
    let text = crate::wamp::timestamp::format(ms.saturating_mul(1_000));
    text.split('.')
        .next()
        .map_or(text.clone(), |whole| format!("{}Z", whole.trim_end_matches('Z')))
}

/// A text, or `-` where there is none.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hostile_text_moves_nothing() {
        let mut table = Table::new(["NAME", "COUNT", "WHAT"]);
        table.row(["a".into(), "7".into(), "x\x1b[2J".into()]);
        table.row(["longer".into(), "1234567".into(), String::new()]);
        let lines: Vec<String> = table.render().lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            ["NAME      COUNT  WHAT", "a             7  x\u{fffd}[2J", "longer  1234567"]
        );
        assert_eq!(Table::new(["A"]).render(), "A\n");
    }

    #[test]
    fn times_are_read_to_the_second() {
        assert_eq!(
            (time(0).as_str(), time(1_700_000_000_123).as_str()),
            ("-", "2023-11-14T22:13:20Z")
        );
    }
}
