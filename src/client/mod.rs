//! The client library: runs commands through any `TaskCommandRouter`, over links that break.
//!
//! Reads resume at the byte where they were cut, writes are repeated without a second effect,
//! and starts are retried under the same id. What is given up is an error; nothing is ever cut
//! short in silence.
//!
//! | to | use |
//! |---|---|
//! | reach an agent: TCP, TLS, a Unix socket, a token, a source of tokens, a certificate | [`Options`], [`Client::connect`] |
//! | start a command | [`Command`], [`Client::start`] |
//! | read its output, as bytes (`AsyncRead`) or pieces (`Stream`) | [`Client::output`] |
//! | write its input, as bytes (`AsyncWrite`) or a whole source | [`Client::stdin`] |
//! | know its end | [`Client::wait`], [`Client::poll`] |
//! | bound all of that in time | [`Client::with_deadline`], [`Client::with_patience`] |
//! | signal it, resize its terminal, end it, list all | [`Client::signal`], [`Client::resize`], [`Client::cancel`], [`Client::list`] |
//! | everything else that a Doorward agent can do | [`Client::control`] |
//! | keep directories as images, mount, move and check them | [`Client::images`] |
//!
//! The last three lines need `doorward.v1.Control` and `doorward.v1.Images`; against a server that has only
//! `TaskCommandRouter` they are [`ClientError::NoControl`] and [`ClientError::NoImages`].
//!
//! ```no_run
//! use doorward::{client::{Client, Command, Options}, core::ids::Stream};
//!
//! # async fn example() -> Result<(), doorward::client::ClientError> {
//! let options = Options::new("unix:///run/doorward.sock".parse()?, "task");
//! let client = Client::connect(options).await?;
//! client.start("build-1", &Command::new(["make", "-j8"])).await?;
//! let mut output = client.output("build-1", Stream::Stdout, 0);
//! while let Some(bytes) = output.next().await? {
//!     println!("{} bytes", bytes.len());
//! }
//! let status = client.wait("build-1").await?;
//! # Ok(()) }
//! ```
//!
//! `examples/` has whole programs.

mod address;
mod attach;
mod bound;
mod calls;
mod command;
mod control;
mod error;
mod gather;
mod images;
mod later;
mod link;
mod options;
mod orders;
mod output;
mod patience;
mod pieces;
mod retry;
mod stdin;

pub use address::{Address, AddressError};
pub use attach::{
    AttachEvent, AttachInput, AttachOptions, AttachRole, AttachStart, Attached, NotTaken,
};
pub use calls::Client;
pub use command::{Command, Output, Terminal, random_id};
pub use control::Control;
pub use error::ClientError;
pub use images::Images;
pub use options::{Identity, Options, Token, TokenSource};
pub use orders::Target;
pub use output::{OutputEnd, OutputReader};
pub use patience::Patience;
pub use stdin::{Source, StdinWriter};
