//! Puts the agent together: configuration, process duties, the engine, the doors, and the order
//! in which all of it ends.

pub mod config;
mod entrypoint;
mod images;
pub mod log;
mod process;
mod ready;
mod shutdown;
mod tee;

use std::{
    env,
    ffi::CString,
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use self::config::{Config, Ready, SpoolFull};
use crate::{
    core::{
        limits::{BLOCKING_THREADS_MAX, DISK_FREE_BYTES, DISK_FREE_PERCENT, EXPIRY_PERIOD},
        registry::Bounds,
    },
    doors::{
        control::{About, Control},
        health::Health,
        images::{Engines, Images, OnDemand},
        listen::Listener,
        route::Router,
        serve::Server,
        task_command_router::{Entrypoint, TaskCommandRouter},
    },
    exec::{
        birth::{Ground, base_environment},
        engine::{Engine, Linger},
        handle::Exec,
        secrets::Secrets,
        store::{DiskFree, Full, Reads, Store, StoreConfig, Tmpfs},
    },
    os::{cgroup, features::Features, label::Labels, memory, schedule, spawn, user, work::Work},
};

/// Why the agent could not start.
#[derive(Debug)]
pub struct StartupError(String);

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartupError {}

/// The first act of a process that will be an agent: nobody may look into its memory, also not
/// at its start; and what it will take of it is bounded.
pub fn first_act() {
    spawn::seal_memory();
    memory::share_heaps();
}

/// What a process does that will be an agent for long, once it listens: it gives back what only its start needed.
pub fn started() {
    LASTS.store(true, Ordering::Relaxed);
    memory::give_back();
}

/// Whether this process lasts, so that it is worth while to give memory back.
static LASTS: AtomicBool = AtomicBool::new(false);
/// Threads of the pool. They end when there was no work for ten seconds; with the last of them the agent is at rest.
static POOL: AtomicUsize = AtomicUsize::new(0);

fn joins_pool() {
    POOL.fetch_add(1, Ordering::Relaxed);
    schedule::join_pool();
}

fn leaves_pool() {
    if POOL.fetch_sub(1, Ordering::Relaxed) == 1 && LASTS.load(Ordering::Relaxed) {
        memory::give_back();
    }
}

/// A runtime as the agent needs it: one thread that serves, a bounded pool that blocks.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("doorward-work")
        .on_thread_start(joins_pool)
        .on_thread_stop(leaves_pool)
        .build()
}

/// An agent that is set up and listens, and does not answer yet.
pub struct Agent {
    config: Config,
    engine: Arc<Engine>,
    images: OnDemand,
    store: Arc<Store>,
    listeners: Vec<Listener>,
    router: Router,
    health: Health,
    entrypoint: Option<Arc<Exec>>,
    ready: watch::Sender<Option<f64>>,
    everything: Arc<crate::os::tree::Tree>,
}

impl Agent {
    /// Sets everything up and starts the entrypoint. Call on the runtime, in a process that has
    /// no children of its own.
    pub async fn set_up(config: Config) -> Result<Self, StartupError> {
        let fail = |what: &str, error: &dyn fmt::Display| StartupError(format!("{what}: {error}"));
        process::settle_descriptors().map_err(|error| fail("settle descriptors", &error))?;
        let features = Features::probe(&config.disable)
            .map_err(|error| fail("read DOORWARD_DISABLE", &error))?;
        let labels = Labels::new();
        let everything = crate::os::tree::Tree::of_agent(labels.family(), &features);
        let ground = ground(&config, Arc::new(features), labels)?;
        let own = rustix::process::geteuid().as_raw();
        if let Some(hole) = config.hole(ground.identity.as_ref().map_or(own, |user| user.uid)) {
            tracing::warn!("{hole}");
        }
        let work = Work::new();
        let (store, notices) = Store::open(&store_config(&config, &ground.features), work.clone());
        for notice in config.notices.iter().chain(&notices) {
            tracing::warn!("{notice}");
        }
        let mut listeners = Vec::new();
        for address in &config.listen {
            let bound = Listener::bind(address, config.reach);
            listeners.push(bound.map_err(|error| StartupError(error.to_string()))?);
        }
        let engine = engine(&config, ground, store.clone(), work)?;
        let images = images::on_demand(&config, &engine.ground().features, engine.work());
        let begun = images::begin(&config, &images).await;
        begun.map_err(|error| fail("open --image-store", &error))?;
        let entrypoint = entrypoint::start(&engine, config.entrypoint.as_ref())
            .map_err(|error| StartupError(error.to_string()))?;
        let (ready, readiness) = watch::channel(None);
        let seen = entrypoint.clone().map_or(Entrypoint::None, Entrypoint::Command);
        let engines = Engines { execs: engine.clone(), images: images.clone() };
        let task = config.task_id.as_deref();
        let door = TaskCommandRouter::new(engines.clone(), task, seen, readiness);
        let about = about(&config, &listeners)?;
        let control = Control::new(engines.clone(), task, about);
        let image_door = Images::new(engines, task);
        let (router, health) = Router::new(door, control, image_door).await;
        let everything = Arc::new(everything);
        Ok(Self {
            config,
            engine,
            images,
            store,
            listeners,
            router,
            health,
            entrypoint,
            ready,
            everything,
        })
    }

