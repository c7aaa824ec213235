//! The commands for people and scripts. They stand on the client library and speak to an agent
//! only through its door, an embedded one too.

pub mod attach;
pub mod connect;
pub mod cp;
pub mod doctor;
pub mod exec;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod ps;
pub mod rm;
pub mod shell;
mod streams;
mod terminal;
pub mod top;
pub mod wait;
