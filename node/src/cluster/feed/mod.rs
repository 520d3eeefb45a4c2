//! How nodes without a vote follow the log: the state, then every committed entry, from any core node.
//!
//! A core node keeps the newest applied commands in memory ([`tail`]) and serves followers from there ([`source`]). One whose next entry
//! is gone gets the whole state first. Only what is committed and applied is sent, so a follower never has to take anything back. It
//! applies the same commands to the same state machine ([`follower`]), stands behind the same [`super::consensus::Consensus`], and leaves
//! no trace with anybody when it goes: the membership of consensus knows nothing of it.

pub mod follower;
pub mod source;
pub mod tail;

#[cfg(test)]
mod tests;
