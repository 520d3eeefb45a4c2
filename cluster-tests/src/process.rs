//! One router process: started, watched, hurt, and gone when its owner is.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// A signal a test sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends the process at once.
    Kill,
    /// Stops it where it is; its sockets stay open and silent.
    Stop,
    /// Lets a stopped process go on.
    Continue,
    /// Asks it to end in order.
    Terminate,
    /// Asks it to read its settings again.
    Hangup,
}

/// Sends a signal to a process of ours by its id.
///
/// # Errors
/// If there is no such process.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let name = match signal {
        Signal::Kill => "-KILL",
        Signal::Stop => "-STOP",
        Signal::Continue => "-CONT",
        Signal::Terminate => "-TERM",
        Signal::Hangup => "-HUP",
    };
    let status = Command::new("kill")
        .arg(name)
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status()
        .context("run kill")?;
    if !status.success() {
        bail!("kill {name} {pid}: {status}");
    }
    Ok(())
}

/// A child process whose output goes to files.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: std::process::Child,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: bool,
}

impl Process {
    /// Starts `command` with its output in `<dir>/<name>.out` and `<dir>/<name>.err`.
    ///
    /// # Errors
    /// If the program or the log files cannot be opened.
    pub fn start(name: &str, mut command: Command, dir: &Path) -> Result<Self> {
        let (stdout, stderr) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        let open = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("open {}", path.display()))
        };
        for argument in command.get_args().map(Path::new) {
            if argument.extension().is_some_and(|ending| ending == "toml") {
                crate::secrets::of_config(argument);
            }
        }
        // Output of an earlier life of the same node would be taken for this one's.
        let _ = std::fs::remove_file(&stdout);
        // Its end tells a node that was started with `--exit-with-stdin` that this process is gone.
        command.stdin(Stdio::piped()).stdout(open(&stdout)?).stderr(open(&stderr)?);
        let child = command
            .spawn()
            .with_context(|| format!("start {:?}", command.get_program()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
            ended: false,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it has logged so far, over all lives of this name in this folder.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, which: Signal) -> Result<()> {
        signal(self.pid(), which)
    }

    /// Ends it at once and waits until the system has let it go.
    pub fn kill(&mut self) {
        if !self.ended {
            // Both fail only if it has ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.ended = true;
        }
    }

    /// The exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        self.ended |= status.is_some();
        status
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {patience:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the first whole line on its standard output that begins with `{`.
    ///
    /// # Errors
    /// If the process ends first or nothing comes within `patience`; the error carries the end of its log.
    pub async fn first_json_line(&mut self, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let text = self.stdout();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            if let Some(line) = whole.lines().find(|line| line.starts_with('{')) {
                return Ok(line.to_owned());
            }
            if let Some(status) = self.exited() {
                bail!("{} ended with {status} before it was ready:\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} not ready within {patience:?}:\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.stderr();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The `ringfort` program under test: `RINGFORT_BIN`, else the release build, else the debug build of this work tree.
///
/// # Panics
/// If there is none: a test of nothing must not pass.
pub fn binary() -> PathBuf {
    built("RINGFORT_BIN", "ringfort")
}

/// The `ringfort-bench` program: `RINGFORT_BENCH_BIN`, else as for [`binary`].
///
/// # Panics
/// If there is none.
pub fn bench_binary() -> PathBuf {
    built("RINGFORT_BENCH_BIN", "ringfort-bench")
}

fn built(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let target = crate::target_dir();
    ["release", "debug"]
        .iter()
        .map(|profile| target.join(profile).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no {name} program in {}: run `cargo build --release --workspace` first",
                target.display()
            )
        })
}
