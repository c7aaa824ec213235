//! Several agents on one directory, and agents that die. The other agents are this test program again.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use super::*;
use crate::image::store::{StoreError, Which};

const DIRECTORY: &str = "DOORWARD_TEST_STORE";
const SEED: &str = "DOORWARD_TEST_SEED";
const ROUNDS: &str = "DOORWARD_TEST_ROUNDS";

/// Starts another agent, which says `round N` after each round.
fn start(path: &Path, seed: usize, rounds: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["image::store::tests::together::another_agent", "--exact", "--nocapture"])
        .env(DIRECTORY, path)
        .env(SEED, seed.to_string())
        .env(ROUNDS, rounds.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What [`start`] runs. Without its variables it is no test.
#[test]
fn another_agent() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let (seed, rounds) = (number(SEED), number(ROUNDS));
    let (store, _) = Store::open(Path::new(&directory), at(0)).unwrap();
    for round in 0..rounds {
        use_store(&store, seed, round);
        println!("round {round}");
    }
}

/// Adds an image that shares a layer with others, looks at it, removes one of its own and collects.
fn use_store(store: &Store, seed: usize, round: usize) {
    let shared = tar("shared", &vec![u8::try_from(round % 3).unwrap(); 9000]);
    let own = tar("own", format!("{seed} {round}").as_bytes());
    let new = image(store, &[&shared, &own], Ttl::Never);
    let hold = store.add_image(new, at(round as u64)).unwrap();
    let id = hold.id().clone();
    store.collect(at(round as u64), 60_000).unwrap();
    let found = store.find(&by_id(&id), at(round as u64)).unwrap();
    assert_eq!(store.verify(&Which::One(found.id), at(0), &|| false).unwrap(), []);
    drop(hold);
    if round.is_multiple_of(3) {
        match store.remove(&id, at(round as u64)) {
            // Another agent may have collected it since.
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Nothing is there but whole images.
fn check_whole(path: &Path) -> usize {
    let (store, repaired) = Store::open(path, at(0)).unwrap();
    assert_eq!((&repaired.adopted[..], &repaired.lost[..]), (&[][..], &[][..]));
    assert_eq!(store.verify(&Which::All, at(0), &|| false).unwrap(), []);
    let images = store.list(at(0)).unwrap();
    let mut ids: Vec<String> = images.iter().map(|image| format!("{}.json", image.id)).collect();
    ids.sort();
    assert_eq!(names(&path.join("doorward/records")), ids);
    assert_eq!(names(&path.join("doorward/tmp")).len(), 1);
    let mut needed: Vec<String> = images
        .iter()
        .flat_map(|image| store.blobs_of(&image.id).unwrap().into_keys())
        .map(|digest| digest.hex())
        .collect();
    needed.sort();
    needed.dedup();
    assert_eq!(names(&path.join("blobs/sha256")), needed);
    images.len()
}

#[test]
fn agents_that_add_hold_remove_and_collect_at_once_leave_whole_images() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("images");
    let agents: Vec<Child> = (0..2).map(|seed| start(&path, seed, 25)).collect();
    let (store, _) = Store::open(&path, at(0)).unwrap();
    std::thread::scope(|scope| {
        for seed in [10, 11] {
            let store = &store;
            scope.spawn(move || (0..25).for_each(|round| use_store(store, seed, round)));
        }
    });
    for agent in agents {
        let output = agent.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        assert!(text.contains("round 24"), "{text}");
    }
    drop(store);
    assert!(check_whole(&path) > 0);
}

#[test]
fn a_killed_agent_leaves_temporary_files_that_the_next_start_removes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("images");
    let mut sessions = 0;
    for round in 0..12 {
        let mut agent = start(&path, round, usize::MAX);
        let lines = BufReader::new(agent.stdout.take().unwrap()).lines();
        // It is somewhere in its next round when the line has come.
        let seen = lines.map_while(Result::ok).filter(|line| line.starts_with("round"));
        assert_eq!(seen.take(1 + round % 4).count(), 1 + round % 4);
        agent.kill().unwrap();
        agent.wait().unwrap();
        let (_, repaired) = Store::open(&path, at(0)).unwrap();
        assert_eq!((&repaired.adopted[..], &repaired.lost[..]), (&[][..], &[][..]));
        sessions += repaired.sessions;
        check_whole(&path);
    }
    assert_eq!(sessions, 12);
}
