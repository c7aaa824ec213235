//! The live view: one task looks, one follows the changes, and here what they bring is shown.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    TopArgs, look,
    measure::{Meter, Order, Row, sort},
    screen::{Screen, keys},
    table,
};
use crate::{
    cli::{
        exec::Signals,
        failure::asking,
        show::{
            colour::{Paint, Tone},
            human::{age, count, length, printable, size},
            table::{Room, cut},
            words,
        },
        watch::Changes,
    },
    client::Control,
    core::limits::TOP_PICTURE,
    wire::doorward::v1::{self as wire, ExecState, watch_execs_response::Event as Change},
};

/// Pictures are at most so old: what they say of the time moves on.
const PICTURE_AGE_MAX: Duration = Duration::from_secs(1);
/// Without an answer for so many intervals, the picture says so.
const SILENT_INTERVALS: u32 = 3;
/// Changes that wait while a picture is drawn; more wait at the agent.
const EVENTS: usize = 256;

/// What happens to the view.
enum Event {
    Looked(Box<Look>),
    Changed(Box<Change>),
    Failed(anyhow::Error),
    Typed(Bytes),
    Resized,
    Leave(u8),
    PictureDue,
}

/// One look at everything.
struct Look {
    execs: Vec<wire::Exec>,
    agent: wire::GetAgentResponse,
}

/// What is shown.
struct View {
    address: String,
    rows: Vec<Row>,
    agent: wire::GetAgentResponse,
    /// When the last answer came.
    looked: Instant,
    silence: Duration,
    meter: Meter,
    order: Order,
}

/// Whether to go on.
enum Next {
    /// With the picture as it is.
    Nothing,
    /// With another picture.
    Draw,
    /// Not at all: leave with this code.
    Leave(u8),
}

/// Shows the view until somebody leaves it, and returns our exit code. The terminal is as before afterwards.
pub(super) async fn run(args: &TopArgs, control: &Control, address: &str) -> anyhow::Result<u8> {
    let mut signals = Signals::listen().context("listen for signals")?;
    let mut sizes = signal(SignalKind::window_change()).context("listen for signals")?;
    // An agent that does not answer is told on the terminal as it was.
    let first = look(control).await?;
    let (sender, mut events) = mpsc::channel(EVENTS);
    tokio::spawn(follow(Changes::after(control, first.cursor), sender.clone()));
    tokio::spawn(sample(control.clone(), args.interval, sender));
    let mut view = View::new(args, address);
    let mut screen = Screen::enter().context("use the terminal")?;
    let mut typed = keys().context("read the keyboard")?;
    let mut left = args.count.map(|count| u64::from(count.get()));
    let (mut drawn, mut stale) = (Instant::now(), false);
    loop {
        let wait = if stale { TOP_PICTURE } else { PICTURE_AGE_MAX };
        let event = tokio::select! {
            code = signals.next() => Event::Leave(code),
            Some(keys) = typed.recv() => Event::Typed(keys),
            Some(event) = events.recv() => event,
            _ = sizes.recv() => Event::Resized,
            () = sleep_until(drawn + wait) => Event::PictureDue,
        };
        let was_look = matches!(event, Event::Looked(_));
        match view.take(event)? {
            Next::Leave(code) => return Ok(code),
            Next::Nothing => stale = true,
            Next::Draw => {
                let (_, columns) = screen.size();
                screen.draw(&view.picture(columns))?;
                (drawn, stale) = (Instant::now(), false);
            }
        }
        if was_look {
            // The first look has no rates yet.
            if left == Some(0) {
                return Ok(0);
            }
            left = left.map(|left| left - 1);
        }
    }
}

/// Looks once an interval; nobody waits for it.
async fn sample(control: Control, every: Duration, to: mpsc::Sender<Event>) {
    let mut clock = interval(every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let looked = async {
            let execs = look(&control).await?.execs;
            let agent = control.get_agent(wire::GetAgentRequest::default()).await;
            let agent = agent.map_err(asking("ask the agent about itself"))?;
            anyhow::Ok(Event::Looked(Box::new(Look { execs, agent })))
        };
        let event = looked.await.unwrap_or_else(Event::Failed);
        if to.send(event).await.is_err() {
            return;
        }
    }
}

/// Hands on each change.
async fn follow(mut changes: Changes, to: mpsc::Sender<Event>) {
    loop {
        let event = match changes.next().await.map_err(asking("follow the changes")) {
            Ok(change) => Event::Changed(Box::new(change)),
            Err(error) => Event::Failed(error),
        };
        let failed = matches!(event, Event::Failed(_));
        if to.send(event).await.is_err() || failed {
            return;
        }
    }
}

impl View {
    fn new(args: &TopArgs, address: &str) -> Self {
        Self {
            address: address.to_string(),
            rows: Vec::new(),
            agent: wire::GetAgentResponse::default(),
            looked: Instant::now(),
            silence: args.interval.saturating_mul(SILENT_INTERVALS),
            meter: Meter::default(),
            order: args.sort,
        }
    }

