//! What an exec's terminal shows, for whoever comes back to it: kept from the first attach on.
//!
//! ```text
//! spool ──onlooker──▶ follower ──▶ picture ──draw──▶ who attaches
//!                        ▲ asked, or a step behind and rested
//!                      keeper, one task an exec
//! ```
//!
//! The keeper owns the picture; attached calls ask it. Between two asks it follows the output in large
//! steps with rests, so that a screen is never too far behind unless there is a flood, and costs
//! nothing where little is said. A picture is rebuilt from the spool whenever it is gone: after an
//! hour without anybody, where all pictures have too much memory, or where making it failed. The
//! keeper holds nothing that keeps its exec.

mod follower;
mod picture;

use std::{
    ops::ControlFlow,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use self::follower::{Follower, Source};
pub use self::picture::Picture;
use super::{handle::Exec, spool::Store};
use crate::core::{
    ids::Stream,
    limits::{
        SCREEN_ASKS_MAX, SCREEN_IDLE, SCREEN_PAUSE, SCREEN_PAUSE_FACTOR, SCREEN_STEP_BYTES,
        SCREENS_BYTES_MAX,
    },
    spec::WindowSize,
};

/// A terminal's screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawing {
    /// Bytes that draw it on a cleared terminal of its size.
    pub data: Vec<u8>,
    /// What follows begins at this offset of the output.
    pub offset: u64,
    /// The terminal's size.
    pub size: WindowSize,
    /// Something that it shows is not known, and left out.
    pub incomplete: bool,
}

/// Who keeps an exec's screen, if somebody does.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<mpsc::Sender<Ask>>>);

/// Somebody who waits for the screen.
type Ask = oneshot::Sender<Drawing>;

/// The task that keeps a screen.
struct Keeper {
    exec: Weak<Exec>,
    asks: mpsc::Receiver<Ask>,
    /// How many sit before the exec.
    seated: watch::Receiver<u32>,
    follower: Follower,
    pace: Pace,
    /// When it ends unless somebody sits down.
    idle: Option<Instant>,
    /// How long the last step took.
    took: Duration,
}

/// What is waited for before the next step.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// Output behind this offset.
    Output(u64),
    /// This moment, until which it gathers.
    Rest(Instant),
}

enum Event {
    Asked(Ask),
    /// Somebody sat down or left.
    Seated,
    Grown,
    Rested,
    /// Nobody has sat before it for long.
    Idle,
    /// The exec is forgotten.
    Gone,
}

impl Drawing {
    /// Where nothing is known.
    fn cleared(offset: u64, size: WindowSize) -> Self {
        Self { data: Vec::new(), offset, size, incomplete: offset > 0 }
    }
}

/// Keeps the screen of an exec from here on; nothing is done if it has no terminal.
pub fn keep(exec: &Arc<Exec>) {
    if exec.terminal().is_some() {
        keeper(exec);
    }
}

/// The screen of an exec as it is, and with it where its output goes on; `None` if it has no
/// terminal. Dropping the future changes nothing.
pub async fn draw(exec: &Arc<Exec>) -> Option<Drawing> {
    let size = exec.window()?;
    // A keeper may just be about to end.
    for _ in 0..2 {
        let (ask, drawing) = oneshot::channel();
        if keeper(exec).send(ask).await.is_ok()
            && let Ok(drawing) = drawing.await
        {
            return Some(drawing);
        }
    }
    tracing::warn!(exec = %exec.id(), "ignoring that its screen cannot be drawn");
    Some(Drawing::cleared(exec.output(Stream::Stdout).range().end, size))
}

/// Who keeps the exec's screen, from here on if nobody did.
fn keeper(exec: &Arc<Exec>) -> mpsc::Sender<Ask> {
    let mut slot = exec.seats().screen().0.lock();
    if let Some(asks) = slot.as_ref().filter(|asks| !asks.is_closed()) {
        return asks.clone();
    }
    let (sender, asks) = mpsc::channel(SCREEN_ASKS_MAX);
    tokio::spawn(Keeper::new(exec, asks).run());
    *slot = Some(sender.clone());
    sender
}

