//! One load from many machines: workers carry it, a coordinator steers them over gRPC.
//!
//! The steps are written down in `proto/ringfort/bench/v1/bench.proto`; [`crate::load::ensemble`] is what a load knows of them.
//! [`plan`] is the file that says what to do, [`part`] a worker's share of it, [`worker`] and [`coordinator`] are the two ends,
//! [`seen`] carries what the workers saw to the one that judges. Generated types stay in these files.
//!
//! A run is judged as a whole: a message sent by a session of one worker and received on another is neither lost nor doubled nor
//! out of order, or the run has failed. A worker that is lost or late ends the run with an error, and the others stop.
//!
//! The token travels as plain text, and so do the plan and the figures: this is for a network that you trust with a load test.

pub mod coordinator;
pub mod outcome;
pub mod part;
pub mod plan;
mod seen;
mod token;
pub mod worker;

use std::time::Duration;

pub use token::Token;

/// The version of the messages.
const VERSION: u32 = 1;

/// No message of either side is larger.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// How often a worker says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// Silence after which a host counts as gone where the network does not say so.
const KEEPALIVE: Duration = Duration::from_secs(5);
