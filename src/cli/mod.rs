//! The commands for people and scripts. They stand on the client library and speak to an agent
//! only through its door, an embedded one too.

pub mod attach;
pub mod completions;
pub mod connect;
pub mod cp;
pub mod doctor;
pub mod exec;
pub mod failure;
pub mod images;
pub mod inspect;
pub mod kill;
pub mod logs;
mod output;
mod progress;
pub mod ps;
pub mod rm;
mod session;
mod several;
pub mod shell;
mod show;
mod signals;
mod stop;
mod streams;
mod terminal;
pub mod top;
pub mod version;
pub mod wait;
mod watch;
