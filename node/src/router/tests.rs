//! What a realm does, one behaviour per test, in the language of [`super::testing`].

mod barriers;
mod calls;
mod cancels;
mod disclosure;
mod events;
mod parts;
mod passthru;
mod patterns;
mod receivers;
mod registrations;
mod remote_calls;
mod requests;
mod restore;
mod revocation;
mod shards;
mod slow;
mod subscriptions;
mod timeouts;
