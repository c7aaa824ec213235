//! What decides: ids, specs, offsets, the life of one exec, limits.
//!
//! Nothing here has a clock, a task, a file descriptor or I/O. Time is an argument named `now`,
//! effects are return values.

pub mod arrivals;
pub mod caller;
pub mod changes;
pub mod dns;
pub mod envfile;
pub mod extent;
pub mod failure;
pub mod hosts;
pub mod ids;
pub mod image;
pub mod inbox;
pub mod life;
pub mod limits;
pub mod modes;
pub mod mounts;
pub mod outcome;
pub mod passwd;
pub mod registry;
pub mod spec;
pub mod tombstones;
pub mod units;
pub mod usage;
