//! Spools against a plain vector, with real files, real pipes and dropping under readers.

use std::{
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    process::Command,
    sync::{Arc, LazyLock},
};

use proptest::prelude::*;
use rustix::termios::OptionalActions;

use super::{
    pump::{self, Source},
    reader::{Next, ReadError, Reader},
    room::{Balance, Due, balance},
    spool::{End, Spool},
    store::{DiskFree, Full, Reads, Store, StoreConfig, Tmpfs},
};
use crate::{
    core::{
        limits::{CHUNK_BYTES, FILE_JOBS_AT_ONCE, TAIL_BYTES_MAX},
        spec::WindowSize,
    },
    os::{
        pty,
        work::{Share, Work},
    },
};

/// The stream of all tests: each byte tells its offset, none is zero. Zeros of a hole and bytes
/// of elsewhere show.
static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD + 2 * CHUNK_BYTES).map(|at| (at % PERIOD) as u8 + 1).collect());
const PERIOD: usize = 251;

fn bytes(offset: u64, length: usize) -> &'static [u8] {
    let from = (offset % PERIOD as u64) as usize;
    &PATTERN[from..from + length]
}

/// A directory on a disk, wherever tests run: /tmp may be a tmpfs.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_string() + "/target").unwrap()
}

fn config(dir: &tempfile::TempDir) -> StoreConfig {
    StoreConfig {
        dir: Some(dir.path().to_path_buf()),
        disk_free: DiskFree { bytes: 0, percent: 0 },
        tmpfs: Tmpfs::AsDisk,
        ..StoreConfig::default()
    }
}

fn open(config: &StoreConfig) -> Arc<Store> {
    let (store, notices) = Store::open(config, Work::new());
    assert!(notices.is_empty(), "{notices:?}");
    store
}

/// Appends `length` of the right bytes as a pump does.
fn append(spool: &Arc<Spool>, length: usize) -> Balance {
    let (mut balanced, end) = (Balance::Fine, spool.range().end + length as u64);
    while spool.range().end < end {
        let at = spool.range().end;
        spool.append(bytes(at, CHUNK_BYTES.min((end - at) as usize)).to_vec());
        balanced = balance(spool, &mut None, Due::Excess);
    }
    balanced
}

/// Writes `total` of the right bytes into a pipe, in pieces of many sizes.
fn write_all(to: impl Into<OwnedFd>, total: u64) -> std::thread::JoinHandle<()> {
    let mut to = File::from(to.into());
    std::thread::spawn(move || {
        let mut at = 0;
        for length in (0..).map(|n| (n * 977) % CHUNK_BYTES + 1) {
            let length = length.min((total - at) as usize);
            to.write_all(bytes(at, length)).unwrap();
            at += length as u64;
            if at == total {
                return;
            }
        }
    })
}

fn pumped(store: &Arc<Store>, total: u64) -> (Arc<Spool>, std::thread::JoinHandle<()>) {
    let spool = store.spool();
    let (from, to) = std::io::pipe().unwrap();
    pump::start(Arc::new(from.into()), Source::Pipe, spool.clone(), Work::new()).unwrap();
    (spool, write_all(to, total))
}

fn check(offset: u64, got: &[u8], bytes_max: usize) {
    assert!(!got.is_empty() && got.len() <= bytes_max);
    for (piece, at) in got.chunks(CHUNK_BYTES).zip((offset..).step_by(CHUNK_BYTES)) {
        assert!(piece == bytes(at, piece.len()), "wrong bytes in {} at {at}", piece.len());
    }
}

/// Reads to the end and checks each byte.
async fn read_out(reader: &mut Reader) -> Result<(u64, End), ReadError> {
    loop {
        match reader.next(50_000).await? {
            Next::Data { offset, bytes } => check(offset, &bytes, 50_000),
            Next::End(end) => return Ok((reader.offset(), end)),
        }
    }
}

#[tokio::test]
async fn a_stream_larger_than_memory_is_read_back_whole() {
    let dir = scratch();
    let store = open(&config(&dir));
    let spool = store.spool();
    let mut early = spool.reader(0);
    for length in [1, 100_000, 7, 65_536, 400_000, 3, 1_000_000] {
        assert_eq!(append(&spool, length), Balance::Fine);
    }
    assert!(store.memory_bytes() <= 2 * TAIL_BYTES_MAX as u64, "{store:?}");
    spool.close();
    for start in [0, 1, 99_999, 1_565_546, 1_565_547] {
        let end = read_out(&mut spool.reader(start)).await.unwrap();
        assert_eq!(end, (1_565_547, End::Eof), "from {start}");
    }
    assert_eq!(read_out(&mut early).await.unwrap().0, 1_565_547);
    let beyond = spool.reader(1_565_548).next(1).await;
    assert!(matches!(beyond, Err(ReadError::Beyond { asked: 1_565_548, end: 1_565_547 })));
    drop((early, spool));
    assert_eq!((store.kept_bytes(), store.memory_bytes()), (0, 0));
}

