//! `ringfort admin`: what a running cluster is, and what can be changed there, through any of its nodes. Each noun has its file.

mod apply;
mod backup;
mod change_realms;
mod channel;
mod drain;
mod logs;
mod nodes;
mod output;
mod principals;
mod realms;
mod registrations;
mod reply;
mod roles;
mod sessions;
mod settings;
mod subscriptions;
mod tap;

use clap::{Args, Subcommand};
use tonic::transport::Channel;

use self::{channel::Target, output::Output};
use super::{Failure, small_runtime};

/// Look at a running cluster, and at who may do what in it, and change that on every node.
///
/// Asks the admin port of any node. What the configuration files say is shown as fixed and is changed there. A change is answered once
/// the nodes have put it in force; those that have not said so are named. Exit codes: 7 not confirmed by every node, 9 refused, 10 not
/// found, 11 nobody answers.
#[derive(Debug, Args)]
pub(super) struct Admin {
    #[command(flatten)]
    target: Target,
    /// How results are shown.
    #[arg(long, value_enum, default_value = "table", global = true)]
    output: Output,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Nodes(nodes::List),
    MoveLeadership(nodes::MoveLeadership),
    AddNode(nodes::Add),
    RemoveNode(nodes::Remove),
    Realms(realms::List),
    PutRealm(change_realms::PutRealm),
    RemoveRealm(change_realms::RemoveRealm),
    Apply(apply::Apply),
    Backup(backup::CreateBackup),
    Restore(backup::Restore),
    Roles(roles::List),
    PutRole(roles::Put),
    RemoveRole(roles::Remove),
    Principals(principals::List),
    PutPrincipal(principals::Put),
    RemovePrincipal(principals::Remove),
    LogLevel(logs::Level),
    Reload(settings::Reload),
    Drain(drain::Drain),
    Why(roles::Why),
    Sessions(sessions::List),
    Session(sessions::Get),
    Kill(sessions::Kill),
    Registrations(registrations::List),
    Registration(registrations::Get),
    RemoveRegistration(registrations::Remove),
    Subscriptions(subscriptions::List),
    Subscription(subscriptions::Get),
    Slow(sessions::Slow),
    Tap(tap::Tap),
}

impl Admin {
    pub(super) fn run(self) -> Result<(), Failure> {
        small_runtime()?.block_on(async {
            // What goes through all principals takes its time.
            let patience = match self.what {
                What::Apply(_) | What::Backup(_) | What::Restore(_) => channel::LONG,
                What::RemoveNode(_) => nodes::REMOVE_WITHIN,
                _ => channel::WITHIN,
            };
            let channel = self.target.connect(patience).await?;
            self.what.ask(channel, self.output).await
        })
    }
}

impl What {
    async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        match self {
            Self::Nodes(command) => command.ask(channel, output).await,
            Self::MoveLeadership(command) => command.ask(channel, output).await,
            Self::AddNode(command) => command.ask(channel, output).await,
            Self::RemoveNode(command) => command.ask(channel, output).await,
            Self::Realms(command) => command.ask(channel, output).await,
            Self::PutRealm(command) => command.ask(channel, output).await,
            Self::RemoveRealm(command) => command.ask(channel, output).await,
            Self::Apply(command) => command.ask(channel, output).await,
            Self::Backup(command) => command.ask(channel, output).await,
            Self::Restore(command) => command.ask(channel, output).await,
            Self::Roles(command) => command.ask(channel, output).await,
            Self::PutRole(command) => command.ask(channel, output).await,
            Self::RemoveRole(command) => command.ask(channel, output).await,
            Self::Principals(command) => command.ask(channel, output).await,
            Self::PutPrincipal(command) => command.ask(channel, output).await,
            Self::RemovePrincipal(command) => command.ask(channel, output).await,
            Self::LogLevel(command) => command.ask(channel, output).await,
            Self::Reload(command) => command.ask(channel, output).await,
            Self::Drain(command) => command.ask(channel, output).await,
            Self::Why(command) => command.ask(channel, output).await,
            Self::Sessions(command) => command.ask(channel, output).await,
            Self::Session(command) => command.ask(channel, output).await,
            Self::Kill(command) => command.ask(channel, output).await,
            Self::Registrations(command) => command.ask(channel, output).await,
            Self::Registration(command) => command.ask(channel, output).await,
            Self::RemoveRegistration(command) => command.ask(channel, output).await,
            Self::Subscriptions(command) => command.ask(channel, output).await,
            Self::Subscription(command) => command.ask(channel, output).await,
            Self::Slow(command) => command.ask(channel, output).await,
            Self::Tap(command) => command.ask(channel, output).await,
        }
    }
}
