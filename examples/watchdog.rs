//! Ends a command that says nothing for too long, with everything that came of it. It needs a Doorward
//! agent: what it uses of `doorward.v1.Control` no other server has.
//!
//! ```sh
//! cargo run --example watchdog -- unix:///tmp/doorward.sock sh -c 'echo busy; sleep 1000'
//! ```

use std::{error::Error, time::Duration};

use doorward::{
    client::{Client, Command, Options, random_id},
    core::ids::Stream,
};
use tokio::time::timeout;

const SILENCE: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().ok_or("usage: watchdog ADDRESS COMMAND [ARGUMENT]...")?;
    let client = Client::connect(Options::new(address.parse()?, "")).await?;
    let id = random_id();
    client.start(&id, &Command::new(words)).await?;

    let mut output = client.output(&id, Stream::Stdout, 0);
    loop {
        match timeout(SILENCE, output.next()).await {
            Ok(Ok(Some(bytes))) => println!("{} bytes, {} in all", bytes.len(), output.offset()),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                println!("silent for {SILENCE:?}");
                for left in client.cancel(&id, Some(GRACE)).await?.left {
                    println!("{} ({}) cannot be ended: {}", left.pid, left.name, left.reason);
                }
                break;
            }
        }
    }
    println!("{}", client.wait(&id).await?);
    Ok(())
}
