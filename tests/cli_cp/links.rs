//! Copies over a link that breaks, both ways, byte by byte.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    thread,
};

use crate::support::{Agent, DOORWARD, clean, everything, noise, said, until};

/// Forwards to a port, and breaks each connection after so many bytes up and down together.
struct Proxy {
    address: String,
    broken: Arc<AtomicUsize>,
}

impl Proxy {
    fn before(port: u16, bytes: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let broken = Arc::new(AtomicUsize::new(0));
        let count = broken.clone();
        thread::spawn(move || {
            for (number, near) in listener.incoming().enumerate() {
                let near = near.unwrap();
                let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
                // Not always in the same place.
                let left = bytes + i64::try_from(number % 5).unwrap() * (bytes / 7);
                let left = Arc::new(AtomicI64::new(left));
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (left, count) = (left.clone(), count.clone());
                    thread::spawn(move || forward(from, to, &left, &count));
                }
            }
        });
        Self { address, broken }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, left: &AtomicI64, broken: &AtomicUsize) {
    let mut buffer = [0; 16 << 10];
    let mut pass = || -> io::Result<()> {
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let before = left.fetch_sub(i64::try_from(count).unwrap(), Ordering::SeqCst);
            if before <= 0 {
                broken.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            to.write_all(&buffer[..count])?;
        }
    };
    let _ = pass();
    for socket in [&from, &to] {
        let _ = socket.shutdown(Shutdown::Both);
    }
}

#[test]
fn a_copy_survives_a_link_that_breaks() {
    let agent = Agent::start();
    fs::create_dir(agent.at("tree")).unwrap();
    fs::write(agent.at("tree/large"), noise(40 << 20)).unwrap();
    for number in 0..200 {
        fs::write(agent.at(&format!("tree/{number}")), noise(number * 100)).unwrap();
    }
    let tree = everything(&agent.at("tree"));
    let proxy = Proxy::before(agent.port(), 2 << 20);
    for words in [["tree", ":in"], [":tree", "out"]] {
        let before = proxy.broken.load(Ordering::SeqCst);
        let output = agent.cp_through(&proxy.address, &words).output().unwrap();
        assert_eq!(said(&output), (Some(0), String::new()), "{words:?}");
        let to = words[1].trim_start_matches(':');
        assert_eq!(everything(&agent.at(to)), tree, "{words:?}");
        let breaks = proxy.broken.load(Ordering::SeqCst) - before;
        assert!(breaks >= 10, "{words:?}: only {breaks} breaks");
    }
}

#[test]
fn a_tree_is_larger_than_what_the_agent_keeps() {
    // The least of the bounds that leaves room for what may be under way.
    let agent = Agent::started(clean(DOORWARD), &["--spool-stream-max", "24MiB"]);
    let large = agent.at("large").display().to_string();
    fs::write(&large, noise(120 << 20)).unwrap();
    let path = format!(":{large}");
    let mut child = agent.cp(&[path, "-".into()]).spawn().unwrap();
    // Nothing is read until the tool has gone as far as it may, or further.
    let window = 16 << 20;
    let mut written = 0;
    until("the tool has written a window full", || {
        written = written_by(&large).unwrap_or(0);
        written >= window
    });
    // The client takes some of it before it waits itself.
    assert!(written <= window + (8 << 20), "{written} bytes that nobody has read");
    let mut archive = child.stdout.take().unwrap();
    let length = io::copy(&mut archive, &mut io::sink()).unwrap();
    assert_eq!(said(&child.wait_with_output().unwrap()), (Some(0), String::new()));
    assert!(length > 120 << 20, "{length} bytes");
}

/// What the tool that packs this path has written so far.
fn written_by(path: &str) -> Option<u64> {
    let packs = |process: &Path| {
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.contains(&&b"archive"[..]) && words.contains(&path.as_bytes())
    };
    let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let counts = fs::read_to_string(processes.find(|process| packs(process))?.join("io")).ok()?;
    counts.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok())
}
