//! `ringfort admin drain`: sends a node away, and watches it go.

use std::time::Duration;

use clap::Args;
use ringfort_proto::admin::v1::{self as pb, drain_client::DrainClient};
use serde_json::json;
use tonic::{Code, Status, transport::Channel};

use super::{output::Output, reply::refused};
use crate::cli::{Failure, print_line};

/// Send a node away: its clients go to the other nodes bit by bit, then it leaves the cluster and its process ends.
///
/// Answers at once, or with --watch when the node has gone. Whatever restarts the process restarts it.
#[derive(Debug, Args)]
pub(super) struct Drain {
    /// The node's name. Left out: the node whose admin port is asked.
    #[arg(default_value = "")]
    node: String,
    /// Print a line whenever something has changed, until the node has gone.
    #[arg(long)]
    watch: bool,
    /// Skip the delay for load balancers and the pacing, and do not wait for open calls. Hurries a drain that is under way.
    #[arg(long)]
    at_once: bool,
    /// Send the sessions away over so many seconds at most, in place of drain.window_ms.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=3600))]
    window: Option<u32>,
    /// Take clients for so many seconds more, in place of drain.load_balancer_delay_ms.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=3600))]
    delay: Option<u32>,
    /// Only tell how far the node is.
    #[arg(long, conflicts_with_all = ["at_once", "window", "delay", "cancel"])]
    status: bool,
    /// Call it off, as long as the node still takes clients.
    #[arg(long, conflicts_with_all = ["at_once", "window", "delay", "watch"])]
    cancel: bool,
}

/// How often a node is asked how far it is.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// For how long a node that drains may not answer before it is given up. Its process is on its way out, or too busy to say so.
const SILENT_MAX: Duration = Duration::from_secs(3);

impl Drain {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut client = DrainClient::new(channel);
        let node = self.node.clone();
        let first = if self.status {
            client.status(pb::DrainStatusRequest { node }).await
        } else if self.cancel {
            client.cancel(pb::CancelDrainRequest { node }).await
        } else {
            let millis = |seconds: u32| u64::from(seconds) * 1_000;
            let request = pb::StartDrainRequest {
                node,
                window_ms: self.window.map(millis),
                load_balancer_delay_ms: self.delay.map(millis),
                at_once: self.at_once,
            };
            client.start(request).await
        };
        let first = first.map_err(refused)?.into_inner();
        print_line(&line(&first, output))?;
        if self.watch {
            return watch(client, first, self.node.is_empty(), output).await;
        }
        Ok(())
    }
}

/// Follows a drain until the node is gone, which it tells by leaving the cluster, or by closing the port that is asked, if that is its own.
async fn watch(mut client: DrainClient<Channel>, mut last: pb::DrainStatus, is_own: bool, output: Output) -> Result<(), Failure> {
    if last.phase == "serving" {
        return Ok(());
    }
    let mut silent = Duration::ZERO;
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let node = last.node.clone();
        match client.status(pb::DrainStatusRequest { node }).await {
            Ok(status) => {
                silent = Duration::ZERO;
                let status = status.into_inner();
                let changed = (&status.phase, status.sessions_left) != (&last.phase, last.sessions_left);
                if changed {
                    print_line(&line(&status, output))?;
                }
                match status.phase.as_str() {
                    "left" => return Ok(()),
                    "serving" => return Err(Failure::new(format!("the drain of {} was called off", status.node))),
                    _ => last = status,
                }
            }
            Err(error) if is_gone(&error) => {
                // Another node may only have a bad moment.
                silent += WATCH_EVERY;
                if is_own || last.phase == "leaving" || silent >= SILENT_MAX {
                    last.phase = "left".to_owned();
                    return print_line(&line(&last, output));
                }
            }
            Err(error) => return Err(refused(error)),
        }
    }
}

fn is_gone(error: &Status) -> bool {
    matches!(
        error.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
    )
}

fn line(status: &pb::DrainStatus, output: Output) -> String {
    if let Output::Json = output {
        let told = json!({
            "node": status.node, "phase": status.phase, "by": status.by, "running_ms": status.running_ms,
            "at_most_ms": status.at_most_ms, "sessions": status.sessions, "sessions_left": status.sessions_left,
        });
        return told.to_string();
    }
    if status.phase == "serving" || status.phase == "left" {
        return format!("{}: {}", status.node, status.phase);
    }
    format!(
        "{}: {}, {} of {} sessions left, after {:.1} s of {} s at most, asked for by {}",
        status.node,
        status.phase,
        status.sessions_left,
        status.sessions,
        status.running_ms as f64 / 1e3,
        status.at_most_ms.div_ceil(1_000),
        status.by,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_left_and_how_long_it_takes() {
        let status = pb::DrainStatus {
            node: "n2".to_owned(),
            phase: "saying_goodbye".to_owned(),
            by: "loopback on n1".to_owned(),
            running_ms: 1_240,
            at_most_ms: 94_000,
            sessions: 20,
            sessions_left: 3,
        };
        let expected = "n2: saying_goodbye, 3 of 20 sessions left, after 1.2 s of 94 s at most, asked for by loopback on n1";
        assert_eq!(line(&status, Output::Table), expected);
        let left = pb::DrainStatus {
            phase: "left".to_owned(),
            ..status
        };
        assert_eq!(line(&left, Output::Table), "n2: left");
        assert!(line(&left, Output::Json).contains("\"phase\":\"left\""));
    }
}
