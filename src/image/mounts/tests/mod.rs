//! Mounts of real trees, by every way that this machine allows. What needs the right to mount happens in a
//! mount namespace of the test's own thread.

mod behaviour;
mod killed;
pub(in crate::image) mod places;
mod views;
pub(in crate::image) mod world;
