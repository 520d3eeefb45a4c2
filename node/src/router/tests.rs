//! What a realm does, one behaviour per test, in the language of [`super::testing`].

mod barriers;
mod calls;
mod events;
mod meta_registrations;
mod meta_sessions;
mod meta_subscriptions;
mod meta_testaments;
mod pattern_calls;
mod patterns;
mod receivers;
mod registrations;
mod remote_calls;
mod requests;
mod rerouting;
mod restore;
mod revocation;
mod shards;
mod shared;
mod subscriptions;
