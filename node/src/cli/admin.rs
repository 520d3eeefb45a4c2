//! `ringfort admin`: what a running cluster is, and what can be changed there, through any of its nodes. Each noun has its file.

mod channel;
mod logs;
mod principals;
mod realms;
mod reply;
mod roles;

use clap::{Args, Subcommand};
use tonic::transport::Channel;

use self::channel::Target;
use super::{Failure, small_runtime};

/// Look at who may do what in a running cluster, and change it on every node.
///
/// Asks the admin port of any node. What the configuration files say is shown as fixed and is changed there. A change is answered once
/// the nodes have put it in force; those that have not said so are named.
#[derive(Debug, Args)]
pub(super) struct Admin {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Realms(realms::List),
    Roles(roles::List),
    PutRole(roles::Put),
    RemoveRole(roles::Remove),
    Principals(principals::List),
    PutPrincipal(principals::Put),
    RemovePrincipal(principals::Remove),
    LogLevel(logs::Level),
    Why(roles::Why),
}

impl Admin {
    pub(super) fn run(self) -> Result<(), Failure> {
        small_runtime()?.block_on(async {
            let channel = self.target.connect().await?;
            self.what.ask(channel).await
        })
    }
}

impl What {
    async fn ask(self, channel: Channel) -> Result<(), Failure> {
        match self {
            Self::Realms(command) => command.ask(channel).await,
            Self::Roles(command) => command.ask(channel).await,
            Self::PutRole(command) => command.ask(channel).await,
            Self::RemoveRole(command) => command.ask(channel).await,
            Self::Principals(command) => command.ask(channel).await,
            Self::PutPrincipal(command) => command.ask(channel).await,
            Self::RemovePrincipal(command) => command.ask(channel).await,
            Self::LogLevel(command) => command.ask(channel).await,
            Self::Why(command) => command.ask(channel).await,
        }
    }
}
