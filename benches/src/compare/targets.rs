//! The file that says what to compare.
//!
//! ```toml
//! rounds = 5
//!
//! [vars]                                # used below as {name}; {self} is this program
//! ringfort = "target/release/ringfort"
//!
//! [[target]]
//! name = "ws floor"
//! run = ["floor-rpc", "--url", "ws://127.0.0.1:9101"]       # arguments of this program; --pid and --json are added
//! [[target.process]]
//! command = ["{self}", "floor", "ws-relay", "--listen", "127.0.0.1:9101"]
//! ready = ["127.0.0.1:9101"]            # wait until something listens there
//!
//! [[target]]
//! name = "three nodes"
//! against = "ws floor"                  # print the ratio to that target
//! run = ["rpc", "--url", "{/nodes/2/websocket}", "--callee-url", "{/nodes/0/websocket}"]
//! pids = ["{/nodes/0/pid}", "{/nodes/2/pid}"]               # else: every process started here, but those `beside`
//! [[target.process]]
//! command = ["{ringfort}", "demo", "--json"]
//! json = true                           # the first line of its output is JSON; {/pointer} reads from it
//!
//! [[target]]
//! name = "one node with a disk"
//! run = ["register", "--url", "ws://127.0.0.1:9131/ws", "--fsync-dir", "{tmp}", "--rtt"]
//! [target.files]                        # written into {tmp}, a fresh folder for each run, before anything starts
//! "node.toml" = '''
//! cluster = { data_dir = "{tmp}/data" }
//! listener = [{ address = "127.0.0.1:9131" }]
//! '''
//! [[target.process]]
//! command = ["{ringfort}", "serve", "--config", "{tmp}/node.toml"]
//! ready = ["127.0.0.1:9131"]
//! ```
//!
//! `{tmp}` lies in the system's folder for temporary files; set `TMPDIR` to have it on the disk that is to be measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Result, ensure};
use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// How often each target runs.
    #[serde(default = "three")]
    pub rounds: u32,
    /// Words that may stand in braces.
    #[serde(default)]
    pub vars: BTreeMap<String, String>,
    /// What to compare, in the order of a round.
    pub target: Vec<Target>,
}

/// One thing to load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name in the table.
    pub name: String,
    /// The target whose cost this one's is divided by.
    pub against: Option<String>,
    /// The load: arguments of this program.
    pub run: Vec<String>,
    /// The process ids to measure; by default those of `process`.
    #[serde(default)]
    pub pids: Vec<String>,
    /// Files by name, written into `{tmp}` before anything starts; braces are filled in them as everywhere.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// What to start before and to end after each run.
    #[serde(default)]
    pub process: Vec<Process>,
}

/// A process of a target.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Addresses to wait for before the next process starts.
    #[serde(default)]
    pub ready: Vec<String>,
    /// Wait for one line of JSON on its output.
    #[serde(default)]
    pub json: bool,
    /// Wait so many milliseconds after all that: for servers that find each other some time after they listen.
    #[serde(default)]
    pub settle_ms: u64,
    /// It is not measured: another load beside the target's own.
    #[serde(default)]
    pub beside: bool,
}

/// True for a name without a folder.
fn is_plain(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == name)
}

fn three() -> u32 {
    3
}

impl Targets {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is not TOML of this form, or names do not fit together.
    pub fn parse(text: &str) -> Result<Self> {
        let targets: Self = toml::from_str(text)?;
        ensure!(targets.rounds > 0, "rounds must be at least 1");
        ensure!(!targets.target.is_empty(), "there is no [[target]]");
        let mut names = BTreeSet::new();
        for target in &targets.target {
            ensure!(names.insert(target.name.as_str()), "two targets are called {:?}", target.name);
            ensure!(!target.run.is_empty(), "{:?} has nothing to run", target.name);
            ensure!(
                target.process.iter().all(|p| !p.command.is_empty()),
                "{:?} has a process without a command",
                target.name
            );
            ensure!(
                target.files.keys().all(|name| is_plain(name)),
                "{:?} has a file that is not in {{tmp}}",
                target.name
            );
        }
        for against in targets.target.iter().filter_map(|target| target.against.as_deref()) {
            ensure!(names.contains(against), "no target is called {against:?}");
        }
        Ok(targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_is_understood() {
        let example: String = include_str!("targets.rs")
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
            .collect();
        let targets = Targets::parse(&example).unwrap();
        assert_eq!((targets.rounds, targets.target.len()), (5, 3));
        assert!(targets.target[1].process[0].json);
        assert_eq!(targets.target[1].against.as_deref(), Some("ws floor"));
    }

    #[test]
    fn the_files_we_ship_are_understood() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
        let files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(files.len() >= 3);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            Targets::parse(&text).unwrap_or_else(|error| panic!("{}: {error:#}", file.display()));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let target = "[[target]]\nname = \"a\"\nrun = [\"rpc\"]\n";
        for (text, named) in [
            ("", "target"),
            ("rounds = 0\n[[target]]\nname = \"a\"\nrun = [\"rpc\"]", "rounds"),
            (&format!("{target}{target}"), "two targets"),
            (&format!("{target}against = \"b\""), "\"b\""),
            (&format!("{target}speed = 1"), "speed"),
            (&format!("{target}files = {{ \"../x\" = \"\" }}"), "{tmp}"),
        ] {
            let error = format!("{:#}", Targets::parse(text).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }
}
