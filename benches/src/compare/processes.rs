//! The processes of a target: started, waited for, and ended with everything they started.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::targets::{Process, Target};
use crate::usage;

/// A process that does not come up in this time is an error.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A process that is asked to end and does not is killed after this time.
const END_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Processes {
    children: Vec<Child>,
    /// Those of the children that are measured unless the target says otherwise.
    measured: Vec<u32>,
    vars: BTreeMap<String, String>,
    /// What a process printed as JSON.
    facts: serde_json::Value,
}

impl Processes {
    /// Starts everything the target needs, after writing its files into `tmp`.
    pub(super) async fn start(target: &Target, vars: &BTreeMap<String, String>, tmp: &Path) -> Result<Self> {
        let mut vars = vars.clone();
        let own = std::env::current_exe().context("our own path is unknown")?;
        vars.insert("self".to_owned(), own.to_string_lossy().into_owned());
        vars.insert("tmp".to_owned(), tmp.to_string_lossy().into_owned());
        let mut processes = Self {
            children: Vec::new(),
            measured: Vec::new(),
            vars,
            facts: serde_json::Value::Null,
        };
        for (name, content) in &target.files {
            let file = tmp.join(name);
            fs::write(&file, processes.fill(content)?).with_context(|| format!("cannot write {}", file.display()))?;
        }
        for process in &target.process {
            if let Err(error) = processes.start_one(process).await {
                processes.stop().await;
                return Err(error);
            }
        }
        Ok(processes)
    }

    async fn start_one(&mut self, process: &Process) -> Result<()> {
        let words = process
            .command
            .iter()
            .map(|word| self.fill(word))
            .collect::<Result<Vec<_>>>()?;
        let [program, arguments @ ..] = &words[..] else {
            bail!("a process without a command");
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command.stdout(if process.json { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let output = child.stdout.take();
        self.measured.extend(child.id().filter(|_| !process.beside));
        self.children.push(child);
        if let Some(output) = output {
            let mut lines = BufReader::new(output).lines();
            let line = timeout(READY_TIMEOUT, lines.next_line())
                .await
                .context("no line of JSON came")??;
            let line = line.with_context(|| format!("{program} ended without a line of JSON"))?;
            self.facts = serde_json::from_str(&line).with_context(|| format!("{program} printed {line:?}"))?;
            // Whatever follows is read, so that the process never waits for us.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
        for address in &process.ready {
            let address = self.fill(address)?;
            let listening = timeout(READY_TIMEOUT, until_listening(&address)).await;
            listening.with_context(|| format!("{program}: nothing listens on {address}"))?;
        }
        sleep(Duration::from_millis(process.settle_ms)).await;
        Ok(())
    }

    /// Replaces `{name}` by the variable and `{/pointer}` by what a process printed; other braces stay.
    pub(super) fn fill(&self, text: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled += before;
            match after.split_once('}').filter(|(name, _)| is_name(name)) {
                Some((name, behind)) => {
                    filled += &self.value(name).with_context(|| format!("{text:?}: there is no {name:?}"))?;
                    rest = behind;
                }
                None => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        Ok(filled + rest)
    }

    fn value(&self, name: &str) -> Option<String> {
        if !name.starts_with('/') {
            return self.vars.get(name).cloned();
        }
        self.facts
            .pointer(name)
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// The processes to measure.
    pub(super) fn pids(&self, target: &Target) -> Result<Vec<u32>> {
        if target.pids.is_empty() {
            return Ok(self.measured.clone());
        }
        target.pids.iter().map(|pid| Ok(self.fill(pid)?.parse()?)).collect()
    }

    /// Asks each to end, the last one first, and kills what does not, its descendants included.
    pub(super) async fn stop(mut self) {
        while let Some(mut child) = self.children.pop() {
            let Some(pid) = child.id() else {
                continue;
            };
            let family = usage::descendants(pid).unwrap_or_default();
            signal("-TERM", &[pid]).await;
            if timeout(END_TIMEOUT, child.wait()).await.is_err() {
                child.kill().await.ok();
            }
            let left: Vec<u32> = family
                .into_iter()
                .filter(|member| member.still_runs())
                .map(|member| member.pid)
                .collect();
            if !left.is_empty() {
                signal("-KILL", &left).await;
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/".contains(&b))
}

async fn until_listening(address: &str) {
    while TcpStream::connect(address).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
}

/// The standard library can only kill, and only its own children.
async fn signal(which: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    Command::new("kill")
        .arg(which)
        .args(pids)
        .stderr(Stdio::null())
        .status()
        .await
        .ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::targets::Targets;

    fn target(script: &str, json: bool) -> Target {
        let text = format!(
            "[vars]\nword = \"w\"\n[[target]]\nname = \"t\"\nrun = [\"rpc\"]\n[[target.process]]\ncommand = [\"sh\", \"-c\", '''{script}''']\njson = {json}"
        );
        Targets::parse(&text).unwrap().target.remove(0)
    }

    #[tokio::test]
    async fn what_a_process_prints_can_be_used_and_its_children_end_with_it() {
        // The shell ignores nothing but leaves its child behind when it ends.
        let target = target(r#"sleep 60 & echo '{"a":[{"url":"ws://x"}],"pid":'$!'}'; wait"#, true);
        let vars = BTreeMap::from([("word".to_owned(), "w".to_owned())]);
        let processes = Processes::start(&target, &vars, Path::new("/nonexistent")).await.unwrap();
        assert_eq!(processes.fill("<{/a/0/url} {word}>").unwrap(), "<ws://x w>");
        assert_eq!(processes.fill("{ {word} {open").unwrap(), "{ w {open");
        assert!(processes.fill("{nothing}").is_err() && processes.fill("{/nothing}").is_err());
        let sleeper: u32 = processes.fill("{/pid}").unwrap().parse().unwrap();
        let pids = processes.pids(&target).unwrap();
        let family = usage::descendants(pids[0]).unwrap();
        let sleeper = family.iter().find(|member| member.pid == sleeper).unwrap();
        assert!(pids.len() == 1 && sleeper.still_runs());
        processes.stop().await;
        for _ in 0..500 {
            if !sleeper.still_runs() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{sleeper:?} is still there");
    }

    #[tokio::test]
    async fn files_are_written_before_the_processes_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut target = target("cat {tmp}/facts", true);
        let content = r#"{"in":"{tmp}"}"#.to_owned();
        target.files.insert("facts".to_owned(), content);
        let processes = Processes::start(&target, &BTreeMap::new(), folder.path()).await.unwrap();
        assert_eq!(processes.fill("{/in}").unwrap(), folder.path().to_string_lossy());
        processes.stop().await;
    }

    #[tokio::test]
    async fn a_process_that_ends_at_once_is_an_error() {
        let error = Processes::start(&target("exit 3", true), &BTreeMap::new(), Path::new("/nonexistent"))
            .await
            .err()
            .unwrap();
        assert!(format!("{error:#}").contains("ended"), "{error:#}");
    }
}
