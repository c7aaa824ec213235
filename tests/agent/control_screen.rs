//! Attach with a terminal's screen: what is drawn, where it goes on, and when it is not known.

use std::num::NonZeroU16;

use doorward::wire::{
    doorward::v1::{
        AttachDrawn, AttachOpen, AttachScreen, TerminalSize, attach_open::Start,
        attach_response::Message as Answer,
    },
    modal::client::PtyInfo,
};

use crate::support::{
    Agent, Control, Door, Exit, Setup,
    door::{Eof, terminal},
    sitting::{Sitting, sit, sit_and_write},
};

fn pty(rows: u32, columns: u32) -> PtyInfo {
    PtyInfo { enabled: true, winsz_rows: rows, winsz_cols: columns, ..PtyInfo::default() }
}

/// A request to look on from the screen on.
fn look(exec: &str) -> AttachOpen {
    AttachOpen { start: Some(Start::Screen(AttachScreen {})), ..sit(exec) }
}

/// A call that begins with a screen, and that screen.
async fn looking(control: &Control, open: AttachOpen) -> (Sitting, AttachDrawn) {
    let mut sitting = Sitting::open(control, open).await.unwrap();
    match sitting.next().await.unwrap() {
        Some(Answer::Drawn(drawn)) => (sitting, drawn),
        other => panic!("a screen is drawn first: {other:?}"),
    }
}

/// Follows the output, without sitting down, until it ends with this; where that is.
async fn printed(door: &Door, exec: &str, text: &str) -> u64 {
    let mut messages = door.open_read(exec, 0, 0).await.unwrap();
    let (mut last, mut length) = (Vec::new(), 0);
    while !last.ends_with(text.as_bytes()) {
        let message = messages.message().await.unwrap().unwrap();
        length += message.data.len();
        last.extend_from_slice(&message.data);
        last.drain(..last.len().saturating_sub(text.len()));
    }
    u64::try_from(length).unwrap()
}

/// A person's terminal of this size that shows this.
fn shown(rows: u16, columns: u16, pieces: &[&[u8]]) -> vt100::Parser {
    let some = |count| NonZeroU16::new(count).unwrap();
    let mut terminal = vt100::Parser::new(some(rows), some(columns), 0);
    for piece in pieces {
        terminal.process(piece);
    }
    terminal
}

fn text(drawn: &AttachDrawn) -> String {
    let size = drawn.size.unwrap();
    let [rows, columns] = [size.rows, size.columns].map(|count| u16::try_from(count).unwrap());
    shown(rows, columns, &[&drawn.data]).screen().contents()
}

#[tokio::test]
async fn a_full_screen_program_is_drawn_as_it_is() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let script = "echo shell; printf '\\033[?1049h\\033[2J\\033[3;5H\\033[1;31mbold\\033[m\\033[?25l\\033[?1h\
                  \\033=\\033[?2004h\\033[?1002h\\033[?1006h\\033]2;a title\\007\\033[2;9r\\033[6;7H'; read x";
    let exec = door.start(&terminal(script, pty(10, 40))).await.unwrap();
    let mut from_start = Sitting::open(&control, sit(&exec)).await.unwrap();
    from_start.until_shown("\x1b[6;7H").await;
    let (mut sitting, drawn) = looking(&control, look(&exec)).await;
    assert_eq!(drawn.size, Some(TerminalSize { rows: 10, columns: 40 }));
    assert_eq!((drawn.offset, drawn.incomplete), (from_start.output[0].len() as u64, false));
    let terminal = shown(10, 40, &[&drawn.data]);
    let screen = terminal.screen();
    assert_eq!(screen.contents(), "\n\n    bold");
    let bold = screen.cell(2, 4).unwrap();
    assert!(bold.bold() && bold.fgcolor() == vt100::Color::Idx(1));
    assert!(screen.alternate_screen() && screen.hide_cursor() && screen.application_cursor());
    assert!(screen.application_keypad() && screen.bracketed_paste());
    assert_eq!(screen.cursor_position(), (5, 6));
    let drawing = String::from_utf8_lossy(&drawn.data).into_owned();
    for part in ["\x1b[?1002h", "\x1b[?1006h", "\x1b]2;a title\x07", "\x1b[2;9r"] {
        assert!(drawing.contains(part), "{part:?} in {drawing:?}");
    }
    // The other screen is there when the program leaves.
    let terminal = shown(10, 40, &[&drawn.data, b"\x1b[?1049l"]);
    assert_eq!(terminal.screen().contents(), "shell");
    door.write(&exec, 0, b"\n", Eof::No).await.unwrap();
    sitting.rest().await;
    assert_eq!(sitting.text(), "\r\n");
}

