//! Runs a command through an agent as if it ran here: input goes in, output comes out, and the exit code
//! is its own. The link may break meanwhile.
//!
//! ```sh
//! doorward serve --listen unix:///tmp/doorward.sock &
//! echo hello | cargo run --example run -- unix:///tmp/doorward.sock tr a-z A-Z
//! ```

use std::error::Error;

use doorward::{
    client::{Client, Command, Options, Token, random_id},
    core::ids::Stream,
};
use tokio::io::{AsyncWriteExt, copy, stderr, stdin, stdout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().ok_or("usage: run ADDRESS COMMAND [ARGUMENT]...")?;
    let mut options = Options::new(address.parse()?, "");
    if std::env::var_os("DOORWARD_TOKEN").is_some() {
        // Asked again whenever the agent refuses a token: here a service would be called.
        options.token = Token::source(|| std::future::ready(std::env::var("DOORWARD_TOKEN")));
    }
    let client = Client::connect(options).await?;

    // Whoever repeats a start under the same id joins it, so that a broken link starts nothing twice.
    let id = random_id();
    client.start(&id, &Command::new(words)).await?;

    let mut input = client.stdin(&id);
    let feeding = tokio::spawn(async move {
        copy(&mut stdin(), &mut input).await?;
        // Only what was read to its end is ended: a source that broke must not look like one.
        input.shutdown().await
    });
    let mut output = client.output(&id, Stream::Stdout, 0);
    let mut errors = client.output(&id, Stream::Stderr, 0);
    let (mut out, mut err) = (stdout(), stderr());
    tokio::try_join!(copy(&mut output, &mut out), copy(&mut errors, &mut err))?;
    // Nobody reads it any more.
    feeding.abort();
    let code = client.wait(&id).await?.shell_code();
    // A thread may still wait for standard input; the process does not wait for it.
    std::process::exit(code)
}
