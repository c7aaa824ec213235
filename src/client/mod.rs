//! The client library: runs commands through any `TaskCommandRouter`, over links that break.
//!
//! Reads resume at the byte where they were cut, writes are repeated without a second effect,
//! and starts are retried under the same id. What is given up is an error; nothing is ever cut
//! short in silence.
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

mod address;
mod attach;
mod calls;
mod command;
mod control;
mod error;
mod link;
mod output;
mod patience;
mod pieces;
mod retry;
mod stdin;

pub use address::{Address, AddressError};
pub use attach::{
    AttachEvent, AttachInput, AttachOptions, AttachRole, AttachStart, Attached, NotTaken,
};
pub use calls::{Client, Options, Token};
pub use command::{Command, Output, Terminal, random_id};
pub use control::Control;
pub use error::ClientError;
pub use output::{OutputEnd, OutputReader};
pub use patience::Patience;
pub use stdin::{Source, StdinWriter};