#[tokio::test]
async fn whenever_one_comes_no_byte_is_missing_or_doubled() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    // Pieces that end in the midst of characters and sequences, for as long as people come.
    let script = "while ! read -t 0.01 x; do \
                  printf '\\342\\202'; printf '\\254\\033['; printf '3%dmn' $((n % 8)); \
                  printf '%d\\033[%d;1' $n $((n % 9)); printf 'H'; n=$((n + 1)); done";
    let script = format!("stty -echo; exec bash -c {script:?}").replace('$', "\\$");
    let exec = door.start(&terminal(&script, pty(10, 40))).await.unwrap();
    let mut from_start = Sitting::open(&control, sit(&exec)).await.unwrap();
    let mut looking_on = Vec::new();
    for count in 0..20 {
        from_start.until_shown(&format!("n{}", 2 * count)).await;
        let (mut sitting, drawn) = looking(&control, look(&exec)).await;
        looking_on.push(tokio::spawn(async move {
            sitting.rest().await;
            (sitting.output[0].clone(), drawn)
        }));
    }
    door.write(&exec, 0, b"\n", Eof::No).await.unwrap();
    from_start.rest().await;
    let whole = shown(10, 40, &[&from_start.output[0]]).screen().contents_formatted();
    for looked in looking_on {
        let (output, drawn) = looked.await.unwrap();
        assert!(!drawn.incomplete);
        let seen = shown(10, 40, &[&drawn.data, &output]);
        assert_eq!(seen.screen().contents_formatted(), whole, "from {} on", drawn.offset);
        let offset = usize::try_from(drawn.offset).unwrap();
        assert!(from_start.output[0][offset..] == output);
    }
}

#[tokio::test]
async fn sizes_are_those_that_the_output_came_in_and_the_writers_own() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let script = "printf 0123456789; read x; printf '\\r\\n0123456789'; read x";
    let exec = door.start(&terminal(&format!("stty -echo; {script}"), pty(8, 5))).await.unwrap();
    let mut writer = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    writer.until_shown("0123456789").await;
    writer.resize(6, 20).await;
    writer.type_in("\n").await;
    writer.until_shown("\r\n0123456789").await;
    let (_, drawn) = looking(&control, look(&exec)).await;
    assert_eq!(drawn.size, Some(TerminalSize { rows: 6, columns: 20 }));
    assert_eq!(text(&drawn), "01234\n56789\n0123456789");
    // Who writes has its size before the screen is drawn.
    let size = Some(TerminalSize { rows: 4, columns: 30 });
    let open = AttachOpen { write: true, size, ..look(&exec) };
    let (_, drawn) = looking(&control, open).await;
    assert_eq!(drawn.size, size);
    assert_eq!(text(&drawn), "01234\n56789\n0123456789");
    // One that is too large to be kept is shown cleared, and says so.
    writer.hang_up();
    let size = Some(TerminalSize { rows: 65535, columns: 65535 });
    let open = AttachOpen { write: true, size, ..look(&exec) };
    let (_, drawn) = looking(&control, open).await;
    assert_eq!((drawn.size, drawn.data.len(), drawn.incomplete), (size, 0, true));
}

#[tokio::test]
async fn too_far_behind_it_starts_cleared_and_says_so() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    // Without rows that leave: what was there before cannot be known.
    let script = "stty -opost; printf '\\033[9;1Hbefore'; \
                  yes \"$(printf '\\033[Hpainted')\" | tr -d '\\n' | head -c 9000000; \
                  printf '\\033[5;1Hready'; read x; seq 100; printf more; read x";
    let exec = door.start(&terminal(script, pty(10, 40))).await.unwrap();
    // Nobody has sat before it, so that nobody has followed it.
    let end = printed(&door, &exec, "ready").await;
    let (mut sitting, drawn) = looking(&control, look(&exec)).await;
    assert_eq!(drawn.offset, end);
    let seen = text(&drawn);
    assert!(seen.contains("painted") && seen.contains("ready"), "{seen:?}");
    assert_eq!((drawn.incomplete, seen.contains("before")), (true, false), "{seen:?}");
    // Once every row is another one, all is known again.
    door.write(&exec, 0, b"\n", Eof::No).await.unwrap();
    sitting.until_shown("100\nmore").await;
    let (_, drawn) = looking(&control, look(&exec)).await;
    assert!(!drawn.incomplete);
    assert!(text(&drawn).contains("more"));
}

#[tokio::test]
async fn what_was_dropped_is_left_out() {
    let agent = Setup::new().flags(["--spool-stream-max=64KiB"]).start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let script = "stty -opost; printf '\\033[9;1Hbefore'; \
                  yes \"$(printf '\\033[H\\342\\202\\254 painted')\" | tr -d '\\n' | head -c 300000; \
                  printf '\\033[5;1Hready'; read x";
    let exec = door.start(&terminal(script, pty(10, 40))).await.unwrap();
    let mut from_start = Sitting::open(&control, sit(&exec)).await.unwrap();
    from_start
        .until("the end of the flood", |sitting, _| sitting.output[0].ends_with(b"ready"))
        .await;
    let (_, drawn) = looking(&control, look(&exec)).await;
    let seen = text(&drawn);
    assert!(seen.contains("\u{20ac} painted") && seen.contains("ready"), "{seen:?}");
    assert_eq!((drawn.incomplete, seen.contains("before")), (true, false), "{seen:?}");
    assert_eq!(drawn.offset, from_start.at[0].unwrap());
}

#[tokio::test]
async fn one_that_has_ended_shows_its_last_screen() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let exec = door.start(&terminal("seq 100; exit 3", pty(5, 40))).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(3));
    for _ in 0..2 {
        let (mut sitting, drawn) = looking(&control, look(&exec)).await;
        assert_eq!(text(&drawn), "97\n98\n99\n100");
        sitting.rest().await;
        assert_eq!((sitting.text().as_str(), sitting.ended.unwrap().exit_code), ("", Some(3)));
    }
}
