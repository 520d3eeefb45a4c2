//! What a realm does, one behaviour per test, in the language of [`super::testing`].

mod barriers;
mod calls;
mod events;
mod patterns;
mod registrations;
mod remote_calls;
mod requests;
mod rerouting;
mod restore;
mod shared;
mod subscriptions;
