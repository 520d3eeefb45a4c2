//! `ringfort-bench`: a load harness for any WAMP router, and for NATS and bare relays to compare with.
//!
//! A fast wrong router fails: every run is judged by the [history checker](history), which itself is convicted by a
//! [proxy](convict) that reorders, drops and doubles. Start reading at [`load`], which holds the loops; [`peer`] is what they run
//! on, [`floor`] what a router is measured against, [`compare`] how figures are taken, [`report`] how they are shown, [`spread`] how one
//! load comes from many machines.

pub mod compare;
pub mod convict;
pub mod floor;
pub mod history;
pub mod limits;
pub mod load;
pub mod outcome;
pub mod peer;
pub mod progress;
pub mod report;
pub mod spread;
pub mod tag;
pub mod trust;
pub mod usage;
pub mod wire;
pub mod ws;
