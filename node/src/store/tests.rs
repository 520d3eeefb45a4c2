//! Both stores against a plain list, and what only one of them can show.

pub(super) mod events;
mod oracle;
mod queue;
mod server;