#[tokio::test]
async fn a_pump_moves_a_pipe_to_its_end_in_pieces_of_any_size() {
    let dir = scratch();
    let (spool, writer) = pumped(&open(&config(&dir)), 20_000_000);
    let end = read_out(&mut spool.reader(0)).await.unwrap();
    assert_eq!(end, (20_000_000, End::Eof));
    assert_eq!(read_out(&mut spool.reader(0)).await.unwrap().0, 20_000_000);
    writer.join().unwrap();
}

#[tokio::test]
async fn a_terminal_ends_when_nobody_has_it_open() {
    let store = Store::open(&StoreConfig::default(), Work::new()).0;
    let spool = store.spool();
    let pair = pty::pair(WindowSize::new(0, 0), None).unwrap();
    let mut modes = rustix::termios::tcgetattr(&pair.slave).unwrap();
    modes.make_raw();
    rustix::termios::tcsetattr(&pair.slave, OptionalActions::Now, &modes).unwrap();
    pump::start(Arc::new(pair.master), Source::Pty, spool.clone(), Work::new()).unwrap();
    let writer = write_all(pair.slave, 3_000_000);
    let end = read_out(&mut spool.reader(0)).await.unwrap();
    assert_eq!(end, (3_000_000, End::Eof));
    writer.join().unwrap();
}

/// Reads all that is kept. What was in memory moves to the file once the stream has ended, and if the disk
/// is full, older bytes go for it: then it begins anew.
async fn read_kept(spool: &Arc<Spool>) -> (u64, End) {
    let mut first = spool.range().first;
    loop {
        match read_out(&mut spool.reader(first)).await {
            Err(ReadError::Dropped { asked, first: kept }) if asked < kept => first = kept,
            read => return read.unwrap(),
        }
    }
}

