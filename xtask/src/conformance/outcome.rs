//! What a run of the cases has left: `wamp-table.json`.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

/// In what each case is run: on how many nodes, in which serializer.
pub(super) const VARIANTS: [&str; 6] = [
    "one-json",
    "one-msgpack",
    "one-cbor",
    "three-json",
    "three-msgpack",
    "three-cbor",
];

/// All cases by name.
#[derive(Debug, Deserialize)]
pub(super) struct Outcomes {
    pub(super) cases: BTreeMap<String, Case>,
}

/// One case.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    /// Where it stands, relative to `cluster-tests/conformance`.
    pub(super) file: String,
    /// What it does, in a sentence.
    pub(super) about: String,
    /// The rows it shows.
    pub(super) rows: Vec<String>,
    /// By the names of [`VARIANTS`].
    pub(super) variants: BTreeMap<String, Variant>,
}

/// One run of a case.
#[derive(Debug, Deserialize)]
pub(super) struct Variant {
    pub(super) outcome: Outcome,
    /// What went wrong, or why it was skipped.
    pub(super) why: String,
}

/// How a run went.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Passed,
    Failed,
    /// The router does not announce what the case needs.
    Skipped,
}

impl Outcomes {
    pub(super) fn parse(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// The cases that show a row, by name. What was skipped shows nothing.
    pub(super) fn showing(&self, row: &str) -> impl Iterator<Item = (&str, &Case)> {
        let shows = move |case: &Case| case.rows.iter().any(|shown| shown == row) && case.passed();
        self.cases
            .iter()
            .filter(move |(_, case)| shows(case))
            .map(|(name, case)| (name.as_str(), case))
    }
}

impl Case {
    /// Whether all its variants whose name `in_question` takes have passed, and there are any.
    pub(super) fn passed_where(&self, in_question: impl Fn(&str) -> bool) -> bool {
        let mut asked = VARIANTS.iter().filter(|variant| in_question(variant)).peekable();
        let passed = |variant: &str| self.variants.get(variant).is_some_and(|run| run.outcome == Outcome::Passed);
        asked.peek().is_some() && asked.all(|variant| passed(variant))
    }

    fn passed(&self) -> bool {
        self.passed_where(|_| true)
    }

    /// Variants that failed or were not run.
    pub(super) fn faults(&self, name: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for variant in VARIANTS {
            match self.variants.get(variant) {
                None => faults.push(format!("{name}: was not run in {variant}")),
                Some(run) if run.outcome == Outcome::Failed => {
                    faults.push(format!("{name}: failed in {variant}: {}", run.why));
                }
                Some(_) => {}
            }
        }
        faults
    }
}
