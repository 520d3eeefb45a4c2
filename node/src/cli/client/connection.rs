//! The arguments that say which router, which realm, and as whom.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    cli::{Failure, logging},
    client::{Auth, Client, Options, Ticket, Trust, Url},
    config::{Log, LogFormat},
    wamp,
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The router: ws://HOST:PORT/PATH, wss://…, or RawSocket as tcp://HOST:PORT, tcps://….
    #[arg(long, default_value = "ws://127.0.0.1:8080/ws")]
    url: Url,
    /// The realm to join.
    #[arg(long, default_value = "realm1")]
    realm: String,
    /// The serializer of the messages.
    #[arg(long, value_enum, default_value_t = Serializer::Json)]
    serializer: Serializer,
    /// The name to authenticate as, with a ticket from --ticket-file or the variable RINGFORT_TICKET.
    #[arg(long, value_name = "NAME")]
    authid: Option<String>,
    /// The file with the ticket; its last line break does not count.
    #[arg(long, value_name = "FILE", requires = "authid")]
    ticket_file: Option<PathBuf>,
    /// The PEM file of the authority to trust for wss:// and tcps://; without it, those that the system trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust any certificate: the connection is encrypted, but to whom is not known.
    #[arg(long, conflicts_with = "ca")]
    insecure_ca: bool,
    /// Seconds to wait for the connection and for each answer.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Log what happens to standard error.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Serializer {
    Json,
    Msgpack,
    Cbor,
}

impl Connection {
    /// Connects and joins the realm.
    pub(super) async fn open(&self) -> Result<Client, Failure> {
        let level = if self.verbose { "info" } else { "warn" };
        logging::start(&Log {
            level: level.to_owned(),
            format: LogFormat::Text,
        });
        let client = Client::connect(self.options(std::env::var("RINGFORT_TICKET").ok())?).await?;
        tracing::info!(session = %client.session(), url = %self.url, realm = self.realm, "joined");
        Ok(client)
    }

    /// What the arguments say; `ticket` is that of the environment.
    pub(super) fn options(&self, ticket: Option<String>) -> Result<Options, Failure> {
        let mut options = Options::new(self.url.clone(), self.realm.clone());
        options.timeout = Duration::from_secs(self.timeout);
        options.serializer = match self.serializer {
            Serializer::Json => wamp::Serializer::Json,
            Serializer::Msgpack => wamp::Serializer::MsgPack,
            Serializer::Cbor => wamp::Serializer::Cbor,
        };
        options.trust = match (&self.ca, self.insecure_ca) {
            (_, true) => Trust::Anybody,
            (Some(file), _) => Trust::File(file.clone()),
            (None, false) => Trust::System,
        };
        let Some(authid) = &self.authid else { return Ok(options) };
        let usage = |text: String| Failure { code: 2, text };
        let ticket = match (&self.ticket_file, ticket) {
            (Some(file), _) => {
                let read = std::fs::read_to_string(file);
                let text = read.map_err(|error| usage(format!("--ticket-file {}: {error}", file.display())))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            (None, Some(ticket)) => ticket,
            (None, None) => {
                return Err(usage(
                    "--authid needs a ticket: give --ticket-file or RINGFORT_TICKET".to_owned(),
                ));
            }
        };
        options.auth = Auth::Ticket {
            authid: authid.clone(),
            ticket: Ticket::new(ticket),
        };
        Ok(options)
    }
}
