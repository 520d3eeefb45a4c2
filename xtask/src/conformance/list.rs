//! The list of required rows, `cluster-tests/conformance/rows.toml`.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

/// All rows, in their order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    #[serde(rename = "section")]
    pub(super) sections: Vec<Section>,
}

/// Rows of one kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    /// A short name; the cases refer to it.
    #[serde(rename = "id")]
    pub(super) _id: String,
    pub(super) title: String,
    pub(super) about: String,
    pub(super) rows: Vec<Row>,
}

/// Something that WAMP asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) what: String,
    /// The roles that announce it, where it is a feature.
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// Why it is not shown.
    pub(super) exception: Option<String>,
}

impl List {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.sections.iter().flat_map(|section| &section.rows)
    }

    /// Rows that stand twice, and exceptions without a reason.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut faults = Vec::new();
        for row in self.rows() {
            if !seen.insert(&row.id) {
                faults.push(format!("{}: twice in the list", row.id));
            }
            if row.exception.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
                faults.push(format!("{}: an exception needs a reason", row.id));
            }
        }
        faults
    }
}
