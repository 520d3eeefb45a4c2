//! What a realm does, one behaviour per test, in the language of [`super::testing`].

mod barriers;
mod calls;
mod events;
mod meta_registrations;
mod meta_sessions;
mod meta_testaments;
mod registrations;
mod remote_calls;
mod requests;
mod restore;
mod subscriptions;
