//! Starting other programs, and where things are.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The root of the work tree.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(PathBuf::from)
        .unwrap_or_default()
}

/// Where build results and installed test tools go.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Cargo with these arguments, run at the root. In CI the lock file must be complete already.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = program(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), &[]);
    command.args(arguments);
    if std::env::var_os("CI").is_some() && arguments.first() != Some(&"fmt") {
        // Before a `--`, behind which arguments belong to someone else.
        let split = arguments
            .iter()
            .position(|argument| *argument == "--")
            .unwrap_or(arguments.len());
        command = program(
            &std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()),
            &arguments[..split],
        );
        command.arg("--locked").args(&arguments[split..]);
    }
    command
}

/// A program with arguments, run at the root, without standard input.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs it with its output on ours; true if it ends well.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("{:?}: {error}", command.get_program());
            false
        }
    }
}

/// Runs it and fails unless it ends well.
pub(crate) fn must(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Its standard output, if it ends well.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it with every line of its output, standard and error, on ours and handed to `each`; true if it ends well.
pub(crate) fn watch(mut command: Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let (output, input) = std::io::pipe()?;
    command.stdout(input.try_clone()?).stderr(input);
    let mut child = command
        .spawn()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    // It holds the writing ends: the output would never end.
    drop(command);
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        // A reader of our output that went away must not end the run: its exit code still counts.
        let _ = writeln!(std::io::stdout(), "{line}");
        each(&line);
    }
    Ok(child.wait()?.success())
}
