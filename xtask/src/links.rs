//! Links between the Markdown files: a link to a file of this work tree must lead to one.

use std::path::Path;

use crate::{checks::sources, shell::root};

/// Checks every relative link of every Markdown file.
pub(crate) fn run() -> bool {
    let mut good = true;
    for file in sources(&["md"]) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let dir = file.parent().unwrap_or(Path::new("."));
        for target in targets(&text) {
            if !dir.join(target).exists() {
                let name = file.strip_prefix(root()).unwrap_or(&file);
                println!("{}: link to `{target}`, which is not there", name.display());
                good = false;
            }
        }
    }
    good
}

/// The relative targets of inline links, without their `#fragment`. What stands in code is no link.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        for (index, part) in line.split('`').enumerate() {
            // A link's text may be code, `[`x`](y)`: then its target stands in the part after it.
            if index % 2 == 0 {
                found.extend(part.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()));
            }
        }
    }
    let relative = |target: &&str| !target.is_empty() && !target.starts_with('#') && !target.contains(':');
    found
        .into_iter()
        .filter(relative)
        .filter_map(|target| target.split('#').next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_targets_are_found_and_others_left_alone() {
        let text = "See [a](docs/a.md#part), [b](https://example.org), [`c`](c.rs) and [d](#here).\n`[e](f)`\n```\n[g](h)\n```\n";
        assert_eq!(targets(text), ["docs/a.md", "c.rs"]);
    }
}
