//! The commands for people and scripts. They stand on the client library and speak to an agent
//! only through its door, an embedded one too.

pub mod exec;
mod streams;
mod terminal;