impl Keeper {
    fn new(exec: &Arc<Exec>, asks: mpsc::Receiver<Ask>) -> Self {
        Self {
            exec: Arc::downgrade(exec),
            asks,
            seated: exec.seats().seated(),
            follower: Follower::new(exec.output(Stream::Stdout).store()),
            pace: Pace::Output(0),
            idle: None,
            took: Duration::ZERO,
        }
    }

    async fn run(mut self) {
        loop {
            let event = self.event().await;
            if self.handle(event).await.is_break() {
                return;
            }
        }
    }

    async fn event(&mut self) -> Event {
        let (pace, idle) = (self.pace, self.idle);
        tokio::select! {
            biased;
            ask = self.asks.recv() => ask.map_or(Event::Gone, Event::Asked),
            changed = self.seated.changed() => changed.map_or(Event::Gone, |()| Event::Seated),
            () = grown(&self.exec, pace) => Event::Grown,
            () = rested(pace) => Event::Rested,
            () = until(idle) => Event::Idle,
        }
    }

    async fn handle(&mut self, event: Event) -> ControlFlow<()> {
        let Some(exec) = self.exec.upgrade() else { return ControlFlow::Break(()) };
        let spool = exec.output(Stream::Stdout);
        let sizes = || exec.sizes();
        let from = Source { spool, sizes: &sizes };
        match event {
            Event::Gone | Event::Idle => return ControlFlow::Break(()),
            Event::Asked(ask) => {
                let drawing = self.follower.draw(&from).await;
                // Who asked may have left.
                let _ = ask.send(drawing);
            }
            Event::Seated => return self.seated(spool.store()),
            Event::Grown => {
                let rest = SCREEN_PAUSE.max(SCREEN_PAUSE_FACTOR * self.took);
                self.pace = Pace::Rest(Instant::now() + rest);
            }
            Event::Rested => {
                let end = spool.range().end;
                if end >= self.follower.offset() + SCREEN_STEP_BYTES {
                    let begun = Instant::now();
                    self.follower.catch_up(&from).await;
                    self.took = begun.elapsed();
                }
                self.pace = Pace::Output(end);
            }
        }
        ControlFlow::Continue(())
    }

    fn seated(&mut self, store: &Store) -> ControlFlow<()> {
        if *self.seated.borrow_and_update() > 0 {
            self.idle = None;
        } else if store.screens.load(Relaxed) > SCREENS_BYTES_MAX / 2 {
            return ControlFlow::Break(());
        } else {
            self.idle = Some(Instant::now() + SCREEN_IDLE);
        }
        ControlFlow::Continue(())
    }
}

/// Waits for output. Cancel-safe.
async fn grown(exec: &Weak<Exec>, pace: Pace) {
    let Pace::Output(past) = pace else { return std::future::pending().await };
    loop {
        let events = exec.upgrade().map(|exec| exec.output(Stream::Stdout).events());
        // Who forgets an exec is told to the keeper in another way.
        let Some(events) = events else { return std::future::pending().await };
        let data = events.data.notified();
        // What came before the line above notifies nobody.
        let end = exec.upgrade().map_or(0, |exec| exec.output(Stream::Stdout).range().end);
        if end > past {
            return;
        }
        data.await;
    }
}

