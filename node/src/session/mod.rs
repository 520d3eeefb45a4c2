//! Sessions: the handshake, the task of each session, its one outbox, and the shell around a realm's pure core.
//!
//! Owns: HELLO … GOODBYE, authentication, the outboxes, the lock of a realm and the order in which effects are carried out under
//! it. Does not own routing ([`crate::router`]) or bytes on sockets ([`crate::transport`]). Reaches the cluster only through
//! [`cluster::Cluster`]. Start reading at [`realm`], then [`task`] and [`outbox`].

pub mod realm;

pub mod auth;
pub mod cluster;
mod counting;
pub mod handshake;
pub mod hold;
pub mod keeping;
pub mod limits;
pub mod outbox;
pub mod quota;
pub mod sessions;
pub mod tap;
pub mod task;

#[cfg(test)]
pub mod loopback;
#[cfg(test)]
mod suite_tests;
#[cfg(test)]
pub(crate) mod testing;