/// What happens when more comes than may be kept: `readers` follow from wherever they can, and
/// no one ever sees a byte that does not belong there.
async fn flood(config: &StoreConfig, total: u64) -> Arc<Spool> {
    let store = Store::open(config, Work::new()).0;
    let (spool, writer) = pumped(&store, total);
    let mut readers = Vec::new();
    for number in 0..3 {
        let spool = spool.clone();
        readers.push(tokio::spawn(async move {
            let (mut reader, mut cut) = (spool.reader(0), 0);
            loop {
                match reader.next(10_000 * (number + 1)).await {
                    Ok(Next::Data { offset, bytes }) => check(offset, &bytes, 30_000),
                    Ok(Next::End(end)) => break (end, reader.offset(), cut),
                    Err(ReadError::Dropped { asked, first }) => {
                        assert!(asked < first);
                        (reader, cut) = (spool.reader(first), cut + 1);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }
    for reader in readers {
        let (end, offset, _) = reader.await.unwrap();
        assert_eq!((end, offset), (End::Eof, total));
    }
    writer.join().unwrap();
    spool
}

#[tokio::test]
async fn no_reader_sees_foreign_bytes_while_old_ones_are_dropped() {
    let dir = scratch();
    for reads in [Reads::AtOnce, Reads::OnThreads] {
        let config = StoreConfig { stream_max: 1 << 20, reads, ..config(&dir) };
        let spool = flood(&config, 150_000_000).await;
        let range = spool.range();
        assert!(range.first > 0 && range.end - range.first <= 1 << 20, "{range:?}");
        let kept = read_out(&mut spool.reader(range.first)).await.unwrap();
        assert_eq!(kept, (150_000_000, End::Eof));
    }
}

/// The same race, made to happen: the bytes are dropped after the reader asked for them and
/// before the file is read.
#[tokio::test]
async fn bytes_that_are_dropped_during_a_read_are_not_given() {
    let dir = scratch();
    let config = StoreConfig { reads: Reads::OnThreads, ..config(&dir) };
    let (work, store) = (Work::new(), open(&config));
    let spool = store.spool();
    append(&spool, 1 << 20);
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(parking_lot::Mutex::new(held));
    for _ in 0..FILE_JOBS_AT_ONCE {
        let (work, held) = (store.work.clone(), held.clone());
        tokio::spawn(
            async move { work.run(Share::File, move || held.lock().recv().is_ok()).await },
        );
    }
    tokio::task::yield_now().await;
    let mut reader = spool.reader(1000);
    let next = tokio::spawn(async move { reader.next(10).await });
    tokio::task::yield_now().await;
    let dropped = spool.clone();
    work.run(Share::Pump, move || dropped.drop_to(600_000)).await;
    drop(hold);
    let next = next.await.unwrap();
    assert!(matches!(next, Err(ReadError::Dropped { asked: 1000, first: 600_000 })), "{next:?}");
}

#[tokio::test]
async fn without_a_disk_memory_is_the_limit() {
    let config = StoreConfig { memory_max: 1 << 20, ..StoreConfig::default() };
    let spool = flood(&config, 50_000_000).await;
    let range = spool.range();
    assert!(range.first > 0 && range.end - range.first <= 1 << 20, "{range:?}");
    assert!(range.end - range.first >= 1 << 19, "{range:?}");
    let unusable = StoreConfig { dir: Some("/proc/no-such".into()), ..config };
    let (_, notices) = Store::open(&unusable, Work::new());
    assert_eq!(notices.len(), 1);
    assert!(notices[0].starts_with("output is kept in memory only, at most 1 MiB"), "{notices:?}");
}

#[tokio::test]
async fn a_full_total_costs_the_biggest_and_spares_the_small() {
    let dir = scratch();
    let store = open(&StoreConfig { total_max: 4 << 20, ..config(&dir) });
    let [small, big, other] = [store.spool(), store.spool(), store.spool()];
    append(&small, 10_000);
    append(&big, 10 << 20);
    append(&other, 1 << 20);
    assert!(store.kept_bytes() <= 4 << 20);
    assert_eq!((small.range().dropped, other.range().dropped), (0, 0));
    assert!(big.range().dropped > 0);
    drop(big);
    assert_eq!(store.kept_bytes(), (1 << 20) + 10_000);
}

#[tokio::test]
async fn a_blocking_spool_makes_the_process_wait_and_loses_nothing() {
    let dir = scratch();
    let on_disk = StoreConfig { stream_max: 1 << 20, full: Full::Block, ..config(&dir) };
    let in_memory = StoreConfig { dir: None, memory_max: 1 << 20, ..on_disk.clone() };
    for config in [on_disk, in_memory] {
        let store = Store::open(&config, Work::new()).0;
        let (spool, writer) = pumped(&store, 10_000_000);
        spool.grown(1 << 19).await;
        // A reader that begins further on has not had what came before.
        spool.reader(1 << 19).next(1).await.unwrap();
        assert_eq!(spool.range().first, 0);
        let mut reader = spool.reader(0);
        loop {
            let range = spool.range();
            assert!(range.end - range.first <= (1 << 20) + 2 * CHUNK_BYTES as u64, "{range:?}");
            match reader.next(CHUNK_BYTES).await.unwrap() {
                Next::Data { offset, bytes } => check(offset, &bytes, CHUNK_BYTES),
                Next::End(end) => break assert_eq!(end, End::Eof),
            }
            // As a client whose connection broke after it had the bytes.
            reader = spool.reader(reader.offset());
        }
        assert_eq!(reader.offset(), 10_000_000);
        writer.join().unwrap();
    }
}

/// A directory with a file system of its own, for as long as it lives; none without the right.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(kind: &str, options: &str) -> Option<Self> {
        let dir = scratch();
        let args = ["-t", kind, "-o", options, "none"];
        let mounted = Command::new("mount").args(args).arg(dir.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(dir));
        }
        println!("SKIPPED: spools on {kind}: no right to mount a file system");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_a_full_spool() {
    let Some(mounted) = Mounted::new("tmpfs", "size=4m") else { return };
    let spool = flood(&config(&mounted.0), 30_000_000).await;
    let range = spool.range();
    assert!(range.first > 0 && range.end - range.first <= 5 << 20, "{range:?}");
    assert_eq!(read_kept(&spool).await, (30_000_000, End::Eof));
}

/// A ramfs makes no holes, like gVisor: what is dropped is dropped whole.
#[tokio::test]
async fn a_file_system_without_holes_loses_only_what_it_must() {
    let Some(mounted) = Mounted::new("ramfs", "mode=0700") else { return };
    let config = StoreConfig { stream_max: 1 << 20, ..config(&mounted.0) };
    let spool = flood(&config, 30_000_000).await;
    let range = spool.range();
    assert!(range.first > 0 && range.end - range.first <= 1 << 20, "{range:?}");
    let kept = read_out(&mut spool.reader(range.first)).await.unwrap();
    assert_eq!(kept, (30_000_000, End::Eof));
}

#[test]
fn directories_of_dead_agents_are_removed_and_of_living_ones_not() {
    let dir = scratch();
    let all = dir.path().join("spools");
    let dead = all.join("dead");
    std::fs::create_dir_all(&dead).unwrap();
    std::fs::write(dead.join("1"), "x").unwrap();
    let first = open(&config(&dir));
    let second = open(&config(&dir));
    assert!(!dead.exists());
    assert_eq!(std::fs::read_dir(&all).unwrap().count(), 2);
    drop((first, second));
    assert_eq!(std::fs::read_dir(&all).unwrap().count(), 0);
}

#[test]
fn a_quiet_stream_has_no_descriptor_and_an_idle_one_little_memory() {
    let dir = scratch();
    let store = open(&config(&dir));
    let spool = store.spool();
    append(&spool, 2 * TAIL_BYTES_MAX);
    assert!(store.memory_bytes() > 0, "a busy stream gathers what it writes");
    // As a pump does when its stream becomes quiet.
    balance(&spool, &mut None, Due::Most);
    let file = spool.look(|state| state.file.clone()).unwrap();
    assert!(!file.is_open());
    assert!(size_of::<Spool>() <= 150, "{}", size_of::<Spool>());
    assert_eq!(store.memory_bytes(), 0, "all is in the file and nobody reads");
}

#[tokio::test]
async fn settling_wakes_readers_that_wait() {
    let store = Store::open(&StoreConfig::default(), Work::new()).0;
    let spool = store.spool();
    append(&spool, 3);
    for (settled, at) in [(End::Quiet, 3), (End::Linger, 4)] {
        let mut reader = spool.reader(at);
        let next = tokio::spawn(async move { reader.next(1).await.unwrap() });
        tokio::task::yield_now().await;
        spool.settle(settled, at);
        assert_eq!(next.await.unwrap(), Next::End(settled));
        append(&spool, 1);
    }
    let mut early = spool.reader(0);
    append(&spool, 4);
    assert_eq!(read_out(&mut early).await.unwrap(), (5, End::Linger));
    assert_eq!(read_out(&mut spool.reader(3)).await.unwrap(), (9, End::Linger));
    spool.close();
    assert_eq!(read_out(&mut early).await.unwrap(), (9, End::Eof));
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Open(u64),
    Read { reader: usize, max: usize },
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = prop_oneof![3 => 1..300_usize, 2 => 1..CHUNK_BYTES, 1 => 1..600_000_usize];
    prop_oneof![
        3 => sizes.clone().prop_map(Step::Append),
        1 => any::<u64>().prop_map(Step::Open),
        4 => (any::<usize>(), sizes).prop_map(|(reader, max)| Step::Read { reader, max }),
        1 => any::<usize>().prop_map(Step::Leave),
    ]
}

fn limits() -> impl Strategy<Value = (u64, u64)> {
    let sizes = || prop_oneof![1_000..10_000_u64, 100_000..2_000_000_u64, Just(1 << 40)];
    (sizes(), sizes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any number of readers at any offsets get each byte that is kept, and are told of each
    /// that is not, whatever the limits.
    #[test]
    fn readers_get_what_a_vector_would_hold(
        steps in prop::collection::vec(step(), 1..60),
        (stream_max, memory_max) in limits(),
        on_disk in any::<bool>(),
    ) {
        let dir = scratch();
        let dir_or_none = on_disk.then(|| dir.path().to_path_buf());
        let config = StoreConfig { stream_max, memory_max, dir: dir_or_none, ..config(&dir) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = Store::open(&config, Work::new()).0;
        runtime.block_on(follow(&store, steps));
        prop_assert_eq!((store.kept_bytes(), store.memory_bytes()), (0, 0));
    }
}

/// Takes the steps; a vector would hold [`bytes`] up to `end`.
async fn follow(store: &Arc<Store>, steps: Vec<Step>) {
    let (spool, mut readers, mut end) = (store.spool(), Vec::new(), 0);
    for step in steps {
        match step {
            Step::Append(length) => {
                append(&spool, length);
                end += length as u64;
            }
            Step::Open(offset) => readers.push(spool.reader(offset % (end + 1))),
            Step::Leave(reader) if !readers.is_empty() => {
                readers.swap_remove(reader % readers.len());
            }
            Step::Read { reader, max } if !readers.is_empty() => {
                let reader = reader % readers.len();
                let (reader, first) = (&mut readers[reader], spool.range().first);
                if reader.offset() == end {
                    continue;
                }
                match reader.next(max).await {
                    Ok(Next::Data { offset, bytes }) => {
                        assert!(offset >= first);
                        check(offset, &bytes, max);
                    }
                    Err(ReadError::Dropped { asked, first: kept }) => {
                        assert!(asked < first && kept == first);
                        *reader = spool.reader(first);
                    }
                    other => panic!("{other:?}"),
                }
            }
            Step::Leave(_) | Step::Read { .. } => {}
        }
        let range = spool.range();
        assert_eq!(range.end, end);
        assert!(range.end - range.first <= store.limits.stream_max);
        assert!(store.memory_bytes() <= store.limits.memory_max, "{store:?} {range:?}");
    }
    spool.close();
    for mut reader in readers {
        if reader.offset() >= spool.range().first {
            assert_eq!(read_out(&mut reader).await.unwrap(), (end, End::Eof));
        }
    }
}
