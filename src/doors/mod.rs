//! What speaks to clients: listeners, authentication, and one file or folder a protocol.
//!
//! A door translates wire types to core types and back and adds no meaning of its own. A call
//! comes in through [`listen`], [`serve`] and [`call`], is let in or not by [`auth`], and is sent
//! to its service by [`route`].

pub mod address;
pub mod auth;
pub mod call;
pub mod chunks;
pub mod control;
mod deadline;
pub mod health;
pub mod images;
pub mod inflight;
pub mod listen;
mod lookup;
mod preface;
pub mod reflect;
pub mod request;
pub mod route;
pub mod serve;
pub mod status;
mod strangers;
pub mod task_command_router;
pub mod tls;
pub mod unsent;
mod warnings;
