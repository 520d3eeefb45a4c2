//! Results as pages with plots: one file each, which needs no network and no script, and can be mailed or kept beside the JSON.
//!
//! [`page`] is the frame, [`lines`] and [`bars`] draw, [`mod@single`] and [`mod@comparison`] decide what a reader of a run, or of several
//! targets in rounds, wants to see first. Names, URLs and errors come from the outside and are escaped where they enter the page.

mod bars;
mod comparison;
mod connections;
mod lines;
mod page;
mod scale;
mod scenario;
mod single;
#[cfg(test)]
mod tests;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

pub use comparison::comparison;
pub use single::single;

use crate::{compare::Results, outcome::Outcome};

/// Writes a page.
///
/// # Errors
/// When the file cannot be written.
pub fn write(file: &Path, page: &str) -> Result<()> {
    fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))
}

/// Makes the page for results that were written as JSON, of a run or of a comparison.
///
/// # Errors
/// When they cannot be read or the page cannot be written.
pub fn convert(json: &Path, html: &Path) -> Result<()> {
    let text = fs::read_to_string(json).with_context(|| format!("cannot read {}", json.display()))?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", json.display()))?;
    let page = if value.get("targets").is_some() {
        comparison(&serde_json::from_value::<Results>(value).with_context(|| format!("{} is no comparison", json.display()))?)
    } else {
        single(&serde_json::from_value::<Outcome>(value).with_context(|| format!("{} is no result", json.display()))?)
    };
    write(html, &page)
}
