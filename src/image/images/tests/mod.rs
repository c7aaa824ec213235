//! The engine as doors use it, over real directories.

mod archives;
mod keeping;
mod limits;
mod refusals;
mod restart;
mod round;
mod sealed;
mod world;