    fn take(&mut self, event: Event) -> anyhow::Result<Next> {
        match event {
            Event::Looked(look) => {
                self.rows = self.meter.rows(look.execs);
                self.agent = look.agent;
                self.looked = Instant::now();
                sort(&mut self.rows, self.order);
                Ok(Next::Draw)
            }
            Event::Changed(change) => {
                self.change(*change);
                Ok(Next::Nothing)
            }
            Event::Failed(error) => Err(error),
            Event::Typed(keys) => Ok(self.typed(&keys)),
            Event::Resized | Event::PictureDue => Ok(Next::Draw),
            Event::Leave(code) => Ok(Next::Leave(code)),
        }
    }

    /// A state has changed. Whoever has ended is shown so until the next look leaves it out.
    fn change(&mut self, change: Change) {
        match change {
            Change::Exec(exec) => {
                match self.rows.iter_mut().find(|row| row.exec.exec_id == exec.exec_id) {
                    Some(row) => {
                        (row.exec.state, row.exec.pid) = (exec.state, exec.pid);
                        row.exec.ended = exec.ended;
                    }
                    None if words::is_over(&exec) => {}
                    None => self.rows.push(Row { exec, cpu_percent: None, output_rate: None }),
                }
            }
            Change::ForgottenExecId(id) => self.rows.retain(|row| row.exec.exec_id != id),
            Change::CaughtUp(_) => {}
        }
    }

    fn typed(&mut self, keys: &[u8]) -> Next {
        for key in keys {
            self.order = match key {
                // ^C: in raw mode it is a key like others.
                b'q' | b'Q' | 3 => return Next::Leave(0),
                b'c' => Order::Cpu,
                b'm' => Order::Memory,
                b'o' => Order::Output,
                b'a' => Order::Age,
                b'i' => Order::Id,
                _ => self.order,
            };
        }
        sort(&mut self.rows, self.order);
        Next::Draw
    }

    fn picture(&self, columns: usize) -> Vec<String> {
        let paint = Paint::for_stdout();
        let silent = self.looked.elapsed();
        let second = match silent > self.silence.max(PICTURE_AGE_MAX) {
            true => {
                paint.paint(Tone::Bad, &cut(&format!("no answer for {}", age(silent)), columns))
            }
            false => cut(&self.about_agent(), columns),
        };
        let mut lines = vec![cut(&self.about_execs(), columns), second, String::new()];
        lines.extend(table(&self.rows).lines(paint, Room::Columns(columns)));
        lines
    }

    fn about_execs(&self) -> String {
        let number =
            |state: ExecState| self.rows.iter().filter(|row| row.exec.state() == state).count();
        let all = u64::try_from(self.rows.len()).unwrap_or(u64::MAX);
        let lingering = match number(ExecState::Lingering) {
            0 => String::new(),
            lingering => format!(", {lingering} lingering"),
        };
        format!(
            "{}: {}, {} running{lingering}",
            printable(&self.address),
            count(all, "exec", "execs"),
            number(ExecState::Running),
        )
    }

    fn about_agent(&self) -> String {
        let mut parts = vec![format!("agent {}", printable(&self.agent.version))];
        let up = self.agent.uptime.as_ref().and_then(length);
        parts.extend(up.map(|up| format!("up {}", age(up))));
        if let Some(own) = &self.agent.r#use {
            parts.extend(own.memory_bytes.map(|bytes| format!("{} of memory", size(bytes))));
            parts.push(format!(
                "output kept: {} in memory, {} on disk",
                size(own.spool_memory_bytes),
                size(own.spool_disk_bytes)
            ));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            address: "unix:///x".into(),
            rows: Vec::new(),
            agent: wire::GetAgentResponse { version: "1.2.3".into(), ..Default::default() },
            looked: Instant::now(),
            silence: Duration::from_secs(3),
            meter: Meter::default(),
            order: Order::Cpu,
        }
    }

    fn exec(id: &str, state: ExecState) -> wire::Exec {
        wire::Exec { exec_id: id.into(), state: state.into(), ..Default::default() }
    }

    #[tokio::test]
    async fn changes_are_shown_before_the_next_look() {
        let mut view = view();
        for (id, state) in [
            ("a", ExecState::Starting),
            ("b", ExecState::Running),
            ("a", ExecState::Lingering),
            ("c", ExecState::Ended),
        ] {
            view.change(Change::Exec(exec(id, state)));
        }
        assert_eq!(view.about_execs(), "unix:///x: 2 execs, 1 running, 1 lingering");
        view.change(Change::ForgottenExecId("b".into()));
        assert_eq!(view.rows.len(), 1);
        assert_eq!(view.about_agent(), "agent 1.2.3");
        let picture = view.picture(20);
        assert_eq!(picture[0], "unix:///x: 1 exec, …");
        assert!(picture.iter().all(|line| line.chars().count() <= 60), "{picture:?}");
    }

    #[tokio::test]
    async fn keys_sort_and_leave() {
        let mut view = view();
        assert!(matches!(view.typed(b"xm"), Next::Draw));
        assert_eq!(view.order, Order::Memory);
        assert!(matches!(view.typed(b"q"), Next::Leave(0)));
        assert!(matches!(view.typed(&[3]), Next::Leave(0)));
    }
}
