//! How long one exec takes, and how many there are a second.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::{
    Scale,
    agent::{Agent, free_bytes},
    door::{Door, Frames, Output, runtime},
    floors,
    report::{Target, line, p50_us, skip},
    scheduled::CpuGroup,
};

const TRUE: &[&str] = &["/bin/true"];
/// Execs under way at once.
const CROWD: usize = 32;

pub(crate) fn run(scale: Scale) {
    let agent = Agent::start(&[]);
    let client = Client::new(&agent);
    client.figures(scale, ["start+wait", "start+2 reads+wait"]);

    let held: u64 = scale.pick(128 << 20, 1 << 30);
    let names = ["start+wait, 1 GiB held", "start+2 reads+wait, 1 GiB held"];
    if free_bytes() < held {
        return names.iter().for_each(|name| skip(name, "too little room under target/"));
    }
    client.runtime.block_on(async {
        let argv = floors::printer(held);
        client.door.start("held", &argv.each_ref().map(String::as_str)).await;
        client.door.wait("held").await;
    });
    client.figures(scale, names);
}

/// How many execs a second many callers get.
pub(crate) fn crowd(scale: Scale) {
    let _group = CpuGroup::enter();
    let agent = Agent::start(&[]);
    Client::new(&agent).crowd(scale);
}

struct Client {
    runtime: Runtime,
    door: Door,
}

/// The times of one round, call by call.
#[derive(Default)]
struct Round {
    spawn: Vec<Duration>,
    unary: Vec<Duration>,
    plain: Vec<Duration>,
    read: Vec<Duration>,
}

impl Client {
    fn new(agent: &Agent) -> Self {
        let runtime = runtime();
        let door = runtime.block_on(Door::open(agent.port, Frames::Large));
        Self { runtime, door }
    }

    fn figures(&self, scale: Scale, [plain, read]: [&str; 2]) {
        let calls = scale.pick(100, 200);
        let rounds: Vec<Round> = (0..scale.pick(3, 9)).map(|_| self.round(calls)).collect();
        let against = |value: fn(&Round) -> &[Duration], unaries: f64| -> Vec<(f64, f64)> {
            let floor = |round: &Round| p50_us(&round.spawn) + unaries * p50_us(&round.unary);
            rounds.iter().map(|round| (p50_us(value(round)), floor(round))).collect()
        };
        let unary = against(|round| &round.unary, 0.0);
        line("unary (beside spawn)", "us", "spawn", &unary, Target::None);
        let values = against(|round| &round.plain, 2.0);
        line(plain, "us", "spawn+2unary", &values, Target::RatioAtMost(1.2));
        let values = against(|round| &round.read, 3.0);
        line(read, "us", "spawn+3unary", &values, Target::RatioAtMost(1.3));
    }

    /// Takes turns between floors and figures, so that what disturbs one disturbs all.
    fn round(&self, calls: usize) -> Round {
        let mut round = Round::default();
        for _ in 0..calls {
            round.spawn.push(floors::spawn());
            self.runtime.block_on(async {
                let timed = |since: Instant| since.elapsed();
                let since = Instant::now();
                self.door.health().await;
                round.unary.push(timed(since));

                let id = fresh_id();
                let since = Instant::now();
                self.door.start(&id, TRUE).await;
                self.door.wait(&id).await;
                round.plain.push(timed(since));

                let id = fresh_id();
                let since = Instant::now();
                self.door.start(&id, TRUE).await;
                tokio::join!(
                    self.door.read(&id, Output::Stdout),
                    self.door.read(&id, Output::Stderr)
                );
                self.door.wait(&id).await;
                round.read.push(timed(since));
            });
        }
        round
    }

    fn crowd(&self, scale: Scale) {
        let each = scale.pick(10, 30);
        let round = || {
            let floor = floors::spawn_rate(CROWD * each / 2);
            let rate = self.runtime.block_on(crowd_rate(&self.door, each));
            (rate, floor)
        };
        let rounds: Vec<_> = (0..scale.pick(3, 7)).map(|_| round()).collect();
        line(
            "32 start+wait at once",
            "1/s",
            "spawn/s(2 threads)",
            &rounds,
            Target::RatioAtLeast(0.7),
        );
    }
}

async fn crowd_rate(door: &Door, each: usize) -> f64 {
    let started = Instant::now();
    let one = |door: Door| async move {
        for _ in 0..each {
            let id = fresh_id();
            door.start(&id, TRUE).await;
            door.wait(&id).await;
        }
    };
    let crowd: Vec<_> = (0..CROWD).map(|_| tokio::spawn(one(door.clone()))).collect();
    for member in crowd {
        member.await.expect("nobody fails");
    }
    (CROWD * each) as f64 / started.elapsed().as_secs_f64()
}

/// An id that was not used before.
pub(crate) fn fresh_id() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("exec-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
