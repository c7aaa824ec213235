//! Connections break every few hundred KiB while much is read and written: the client library
//! resumes by offset, and every byte arrives once.

use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    path::Path,
};

use bytes::Bytes;
use doorward::{
    client::{Client, Command, Options, Token},
    core::{ids::Stream, outcome::ExitStatus},
};

use crate::{
    proxy::Proxy,
    support::{Agent, Noise, TASK, door::TOKEN},
};

const READ_BYTES: usize = 1 << 30;
const WRITE_BYTES: usize = 256 << 20;
const PIECE: usize = 1 << 20;

/// A file of noise.
fn noise(path: &Path, bytes: usize) {
    let (mut file, mut noise) = (BufWriter::new(File::create(path).unwrap()), Noise::new(42));
    for _ in 0..bytes / PIECE {
        file.write_all(&noise.bytes(PIECE)).unwrap();
    }
    file.flush().unwrap();
}

async fn client(proxy: &Proxy) -> Client {
    let address = format!("http://{}", proxy.host_and_port).parse().unwrap();
    let options = Options { token: Token::Text(TOKEN.into()), ..Options::new(address, TASK) };
    Client::connect(options).await.unwrap()
}

#[tokio::test]
async fn a_gibibyte_is_read() {
    let agent = Agent::start().await;
    let proxy = Proxy::before(agent.host_and_port(), 1).await;
    let path = agent.dir.path().join("noise");
    noise(&path, READ_BYTES);
    let client = client(&proxy).await;
    client.start("cat", &Command::new(["cat", path.to_str().unwrap()])).await.unwrap();
    let (mut file, mut reader) =
        (File::open(&path).unwrap(), client.output("cat", Stream::Stdout, 0));
    let (mut wanted, mut total) = (Vec::new(), 0);
    while let Some(bytes) = reader.next().await.unwrap() {
        wanted.resize(bytes.len(), 0);
        file.read_exact(&mut wanted).unwrap();
        assert!(wanted == bytes, "other bytes within {} of {total}", bytes.len());
        total += bytes.len();
    }
    assert_eq!(total, READ_BYTES);
    assert_eq!(client.wait("cat").await.unwrap(), ExitStatus::Code(0));
    assert!(proxy.resets() > 1500, "only {} resets", proxy.resets());
}

#[tokio::test]
async fn much_is_written() {
    let agent = Agent::start().await;
    let proxy = Proxy::before(agent.host_and_port(), 2).await;
    let path = agent.dir.path().join("noise");
    noise(&path, WRITE_BYTES);
    let client = client(&proxy).await;
    let script = format!("cmp - {} && echo same", path.display());
    client.start("cmp", &Command::new(["sh", "-c", &script])).await.unwrap();
    let mut stdin = client.stdin("cmp");
    stdin.upload(&mut Bytes::from(std::fs::read(&path).unwrap())).await.unwrap();
    let mut reader = client.output("cmp", Stream::Stdout, 0);
    let mut output = Vec::new();
    while let Some(bytes) = reader.next().await.unwrap() {
        output.extend_from_slice(&bytes);
    }
    assert_eq!(String::from_utf8_lossy(&output), "same\n");
    assert_eq!(client.wait("cmp").await.unwrap(), ExitStatus::Code(0));
    assert!(proxy.resets() > 300, "only {} resets", proxy.resets());
}
