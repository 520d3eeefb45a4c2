//! Ringfort: a clustered WAMP router. The layers and their direction are drawn in `ARCHITECTURE.md`.

pub mod admin;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod node;
pub mod pages;
pub mod router;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod wamp;
