//! `ringfort call`, `publish`, `subscribe`, `register`: a WAMP client for the shell, for any WAMP router.

mod connection;
mod register;

use std::time::Duration;

use clap::Args;

use self::connection::Connection;
pub(super) use self::register::Register;
use super::{Failure, json, print_line, signals::Stop, small_runtime};
use crate::wamp::{Dict, Value};

/// The positional and named values of a call or publication.
#[derive(Debug, Args)]
struct Values {
    /// Positional values as JSON: 1 true '"text"' '{"a":1}'. A word that is no JSON is taken as text.
    #[arg(value_name = "ARG", value_parser = json::argument, allow_negative_numbers = true)]
    args: Vec<Value>,
    /// Named values as a JSON object.
    #[arg(long, value_name = "JSON", value_parser = json::dict)]
    kwargs: Option<Dict>,
}

/// Call a procedure and print its result.
///
/// One value is printed as it is, several ones or named ones as {"args": […], "kwargs": {…}}. An ERROR of the router or the callee goes
/// to standard error, with exit code 1.
#[derive(Debug, Args)]
pub(super) struct Call {
    /// The procedure.
    uri: String,
    #[command(flatten)]
    values: Values,
    /// Always print {"args": […], "kwargs": {…}}.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Publish an event and wait until the router has taken it.
#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The topic.
    uri: String,
    #[command(flatten)]
    values: Values,
    #[command(flatten)]
    connection: Connection,
}

/// Print the events of a topic, one line of JSON each, until Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct Subscribe {
    /// The topic.
    uri: String,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Print {"args": […], "kwargs": {…}} for every event.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Call {
    pub(super) fn run(self) -> Result<(), Failure> {
        small_runtime()?.block_on(Box::pin(async {
            let client = self.connection.open().await?;
            let reply = client
                .call(&self.uri, &self.values.args, &self.values.kwargs.unwrap_or_default())
                .await?;
            // The result is here; a router that is slow to say goodbye does not spoil it.
            drop(client.leave().await);
            print_line(&print(self.full, &reply.args, &reply.kwargs))
        }))
    }
}

impl Publish {
    pub(super) fn run(self) -> Result<(), Failure> {
        small_runtime()?.block_on(Box::pin(async {
            let client = self.connection.open().await?;
            client
                .publish(&self.uri, &self.values.args, &self.values.kwargs.unwrap_or_default())
                .await?;
            drop(client.leave().await);
            Ok(())
        }))
    }
}

impl Subscribe {
    pub(super) fn run(self) -> Result<(), Failure> {
        small_runtime()?.block_on(Box::pin(async {
            let mut stop = Stop::new()?;
            let client = self.connection.open().await?;
            let mut subscription = client.subscribe(&self.uri).await?;
            tracing::info!(topic = %self.uri, "subscribed");
            let mut left = self.count.unwrap_or(u64::MAX);
            let end = end_after(self.seconds);
            tokio::pin!(end);
            while left > 0 {
                tokio::select! {
                    event = subscription.next() => match event {
                        Some(event) => print_line(&print(self.full, &event.args, &event.kwargs))?,
                        None => return Err(client.closed().await.into()),
                    },
                    () = stop.wait() => break,
                    () = &mut end => break,
                }
                left -= 1;
            }
            drop(client.leave().await);
            Ok(())
        }))
    }
}

fn print(full: bool, args: &[Value], kwargs: &Dict) -> String {
    if full {
        json::full_payload(args, kwargs).to_string()
    } else {
        json::payload(args, kwargs).to_string()
    }
}

/// Resolves after `seconds`, never if there are none.
async fn end_after(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}
