//! `ringfort admin apply`: a document of realms, roles and principals, its difference to what stands, and the change.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use clap::Args;
use ringfort_proto::admin::v1::{
    self as pb,
    difference::{Action, Kind},
    documents_client::DocumentsClient,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    output::{Output, Shown, Sure},
    reply::{confirmed, refused, told},
};
use crate::cli::{Failure, print_line};

/// Put realms, roles and principals into place as a file says, after showing what that changes.
///
/// The file has realms with their roles, and principals, as a configuration file has them, or the same as JSON. It is done as a whole or not
/// at all, and only if nothing has changed since the difference was shown. Anything that takes something away is asked about.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The document; - reads it from standard input.
    file: PathBuf,
    /// Show the difference and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Take away what the document does not name: roles and principals of its realms, and realms that were put.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    sure: Sure,
}

impl Apply {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let document = self.read()?;
        let mut documents = DocumentsClient::new(channel);
        let request = pb::DiffRequest {
            document: document.clone(),
            prune: self.prune,
        };
        let diff = documents.diff(request).await.map_err(refused)?.into_inner();
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let differences = json_of(&diff.differences);
        let text = lines(&diff, coloured).join("\n");
        if self.dry_run || diff.differences.is_empty() {
            let json = json!({ "differences": differences, "unchanged": diff.unchanged });
            return output.show(&Shown::new(json, text));
        }
        if output == Output::Table {
            print_line(&text)?;
        }
        let taken = diff.differences.iter().filter(|one| one.takes_away).count();
        if taken > 0 {
            let what = format!("{taken} of these take something away: sessions may end, and requests be refused");
            self.sure.ask(&what)?;
        }
        let request = pb::ApplyRequest {
            document,
            prune: self.prune,
            revisions: diff.revisions,
        };
        let reply = documents.apply(request).await.map_err(refused)?.into_inner();
        let count = reply.differences.len();
        let text = format!(
            "{count} changed at log index {}, in force on {}",
            reply.index,
            reply.confirmed.join(", ")
        );
        let json = json!({
            "differences": differences, "unchanged": diff.unchanged, "index": reply.index, "confirmed": reply.confirmed,
            "unconfirmed": told(&reply.unconfirmed),
        });
        output.show(&Shown::new(json, text))?;
        confirmed(&reply.unconfirmed)
    }

    fn read(&self) -> Result<String, Failure> {
        let mut text = String::new();
        let read = match self.file.to_str() {
            Some("-") => std::io::stdin().lock().read_to_string(&mut text).map(drop),
            _ => std::fs::read_to_string(&self.file).map(|read| text = read),
        };
        read.map_err(|error| Failure::new(format!("{}: {error}", self.file.display())))?;
        Ok(text)
    }
}

/// The difference for programs.
fn json_of(differences: &[pb::Difference]) -> Value {
    let one = |one: &pb::Difference| {
        json!({
            "kind": one.kind().as_str_name().to_lowercase(), "action": one.action().as_str_name().to_lowercase(),
            "realm": one.realm, "name": one.name, "revision": one.revision, "before": one.before, "after": one.after,
            "takes_away": one.takes_away,
        })
    };
    differences.iter().map(one).collect()
}

/// The difference for people: + what comes, - what goes, ~ what changes, and ! where something is taken away.
fn lines(diff: &pb::DiffReply, coloured: bool) -> Vec<String> {
    let paint = |text: String, code: &str| match coloured {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text,
    };
    let mut lines = Vec::new();
    let mut count = [0; 3];
    for one in &diff.differences {
        let (at, sign, colour) = match one.action() {
            Action::Changed => (1, '~', "33"),
            Action::Removed => (2, '-', "31"),
            Action::Added | Action::Unspecified => (0, '+', "32"),
        };
        count[at] += 1;
        let what = match one.kind() {
            Kind::Role => format!("role {} of {}", one.name, one.realm),
            Kind::Principal => format!("principal {} of {}", one.name, one.realm),
            Kind::Realm | Kind::Unspecified => format!("realm {}", one.realm),
        };
        let revision = match one.revision {
            0 => String::new(),
            revision => format!(" (revision {revision})"),
        };
        let warning = if one.takes_away { " !" } else { "" };
        lines.push(paint(format!("{sign} {what}{revision}{warning}"), colour));
        lines.extend(one.before.iter().map(|line| paint(format!("    - {line}"), "31")));
        lines.extend(one.after.iter().map(|line| paint(format!("    + {line}"), "32")));
    }
    let [added, changed, removed] = count;
    lines.push(format!(
        "{added} added, {changed} changed, {removed} removed, {} as they are",
        diff.unchanged
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_line_by_line_and_coloured_on_a_terminal_only() {
        let one = pb::Difference {
            kind: Kind::Role.into(),
            action: Action::Changed.into(),
            realm: "a".to_owned(),
            name: "device".to_owned(),
            revision: 3,
            before: vec!["allow call prefix \"com.\"".to_owned()],
            after: vec!["allow call exact \"com.a\"".to_owned()],
            takes_away: true,
        };
        let diff = pb::DiffReply {
            differences: vec![one],
            unchanged: 2,
            revisions: Vec::new(),
        };
        let expected = [
            "~ role device of a (revision 3) !",
            "    - allow call prefix \"com.\"",
            "    + allow call exact \"com.a\"",
            "0 added, 1 changed, 0 removed, 2 as they are",
        ];
        assert_eq!(lines(&diff, false), expected);
        assert!(lines(&diff, true)[0].starts_with("\x1b[33m~ role"));
    }
}
