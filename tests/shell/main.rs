//! `doorward shell` and `doorward attach` in a real terminal: tmux types and reads the screen.

#![allow(clippy::unwrap_used)]

#[path = "../agent/proxy.rs"]
#[allow(dead_code)]
mod proxy;
#[path = "../agent/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

mod broken;
mod coming_back;
mod leaving;
mod piped;
mod terminal;
mod typing;
