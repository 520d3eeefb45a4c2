//! What is measured, under which names, and where the events among it are counted.
//!
//! Owns: the list of metrics ([`names`]), the process-wide recorder behind the `metrics` facade ([`events`]), what the operating system
//! says of this process ([`process`]), how much is logged
//! ([`logging`]), and traces of single calls and publications ([`traces`]). Does not own the numbers: nearly all of them are counters that each part keeps anyway and that
//! `admin/observability` reads when somebody asks. Only what has no counter of its own is told to the recorder as it happens, and
//! nothing of that lies on the way of a call or an event.
//!
//! The pure core knows none of this; it counts in a plain `Stats`.

pub mod certificates;
pub mod events;
pub mod logging;
mod metric;
pub mod names;
pub mod page;
pub mod process;
pub mod traces;

pub use events::{count, install, observe};
pub use metric::{Group, Kind, Label, Metric, Values};
pub use page::Page;
