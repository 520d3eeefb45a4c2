//! What a realm does, one behaviour per test, in the language of [`super::testing`].

mod barriers;
mod calls;
mod cancels;
mod deliveries;
mod disclosure;
mod events;
mod kept;
mod meta_registrations;
mod meta_sessions;
mod parts;
mod passthru;
mod patterns;
mod receivers;
mod registration_patterns;
mod registrations;
mod remote_calls;
mod requests;
mod rerouted_flows;
mod rerouting;
mod restore;
mod revocation;
mod shards;
mod shared;
mod slow;
mod subscriptions;
mod timeouts;
