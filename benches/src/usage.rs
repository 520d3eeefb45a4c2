//! What processes cost: CPU time and memory, from `/proc`.
//!
//! A process id stands for its whole tree, so a router that works in child processes is counted in full.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// Microseconds per clock tick: Linux shows `/proc` times in ticks of 1/100 s to user space on every architecture.
const TICK_US: u64 = 10_000;

/// CPU time and memory of one process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time in microseconds, in steps of 10 ms.
    pub cpu_us: u64,
    /// Resident memory in KiB, shared pages counted in every process.
    pub rss_kib: u64,
    /// Proportional memory in KiB: shared pages divided among their users; 0 where the kernel does not tell.
    pub pss_kib: u64,
}

/// The usage of each of `pids`, their descendants included.
///
/// # Errors
/// If one of them does not run.
pub fn sample(pids: &[u32]) -> Result<BTreeMap<u32, Usage>> {
    let children = children()?;
    pids.iter().map(|pid| Ok((*pid, tree(*pid, &children)?))).collect()
}

/// Looks at the same processes again and again at little cost: proportional memory is left out, since the kernel walks all pages
/// for it, and children are looked for only now and then.
#[derive(Debug)]
pub struct Watch {
    pids: Vec<u32>,
    /// Of each, the tree as it was when last looked for.
    trees: Vec<Vec<u32>>,
    samples: u32,
}

/// Samples between two looks for children.
const TREE_LOOKS_EVERY: u32 = 10;

impl Watch {
    /// Watches `pids` and their descendants.
    pub fn new(pids: Vec<u32>) -> Self {
        Self {
            trees: pids.iter().map(|pid| vec![*pid]).collect(),
            pids,
            samples: 0,
        }
    }

    /// The usage of each, in the order given, without PSS; what has ended counts as nothing.
    pub fn sample(&mut self) -> Vec<Usage> {
        if !self.pids.is_empty() && self.samples.is_multiple_of(TREE_LOOKS_EVERY) {
            for (pid, tree) in self.pids.iter().zip(&mut self.trees) {
                let found = descendants(*pid).unwrap_or_default();
                *tree = [*pid].into_iter().chain(found.into_iter().map(|member| member.pid)).collect();
            }
        }
        self.samples = self.samples.wrapping_add(1);
        let total = |tree: &Vec<u32>| {
            tree.iter()
                .filter_map(|pid| resident(*pid))
                .fold(Usage::default(), |sum, usage| Usage {
                    cpu_us: sum.cpu_us + usage.cpu_us,
                    rss_kib: sum.rss_kib + usage.rss_kib,
                    pss_kib: 0,
                })
        };
        self.trees.iter().map(total).collect()
    }

    /// The resident memory of all together, in KiB.
    ///
    /// # Errors
    /// If one of them does not run.
    pub fn rss_kib(&mut self) -> Result<u64> {
        let sample = self.sample();
        let gone = self.pids.iter().zip(&sample).find(|(_, usage)| **usage == Usage::default());
        if let Some((pid, _)) = gone {
            bail!("there is no process {pid} to measure");
        }
        Ok(sample.iter().map(|usage| usage.rss_kib).sum())
    }
}

/// CPU time of this process in microseconds.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn own_cpu_us() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    Ok(parse_stat(&stat).context("/proc/self/stat is not as expected")?.cpu_us)
}

/// A process, safe against a reuse of its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since boot.
    started: u64,
}

impl Member {
    /// True if it has not ended; one that only waits to be noticed by its parent has.
    pub fn still_runs(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok();
        stat.and_then(|stat| parse_stat(&stat))
            .is_some_and(|stat| stat.started == self.started && !stat.ended)
    }
}

/// Everything that `pid` has started, and so on.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn descendants(pid: u32) -> Result<Vec<Member>> {
    let children = children()?;
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if let Some(stat) = parse_stat(&stat) {
                found.push(Member {
                    pid: *child,
                    started: stat.started,
                });
                open.push(*child);
            }
        }
    }
    Ok(found)
}

/// Sums `pid` and its descendants; those that end meanwhile count as nothing.
fn tree(pid: u32, children: &BTreeMap<u32, Vec<u32>>) -> Result<Usage> {
    let mut total = process(pid).with_context(|| format!("there is no process {pid} to measure"))?;
    let mut seen = BTreeSet::from([pid]);
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if seen.insert(*child) {
                let usage = process(*child).unwrap_or_default();
                total.cpu_us += usage.cpu_us;
                total.rss_kib += usage.rss_kib;
                total.pss_kib += usage.pss_kib;
                open.push(*child);
            }
        }
    }
    Ok(total)
}

fn process(pid: u32) -> Option<Usage> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Some(Usage {
        pss_kib: kib(&rollup, "Pss:"),
        ..resident(pid)?
    })
}

fn resident(pid: u32) -> Option<Usage> {
    let stat = parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Some(Usage {
        cpu_us: stat.cpu_us,
        rss_kib: kib(&status, "VmRSS:"),
        pss_kib: 0,
    })
}

fn children() -> Result<BTreeMap<u32, Vec<u32>>> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(stat) = parse_stat(&stat) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    Ok(children)
}

struct Stat {
    parent: u32,
    cpu_us: u64,
    started: u64,
    ended: bool,
}

/// Reads a stat line. The second field is the command in parentheses and may hold anything, so fields count from the last one.
fn parse_stat(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = number(11)?.checked_add(number(12)?)?;
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        cpu_us: ticks.checked_mul(TICK_US)?,
        started: number(19)?,
        ended: matches!(fields[0], "Z" | "X"),
    })
}

fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_also_with_a_wild_command_name() {
        let line = "42 (a ) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 150 25 6 7 20 0 1 0 99 1000 200 18446744073709551615";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.cpu_us, stat.started), (7, 1_750_000, 99));
        assert!(parse_stat("").is_none() && parse_stat("1 (x) S 2").is_none());
    }

    #[test]
    fn our_own_process_costs_time_and_memory_and_a_missing_one_is_an_error() {
        let start = std::time::Instant::now();
        while own_cpu_us().unwrap() == 0 && start.elapsed().as_secs() < 20 {
            std::hint::black_box((0..100_000u64).sum::<u64>());
        }
        let own = sample(&[std::process::id()]).unwrap()[&std::process::id()];
        assert!(own.cpu_us >= 10_000 && own.rss_kib > 100, "{own:?}");
        assert!(sample(&[u32::MAX]).is_err());
        assert!(Watch::new(vec![std::process::id(), u32::MAX]).rss_kib().is_err());
        assert!(Watch::new(vec![std::process::id()]).rss_kib().unwrap() > 100);
    }

    #[test]
    fn children_count_with_their_parent() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let found = children().unwrap()[&std::process::id()].contains(&child.id());
        let mut watch = Watch::new(vec![std::process::id(), u32::MAX]);
        let usage = watch.sample();
        let with_child = watch.trees[0].contains(&child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found && with_child);
        assert!(usage[0].rss_kib > 100 && usage[1] == Usage::default(), "{usage:?}");
    }
}
