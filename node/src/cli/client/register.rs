//! `ringfort register`: a procedure from the shell.

use std::{process::Stdio, time::Duration};

use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{Connection, end_after, print};
use crate::{
    cli::{Failure, json, print_line, signals::Stop, small_runtime},
    client::{Failure as CallFailure, Invocation, Reply},
    wamp::{Dict, Value},
};

/// Offer a procedure and print its invocations, one line of JSON each, until Ctrl-C.
#[derive(Debug, Args)]
pub(in crate::cli) struct Register {
    /// The procedure.
    uri: String,
    #[command(flatten)]
    answer: Answer,
    /// End after so many invocations.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Print {"args": […], "kwargs": {…}} for every invocation.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What each invocation is answered with.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Answer {
    /// Answer with this JSON value.
    #[arg(long, value_name = "JSON", value_parser = json::argument)]
    reply: Option<Value>,
    /// Answer with what was sent.
    #[arg(long)]
    echo: bool,
    /// Answer with what this shell command prints, as JSON or else as text. It reads {"args": […], "kwargs": {…}} on standard
    /// input; if it fails, the caller gets an ERROR.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
}

/// A command that runs longer is ended, and its caller gets an ERROR.
const EXEC_TIMEOUT: Duration = Duration::from_secs(60);
/// The most that is read of a command's output.
const EXEC_OUTPUT_BYTES_MAX: u64 = 8 * 1024 * 1024;

impl Register {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        small_runtime()?.block_on(Box::pin(self.serve()))
    }

    async fn serve(self) -> Result<(), Failure> {
        let mut stop = Stop::new()?;
        let client = self.connection.open().await?;
        let mut registration = client.register(&self.uri).await?;
        tracing::info!(procedure = %self.uri, "registered");
        let mut left = self.count.unwrap_or(u64::MAX);
        let end = end_after(self.seconds);
        tokio::pin!(end);
        while left > 0 {
            tokio::select! {
                invocation = registration.next() => match invocation {
                    Some(invocation) => {
                        print_line(&print(self.full, &invocation.args, &invocation.kwargs))?;
                        self.answer.give(invocation).await;
                    }
                    None => return Err(client.closed().await.into()),
                },
                () = stop.wait() => break,
                () = &mut end => break,
            }
            left -= 1;
        }
        // The GOODBYE follows the last answer on the wire, so that answer is not lost.
        drop(client.leave().await);
        Ok(())
    }
}

impl Answer {
    async fn give(&self, mut invocation: Invocation) {
        let (args, kwargs) = (std::mem::take(&mut invocation.args), std::mem::take(&mut invocation.kwargs));
        let reply = match (&self.exec, &self.reply) {
            (Some(command), _) => execute(command, &args, &kwargs).await,
            (None, Some(value)) => Ok(Reply {
                args: vec![value.clone()],
                kwargs: Dict::new(),
            }),
            (None, None) => Ok(Reply { args, kwargs }),
        };
        match reply {
            Ok(reply) => invocation.reply(&reply).await,
            Err(message) => {
                invocation
                    .fail(&CallFailure {
                        error: "ringfort.error.exec_failed".to_owned(),
                        message,
                    })
                    .await
            }
        }
    }
}

/// Runs `command` for one invocation.
async fn execute(command: &str, args: &[Value], kwargs: &Dict) -> Result<Reply, String> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot run the command: {error}"))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err("the command has no pipes".to_owned());
    };
    let input = json::full_payload(args, kwargs).to_string();
    let mut output = Vec::new();
    let mut stdout = stdout.take(EXEC_OUTPUT_BYTES_MAX);
    let finished = tokio::time::timeout(EXEC_TIMEOUT, async {
        // A command that does not read its input is none the worse.
        let feed = async {
            drop(stdin.write_all(input.as_bytes()).await);
            drop(stdin);
        };
        let ((), read) = tokio::join!(feed, stdout.read_to_end(&mut output));
        read?;
        child.wait().await
    });
    let status = finished
        .await
        .map_err(|_| format!("the command ran longer than {} s", EXEC_TIMEOUT.as_secs()))?;
    let status = status.map_err(|error| format!("the command could not be followed: {error}"))?;
    if !status.success() {
        return Err(format!("the command ended with {status}"));
    }
    let text = String::from_utf8(output).map_err(|_| "the command printed something else than UTF-8".to_owned())?;
    let value = serde_json::from_str(text.trim()).map_or_else(|_| Value::from(text.trim_end_matches('\n')), json::from_json);
    Ok(Reply {
        args: vec![value],
        kwargs: Dict::new(),
    })
}