    /// Where it listens, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<String> {
        addresses(&self.listeners)
    }

    /// Serves until a signal, the entrypoint or `stop` ends it; returns the exit code.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> u8 {
        let rule = self.config.entrypoint.as_ref().map_or(Ready::Started, |e| e.ready.clone());
        let announced =
            ready::announce(self.engine.clone(), self.entrypoint.clone(), rule, self.ready);
        tokio::spawn(announced);
        tokio::spawn(expire(self.engine.clone()));
        let server = Server::new(self.router, self.config.policy.clone(), self.config.tls.clone());
        let (leave, left) = tokio::sync::oneshot::channel::<()>();
        let until = async {
            // A sender that is gone means the same.
            let _ = left.await;
        };
        let serving = tokio::spawn(server.run(self.listeners, until, shutdown::LEAVE));
        let ending = shutdown::Ending {
            engine: self.engine.clone(),
            everything: self.everything,
            health: self.health,
            grace: self.config.grace,
            drain: self.config.drain,
        };
        let main = self.config.entrypoint.as_ref().zip(self.entrypoint);
        let code = shutdown::await_end(&ending, main, stop).await;
        self.engine.leave();
        drop(leave);
        if let Some(images) = self.images.opened() {
            images.close(images::END).await;
        }
        // It ends in time by itself; an error would be a panic that was reported.
        let _ = serving.await;
        if let Some(groups) = &self.engine.ground().groups {
            groups.close();
        }
        self.store.remove();
        code
    }
}

fn ground(
    config: &Config,
    features: Arc<Features>,
    labels: Labels,
) -> Result<Ground, StartupError> {
    let fail = |what: &str, error: &dyn fmt::Display| StartupError(format!("{what}: {error}"));
    let identity = config.user.as_deref().map(user::lookup).transpose();
    let identity = identity.map_err(|error| fail("look up --user", &error))?;
    let workdir = match &config.workdir {
        Some(workdir) => workdir.clone(),
        None => env::current_dir().unwrap_or_else(|_| "/".into()),
    };
    let workdir = CString::new(workdir.as_os_str().as_bytes())
        .map_err(|error| fail("use --workdir", &error))?;
    let secrets = Secrets::open(config.secrets_dir.clone(), features.clone());
    let secrets = secrets.map_err(|error| fail("open --secrets-dir", &error))?;
    let own = env::vars_os().map(|(key, value)| (key.into_vec(), value.into_vec()));
    Ok(Ground {
        groups: process::groups(&features),
        oom_kills: cgroup::OomKills::open(),
        inheritance: process::take_inheritance(&features),
        reaper: process::start_reaping().map_err(|error| fail("watch for children", &error))?,
        features,
        labels,
        secrets,
        environment: base_environment(own, identity.as_ref()),
        workdir,
        identity,
    })
}

fn engine(
    config: &Config,
    ground: Ground,
    store: Arc<Store>,
    work: Work,
) -> Result<Arc<Engine>, StartupError> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed)
        .map_err(|error| StartupError(format!("get random bytes: {error}")))?;
    let bounds = Bounds {
        live: config.max_live_execs,
        remembered: config.remember_execs,
        remembered_for: config.remember_for,
    };
    let linger = Linger { quiet: config.linger_quiet, longest: config.linger_max };
    Ok(Engine::new(ground, store, work, linger, bounds, seed))
}

fn addresses(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(|listener| listener.address().to_string()).collect()
}

/// What callers are told of this agent.
fn about(config: &Config, listeners: &[Listener]) -> Result<About, StartupError> {
    let random =
        getrandom::u64().map_err(|error| StartupError(format!("get random bytes: {error}")))?;
    let pieces = |count: usize| count as u64;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let limits = [
        ("spool-stream-max", config.spool.stream_max),
        ("spool-total-max", config.spool.total_max),
        ("spool-memory-max", config.spool.memory_max),
        ("linger-quiet", millis(config.linger_quiet)),
        ("linger-max", millis(config.linger_max)),
        ("image-store-max", config.images.store_max),
        ("grace", millis(config.grace)),
        ("drain", millis(config.drain)),
        ("max-live-execs", pieces(config.max_live_execs)),
        ("remember-execs", pieces(config.remember_execs)),
        ("remember-for", millis(config.remember_for)),
    ];
    Ok(About {
        instance: format!("{random:016x}"),
        started: SystemTime::now(),
        since: Instant::now(),
        limits: limits.map(|(flag, limit)| (flag.to_string(), limit)).into(),
        grace: config.grace,
        listening: addresses(listeners),
    })
}

fn store_config(config: &Config, features: &Features) -> StoreConfig {
    StoreConfig {
        disk_free: DiskFree { bytes: DISK_FREE_BYTES, percent: DISK_FREE_PERCENT },
        dir: Some(config.state_dir.clone()),
        stream_max: config.spool.stream_max,
        total_max: config.spool.total_max,
        memory_max: config.spool.memory_max,
        full: match config.spool.full {
            SpoolFull::DropOldest => Full::DropOldest,
            SpoolFull::Block => Full::Block,
        },
        tmpfs: Tmpfs::AsMemory,
        // It takes openat2 to open a file without waiting.
        reads: if features.openat2.is_there() { Reads::AtOnce } else { Reads::OnThreads },
    }
}

/// Forgets what is too old, from time to time.
async fn expire(engine: Arc<Engine>) {
    let mut clock = tokio::time::interval(EXPIRY_PERIOD);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        engine.expire(std::time::Instant::now());
    }
}

/// How long the log of an ending agent may take.
const LOG_END: Duration = Duration::from_millis(500);
