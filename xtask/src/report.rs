//! What has passed and failed so far, and the closing line.

use std::time::{Duration, Instant};

/// The outcome of one suite.
struct Row {
    name: String,
    passed: u64,
    failed: u64,
    why: Vec<String>,
    took: Duration,
}

/// The outcomes of a run.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// Passed and failed tests of one suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What failed and its first words, said again at the end of the run, where they are found.
    why: Vec<String>,
    /// How many of the next lines belong to `why`.
    more: usize,
}

impl Count {
    /// A check that counts as one test.
    pub(crate) fn one(good: bool) -> Self {
        if good {
            Self {
                passed: 1,
                ..Self::default()
            }
        } else {
            Self {
                failed: 1,
                ..Self::default()
            }
        }
    }

    /// Adds what a line `test result: ok. 5 passed; 0 failed; 1 ignored; …` says. An ignored test counts as failed: it checks
    /// nothing and looks as if it did.
    pub(crate) fn add_line(&mut self, line: &str) {
        self.note_failure(line);
        let Some(result) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        let number = |word: &str| {
            let part = result
                .split(['.', ';'])
                .map(str::trim)
                .find_map(|part| part.strip_suffix(word));
            part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        self.passed += number("passed");
        self.failed += number("failed") + number("ignored");
    }

    /// Keeps the words of a panic, of a failed test's name and of a compiler's error, up to a bound.
    fn note_failure(&mut self, line: &str) {
        const AFTER_A_PANIC: usize = 4;
        const KEPT: usize = 60;
        if line.contains("panicked at ") || line.starts_with("error") {
            self.more = 1 + AFTER_A_PANIC;
        } else if line.starts_with("test ") && line.ends_with("FAILED") {
            self.more = self.more.max(1);
        }
        if self.more > 0 && self.why.len() < KEPT {
            self.more -= 1;
            self.why.push(line.chars().take(400).collect());
        }
    }
}

impl Report {
    /// Runs a suite and notes its outcome.
    pub(crate) fn suite(&mut self, name: &str, run: impl FnOnce() -> Count) -> bool {
        println!("\n==> {name}");
        let begun = Instant::now();
        let Count { passed, failed, why, .. } = run();
        self.rows.push(Row {
            name: name.to_owned(),
            passed,
            failed,
            why,
            took: begun.elapsed(),
        });
        failed == 0
    }

    /// True before the first suite.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints the table and, as the last line, the total. True if something ran and nothing failed.
    pub(crate) fn close(&self) -> bool {
        for row in self.rows.iter().filter(|row| row.failed > 0) {
            println!("\nfailed in {}:", row.name);
            for line in &row.why {
                println!("  {line}");
            }
        }
        println!("\n{:<28} {:>7} {:>7} {:>8}", "suite", "passed", "failed", "seconds");
        for row in &self.rows {
            println!(
                "{:<28} {:>7} {:>7} {:>8.1}",
                row.name,
                row.passed,
                row.failed,
                row.took.as_secs_f64()
            );
        }
        let passed: u64 = self.rows.iter().map(|row| row.passed).sum();
        let failed: u64 = self.rows.iter().map(|row| row.failed).sum();
        println!("\n{passed} passed, {failed} failed");
        failed == 0 && passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up_and_ignored_tests_count_as_failed() {
        let mut count = Count::default();
        count.add_line("running 5 tests");
        count.add_line("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.04s");
        count.add_line("test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 10.04s");
        assert_eq!((count.passed, count.failed), (17, 4));
    }

    #[test]
    fn the_words_of_a_failure_are_kept_and_those_of_a_success_are_not() {
        let mut count = Count::default();
        for line in [
            "test good ... ok",
            "test bad ... FAILED",
            "noise",
            "thread 'bad' panicked at src/lib.rs:1:2:",
            "assertion failed",
            "  left: 1",
        ] {
            count.add_line(line);
        }
        assert_eq!(
            count.why,
            [
                "test bad ... FAILED",
                "thread 'bad' panicked at src/lib.rs:1:2:",
                "assertion failed",
                "  left: 1"
            ]
        );
    }
}
