//! The lamp of the demo: a device that registers `lamp.set` and `lamp.get`, and publishes `lamp.changed`.

use std::time::Duration;

use tokio::sync::mpsc;

use super::REALM;
use crate::{
    client::{Client, Error, Failure, Invocation, Options, Reply, Url},
    wamp::{Dict, Serializer, Value, error_uri},
};

/// Keeps the lamp connected, to the first of `urls` that takes it, and says so on `registered` each time.
///
/// The lamp keeps its state when its node goes and it comes back through another.
pub(super) async fn run(urls: Vec<Url>, registered: mpsc::Sender<()>) {
    let mut is_on = false;
    let mut sessions = 0;
    let mut pause = PAUSE_MIN;
    loop {
        for url in &urls {
            let started = tokio::time::Instant::now();
            if let Err(error) = serve(url, &mut is_on, &mut sessions, &registered).await {
                tracing::warn!(%url, %error, "the lamp lost its node");
            }
            if started.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The pauses between two rounds of attempts.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Serves the lamp over one session, until that ends.
async fn serve(url: &Url, is_on: &mut bool, sessions: &mut u64, registered: &mpsc::Sender<()>) -> Result<(), Error> {
    let mut options = Options::new(url.clone(), REALM);
    options.serializer = Serializer::MsgPack;
    options.timeout = Duration::from_secs(5);
    let client = Client::connect(options).await?;
    let mut set = client.register("lamp.set").await?;
    let mut get = client.register("lamp.get").await?;
    if *sessions > 0 {
        // Whoever follows the lamp may have missed something while it was away.
        client
            .publish_unacknowledged("lamp.changed", &[(*is_on).into()], &Dict::new())
            .await?;
    }
    *sessions += 1;
    // Full means that it was said already.
    let _ = registered.try_send(());
    loop {
        tokio::select! {
            invocation = set.next() => match invocation {
                Some(invocation) => on_set(&client, invocation, is_on).await?,
                None => return Err(client.closed().await),
            },
            invocation = get.next() => match invocation {
                Some(invocation) => invocation.reply(&state(*is_on)).await,
                None => return Err(client.closed().await),
            },
        }
    }
}

async fn on_set(client: &Client, invocation: Invocation, is_on: &mut bool) -> Result<(), Error> {
    let wanted = invocation
        .args
        .first()
        .and_then(Value::as_bool)
        .or(invocation.kwargs.bool("on"));
    let Some(wanted) = wanted else {
        let message = "lamp.set takes true or false, or on=true or on=false".to_owned();
        invocation
            .fail(&Failure {
                error: error_uri::INVALID_ARGUMENT.to_owned(),
                message,
            })
            .await;
        return Ok(());
    };
    if *is_on != wanted {
        *is_on = wanted;
        client
            .publish_unacknowledged("lamp.changed", &[wanted.into()], &Dict::new())
            .await?;
    }
    invocation.reply(&state(wanted)).await;
    Ok(())
}

fn state(is_on: bool) -> Reply {
    Reply {
        args: vec![is_on.into()],
        kwargs: Dict::new(),
    }
}
