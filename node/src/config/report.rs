//! What an operator is told when the configuration cannot be used: everything that is wrong, at once, with the remedy.

use std::fmt;

use super::tree::Origin;

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Report {
    /// The file, or what stands for it.
    pub source_name: String,
    /// At least one problem, in the order of the sections.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What sort of thing has to be mended; decides the exit code.
    pub fault: Fault,
    /// The setting, such as `listener[0].address`; empty for the file as a whole.
    pub path: String,
    /// What was found there, where it may be shown.
    pub value: Option<String>,
    /// What is wrong, in lower case and without a full stop.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Where the value came from.
    pub(super) origin: Option<Origin>,
}

/// The sorts of problems, each with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A setting is unknown, of the wrong type, out of range, or at odds with another.
    Setting,
    /// A certificate or key is missing, unreadable, expired or does not fit.
    Certificate,
    /// The data directory cannot be used.
    DataDirectory,
}

impl Fault {
    /// The exit code of a process that ends for this reason.
    pub fn exit_code(self) -> u8 {
        match self {
            Fault::Setting => 3,
            Fault::Certificate => 5,
            Fault::DataDirectory => 6,
        }
    }
}

impl Report {
    /// Each problem with its place and its remedy, on a line of its own.
    pub fn lines(&self) -> Vec<String> {
        let line = |problem: &Problem| {
            let one = Self {
                source_name: self.source_name.clone(),
                problems: vec![problem.clone()],
            };
            let text = one.to_string();
            let lines = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
            lines.collect::<Vec<_>>().join("; ")
        };
        self.problems.iter().map(line).collect()
    }

    /// The exit code for the whole: that of the first setting that is wrong, else that of the first problem.
    pub fn exit_code(&self) -> u8 {
        let first = self
            .problems
            .iter()
            .find(|p| p.fault == Fault::Setting)
            .or(self.problems.first());
        first.map_or(Fault::Setting, |problem| problem.fault).exit_code()
    }
}

impl Problem {
    pub(super) fn new(path: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            fault: Fault::Setting,
            path: path.into(),
            value: None,
            what: what.into(),
            remedy: remedy.into(),
            origin: None,
        }
    }

    pub(super) fn value(mut self, value: impl fmt::Display) -> Self {
        self.value = Some(value.to_string());
        self
    }

    pub(super) fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    pub(super) fn at(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        writeln!(
            f,
            "{}: {count} problem{}",
            self.source_name,
            if count == 1 { "" } else { "s" }
        )?;
        for problem in &self.problems {
            f.write_str("\n  ")?;
            match &problem.origin {
                Some(Origin::Line { line, column }) => write!(f, "{}:{line}:{column}: ", self.source_name)?,
                Some(Origin::Environment(name)) => write!(f, "environment {name}: ")?,
                Some(Origin::BuiltIn) | None => {}
            }
            match (&problem.path[..], &problem.value) {
                ("", _) => {}
                (path, Some(value)) => write!(f, "{path} = {value}: ")?,
                (path, None) => write!(f, "{path}: ")?,
            }
            write!(f, "{}\n    remedy: {}\n", problem.what, problem.remedy)?;
        }
        Ok(())
    }
}