async fn rested(pace: Pace) {
    match pace {
        Pace::Output(_) => std::future::pending().await,
        Pace::Rest(until) => sleep_until(until).await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            ids::ExecId,
            limits::KIB,
            spec::{Argv, ExecSpec, Stdio},
        },
        exec::{
            facts::{Common, Facts},
            handle::{Admitted, Listing},
            seats::Seat,
            store::StoreConfig,
        },
        os::work::Work,
    };

    fn exec() -> Arc<Exec> {
        let size = WindowSize::new(5, 20);
        let spec = ExecSpec {
            argv: Argv::parse(vec!["sh".into()]).unwrap(),
            env: Vec::new(),
            workdir: None,
            stdio: Stdio::Pty(size),
            timeout: None,
        };
        let admitted = Admitted {
            id: ExecId::parse("x").unwrap(),
            listing: Listing::Listed,
            number: 1,
            facts: Facts::new(&Common::plain(), &spec, std::time::Instant::now()),
            deadline: None,
        };
        let (store, _) = Store::open(&StoreConfig::default(), Work::new());
        let exec = Arc::new(Exec::new(admitted, &store));
        exec.plan_terminal(size);
        exec
    }

    /// Bytes that show nothing and are taken in quickly.
    fn print(exec: &Exec, bytes: u64) {
        let text = [b"\x1b_", &vec![b'x'; usize::try_from(bytes).unwrap()][..], b"\x1b\\"].concat();
        for piece in text.chunks(64 << 10) {
            exec.output(Stream::Stdout).append(piece.to_vec());
        }
    }

    async fn happens(keeper: &mut Keeper) -> &'static str {
        let event = keeper.event().await;
        let name = match &event {
            Event::Asked(_) => "asked",
            Event::Seated => "seated",
            Event::Grown => "grown",
            Event::Rested => "rested",
            Event::Idle => "idle",
            Event::Gone => "gone",
        };
        match keeper.handle(event).await {
            ControlFlow::Continue(()) => name,
            ControlFlow::Break(()) => "over",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_follows_in_steps_and_rests_between_them() {
        let exec = exec();
        let (_asks, receiver) = mpsc::channel(1);
        let mut keeper = Keeper::new(&exec, receiver);
        print(&exec, KIB);
        let begun = Instant::now();
        assert_eq!([happens(&mut keeper).await, happens(&mut keeper).await], ["grown", "rested"]);
        assert_eq!((begun.elapsed(), keeper.follower.offset()), (SCREEN_PAUSE, 0));
        assert_eq!(
            exec.output(Stream::Stdout).store().screens.load(Relaxed),
            0,
            "it costs nothing"
        );
        // Nothing more happens before there is more.
        assert!(tokio::time::timeout(SCREEN_IDLE, keeper.event()).await.is_err());
        // More than any screen could be behind, but never at once.
        for _ in 0..9 {
            print(&exec, SCREEN_STEP_BYTES);
            assert_eq!(
                [happens(&mut keeper).await, happens(&mut keeper).await],
                ["grown", "rested"]
            );
            assert_eq!(keeper.follower.offset(), exec.output(Stream::Stdout).range().end);
        }
        let (sizes, spool) = (|| exec.sizes(), exec.output(Stream::Stdout));
        let drawing = keeper.follower.draw(&Source { spool, sizes: &sizes }).await;
        assert!(!drawing.incomplete);
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_when_nobody_comes_for_long_or_others_need_the_room() {
        let exec = exec();
        let (_asks, receiver) = mpsc::channel(1);
        let mut keeper = Keeper::new(&exec, receiver);
        let seat = Seat::observe(&exec);
        assert_eq!(happens(&mut keeper).await, "seated");
        assert!(tokio::time::timeout(2 * SCREEN_IDLE, keeper.event()).await.is_err());
        drop(seat);
        assert_eq!(happens(&mut keeper).await, "seated");
        let begun = Instant::now();
        assert_eq!(happens(&mut keeper).await, "over");
        assert_eq!(begun.elapsed(), SCREEN_IDLE);

        exec.output(Stream::Stdout).store().screens.store(SCREENS_BYTES_MAX / 2 + 1, Relaxed);
        let seat = Seat::observe(&exec);
        assert_eq!(happens(&mut keeper).await, "seated");
        drop(seat);
        assert_eq!(happens(&mut keeper).await, "over");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_its_exec_and_is_there_again_when_it_is_asked() {
        let exec = exec();
        exec.output(Stream::Stdout).append(b"text".to_vec());
        let drawing = draw(&exec).await.unwrap();
        assert_eq!((drawing.offset, drawing.incomplete), (4, false));
        let asks = keeper(&exec);
        drop(Seat::observe(&exec));
        tokio::time::sleep(2 * SCREEN_IDLE).await;
        assert!(asks.is_closed());
        assert!(String::from_utf8(draw(&exec).await.unwrap().data).unwrap().contains("text"));
        let asks = keeper(&exec);
        assert!(!asks.is_closed());
        let store = exec.output(Stream::Stdout).store().clone();
        assert!(store.screens.load(Relaxed) > 0);
        drop(exec);
        asks.closed().await;
        assert_eq!(store.screens.load(Relaxed), 0);
    }
}
