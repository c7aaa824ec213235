//! Spools under pressure: bytes dropped beneath readers, full disks, no disk.

use std::{path::Path, process::Command, time::Duration};

use tonic::Code;

use crate::support::{Agent, Exit, Setup, is_root, sh, skip};

/// A script that prints `count` lines of sixteen bytes, each its own number.
fn numbered(count: u32) -> String {
    format!("seq -f %015.0f {count}")
}

/// The line that stands at a multiple of sixteen bytes.
fn line_at(offset: u64) -> String {
    format!("{:015}\n", offset / 16 + 1)
}

/// Checks that bytes which begin at `offset` are what was printed there.
fn check(offset: u64, bytes: &[u8]) {
    let skipped = usize::try_from((16 - offset % 16) % 16).unwrap();
    for (index, line) in bytes.get(skipped..).unwrap_or_default().chunks_exact(16).enumerate() {
        let at = offset + u64::try_from(skipped + 16 * index).unwrap();
        assert_eq!(String::from_utf8_lossy(line), line_at(at), "at {at}");
    }
}

#[tokio::test]
async fn no_reader_sees_foreign_bytes_while_old_ones_are_dropped_under_it() {
    let agent = Setup::new().flags(["--spool-stream-max", "2MiB"]).start().await;
    let door = agent.door().await;
    // Two execs at once: bytes of the other one would be seen too.
    let mut readers = Vec::new();
    for _ in 0..2 {
        let exec = door.start(&sh(&numbered(3_000_000))).await.unwrap();
        for n in 0..3_u64 {
            let (door, exec) = (agent.door().await, exec.clone());
            readers.push(tokio::spawn(async move {
                let (mut offset, mut dropped) = (n, 0);
                'again: loop {
                    let mut stream = door.open_read(&exec, 0, offset).await.unwrap();
                    loop {
                        match stream.message().await {
                            Ok(Some(message)) => {
                                check(offset, &message.data);
                                offset += u64::try_from(message.data.len()).unwrap();
                                if n == 0 {
                                    tokio::time::sleep(Duration::from_millis(2)).await;
                                }
                            }
                            Ok(None) => return (offset, dropped),
                            Err(status) => {
                                assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
                                let first = status.metadata().get("doorward-first-offset").unwrap();
                                let first: u64 = first.to_str().unwrap().parse().unwrap();
                                assert!(first > offset, "{first} is not after {offset}");
                                offset = first;
                                dropped += 1;
                                continue 'again;
                            }
                        }
                    }
                }
            }));
        }
    }
    let mut dropped = 0;
    for reader in readers {
        let (end, times) = reader.await.unwrap();
        assert_eq!(end, 48_000_000);
        dropped += times;
    }
    assert!(dropped > 0, "nothing was dropped, so that nothing was tried");
}

/// Mounts a small tmpfs or ext4 for a state directory; says why it cannot.
fn mount(path: &Path, options: &[&str]) -> Result<(), String> {
    let output = Command::new("mount").args(options).arg(path).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Ends with the mount.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_a_full_spool() {
    if !is_root() {
        return skip("full disk", "not root");
    }
    let setup = Setup::new();
    // A gibibyte of any file system is left free, so that this one has some hundred MiB to fill.
    let (image, state) = (setup.path("disk.img"), setup.path("state"));
    let make = format!("truncate -s 1200M {image} && mkfs.ext4 -q -m 0 {image}");
    let made = Command::new("sh").args(["-c", &make]).status().unwrap();
    if !made.success() {
        return skip("full disk", "no mkfs.ext4");
    }
    if let Err(why) = mount(Path::new(&state), &["-o", "loop", &image]) {
        return skip("full disk", &why);
    }
    let mounted = Mounted(state.into());
    let agent = setup.start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("yes 0123456 | head -c 320000000")).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0), "{}", agent.log());
    let status = door.read(&exec, 0, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let first = status.metadata().get("doorward-first-offset").unwrap().to_str().unwrap();
    let first: u64 = first.parse().unwrap();
    let kept = door.read(&exec, 0, first).await.unwrap();
    let skipped = usize::try_from((8 - first % 8) % 8).unwrap();
    assert!(kept.bytes[skipped..].chunks_exact(8).all(|line| line == b"0123456\n"));
    assert_eq!(first + u64::try_from(kept.bytes.len()).unwrap(), 320_000_000);
    drop((agent, mounted));
}

/// With no place on a disk it runs from memory, within its bound, and says so.
async fn runs_from_memory(agent: &Agent) {
    let door = agent.door().await;
    let log = agent.log();
    assert!(log.contains("memory"), "it does not say that memory limits apply: {log}");
    assert_eq!(door.print("echo small").await, "small\n");
    let exec = door.start(&sh("yes 0123456 | head -c 320000000")).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    let status = door.read(&exec, 0, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let resident = crate::support::processes::status(agent.pid(), "VmRSS");
    assert!(resident < 96 << 10, "{resident} KiB resident, 32 MiB of it output");
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written() {
    let setup = Setup::new().state("/proc/no-such-place");
    runs_from_memory(&setup.start().await).await;
}

#[tokio::test]
async fn a_state_directory_on_a_tmpfs() {
    if !is_root() {
        return skip("tmpfs state", "not root");
    }
    let setup = Setup::new();
    let state = setup.path("state");
    if let Err(why) = mount(Path::new(&state), &["-t", "tmpfs", "-o", "size=512m", "none"]) {
        return skip("tmpfs state", &why);
    }
    let mounted = Mounted(state.into());
    runs_from_memory(&setup.start().await).await;
    drop(mounted);
}
