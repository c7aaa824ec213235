//! Attach, message by message: who writes and who looks on, input by offset, sizes, the end.

use std::collections::HashSet;

use doorward::wire::{
    doorward::v1::{
        AttachInput, AttachOffsets, AttachOpen, AttachScreen, EndReason, TerminalSize,
        attach_open::Start, attach_request::Message as Request, attach_response::Message as Answer,
    },
    modal::{client::PtyInfo, task_command_router::TaskExecStartRequest},
};
use tonic::{Code, Status};

use crate::support::{
    Agent, Control, Door, Exit, PATIENCE, Setup,
    door::{Eof, command, refused, terminal},
    sh,
    sitting::{Sitting, sit, sit_and_write},
};

fn pty(rows: u32, columns: u32) -> PtyInfo {
    PtyInfo { enabled: true, winsz_rows: rows, winsz_cols: columns, ..PtyInfo::default() }
}

async fn both(agent: &Agent) -> (Door, Control) {
    (agent.door().await, agent.control().await)
}

/// What a call that must fail fails with.
async fn failure(mut sitting: Sitting) -> Status {
    loop {
        match sitting.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the call ended well: {:?}", sitting.text()),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn what_is_typed_is_echoed_and_the_end_comes_in_order() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let script = "echo ready; read line; echo \"<$line>\"; exit 7";
    let exec = door.start(&terminal(script, pty(24, 80))).await.unwrap();
    let mut sitting = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    let opened = sitting.opened.exec.clone().unwrap();
    assert_eq!((opened.exec_id.as_str(), opened.attached, opened.has_writer), (&*exec, 1, true));
    assert_eq!((sitting.opened.stdin_accepted, sitting.opened.turn), (0, 1));
    sitting.until_shown("ready").await;
    sitting.type_in("he").await;
    sitting.until_shown("he").await;
    sitting.type_in("llo\r").await;
    sitting.until_shown("<hello>").await;
    let mut order = Vec::new();
    while let Some(answer) = sitting.next().await.unwrap() {
        match answer {
            Answer::Ended(_) => order.push("ended"),
            Answer::End(_) => order.push("end"),
            Answer::InputAccepted(_) | Answer::Chunk(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sitting.text(), "ready\r\nhello\r\n<hello>\r\n");
    assert_eq!(order.len(), 3, "{order:?}");
    assert_eq!(sitting.accepted, 6);
    let ended = sitting.ended.unwrap();
    assert_eq!((ended.reason(), ended.exit_code), (EndReason::Exited, Some(7)));
    let seen = control.get(&exec).await.unwrap();
    assert_eq!((seen.attached, seen.has_writer), (0, false));
}

#[tokio::test]
async fn pipes_have_two_streams_an_input_that_ends_and_one_that_is_closed() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let exec = door.start(&sh("echo error >&2; cat; echo over; exec sleep 0.05")).await.unwrap();
    let mut sitting = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    sitting.type_in("one\n").await;
    sitting.until_shown("one").await;
    sitting.end_input().await;
    sitting.until_shown("over").await;
    sitting.rest().await;
    assert_eq!((sitting.text().as_str(), &sitting.output[1][..]), ("one\nover\n", &b"error\n"[..]));

    let exec = door.start(&sh("exec <&-; echo closed; exec sleep 1000")).await.unwrap();
    let mut sitting = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    sitting.until_shown("closed").await;
    sitting.type_in("lost").await;
    sitting.until("input_closed", |_, answer| matches!(answer, Answer::InputClosed(_))).await;
    assert_eq!(sitting.accepted, 0);
    // More of it is no error, and a signal still reaches the group.
    sitting.type_in("lost too").await;
    sitting.say(Request::Signal(15)).await;
    sitting.rest().await;
    assert_eq!(sitting.ended.unwrap().signal, Some(15));
}

#[tokio::test]
async fn ten_look_on_and_only_the_writer_may_write() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let exec = door.start(&terminal("stty -echo; echo ready; cat", pty(24, 80))).await.unwrap();
    let mut writer = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    let mut observers = Vec::new();
    for _ in 0..10 {
        observers.push(Sitting::open(&control, sit(&exec)).await.unwrap());
    }
    let alone = door.start(&sh("exec sleep 1000")).await.unwrap();
    let listed = control.list().await;
    let seats = |id: &str| {
        let seen = listed.iter().find(|seen| seen.exec_id == id).unwrap();
        (seen.attached, seen.has_writer)
    };
    assert_eq!((seats(&exec), seats(&alone)), ((11, true), (0, false)));
    let seen = control.get(&exec).await.unwrap();
    assert_eq!((seen.attached, seen.has_writer), (11, true));
    writer.until_shown("ready").await;
    let lines: String = (0..2000).map(|n| format!("{n}\n")).collect();
    for line in lines.split_inclusive('\n').collect::<Vec<_>>().chunks(100) {
        writer.type_in(&line.concat()).await;
    }
    let wanted = format!("ready\r\n{}", lines.replace('\n', "\r\n"));
    for sitting in observers.iter_mut().chain([&mut writer]) {
        sitting.until_shown("1999\r\n").await;
        assert_eq!(sitting.text(), wanted);
    }
    for say in [
        Request::Input(AttachInput::default()),
        Request::Resize(TerminalSize { rows: 10, columns: 10 }),
        Request::Signal(2),
    ] {
        let observer = observers.pop().unwrap();
        observer.say(say.clone()).await;
        refused::<()>(
            "an observer",
            Err(failure(observer).await),
            Code::FailedPrecondition,
            &["write"],
        );
    }
    assert_eq!(control.get(&exec).await.unwrap().attached, 8);
    writer.type_in("\x04").await;
    for mut sitting in observers.into_iter().chain([writer]) {
        sitting.rest().await;
    }
}

#[tokio::test]
async fn a_newer_writer_takes_over_and_the_older_one_looks_on() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let exec = door.start(&terminal("stty -echo; echo ready; cat", pty(24, 80))).await.unwrap();
    let mut first = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    first.until_shown("ready").await;
    first.type_in("from the first\n").await;
    first.until_shown("from the first").await;
    let mut second = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    assert_eq!((second.opened.stdin_accepted, second.opened.turn), (15, 2));
    first.until("displaced", |_, answer| {
        matches!(answer, Answer::Displaced(displaced) if displaced.by == "static token")
    }).await;
    // What was under way when it was told is no error, and comes to nothing.
    first.type_in("never shown\n").await;
    first.resize(5, 5).await;
    second.type_in("from the second\n").await;
    for sitting in [&mut first, &mut second] {
        sitting.until_shown("from the second").await;
        assert!(!sitting.text().contains("never"), "{}", sitting.text());
    }
    let seen = control.get(&exec).await.unwrap();
    assert_eq!((seen.attached, seen.has_writer), (2, true));
    assert_eq!(seen.terminal, Some(TerminalSize { rows: 24, columns: 80 }));
    second.type_in("\x04").await;
    first.rest().await;
    second.rest().await;
}

#[tokio::test]
async fn a_turn_is_resumed_unless_somebody_took_over() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let exec = door.start(&terminal("stty -echo; echo ready; cat", pty(24, 80))).await.unwrap();
    let mut first = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    first.until_shown("ready").await;
    let resume = AttachOpen { turn: first.opened.turn, ..sit_and_write(&exec) };
    // The old call may still seem to be there: its link broke without a word.
    let mut again = Sitting::open(&control, resume.clone()).await.unwrap();
    assert_eq!(again.opened.turn, first.opened.turn);
    refused::<()>("the old call", Err(failure(first).await), Code::Aborted, &["another call"]);
    again.type_in("still mine\n").await;
    again.until_shown("still mine").await;
    drop(again);
    while control.get(&exec).await.unwrap().has_writer {
        tokio::task::yield_now().await;
    }
    let mut other = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    let mut late = Sitting::open(&control, resume).await.unwrap();
    assert_eq!(late.opened.turn, 0);
    let answer = late.next().await.unwrap();
    assert!(matches!(answer, Some(Answer::Displaced(_))), "{answer:?}");
    late.type_in("never shown\n").await;
    other.type_in("mine\n").await;
    late.until_shown("\r\nmine").await;
    assert!(!late.text().contains("never"));
    other.type_in("\x04").await;
    late.rest().await;
}

#[tokio::test]
async fn input_that_is_repeated_is_skipped_and_a_gap_is_refused() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let exec = door.start(&sh("cat")).await.unwrap();
    door.write(&exec, 0, b"01", Eof::No).await.unwrap();
    let mut sitting = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    assert_eq!(sitting.opened.stdin_accepted, 2);
    let input = |offset: u64, data: &str| {
        let data = data.as_bytes().to_vec().into();
        Request::Input(AttachInput { offset, data, end: false })
    };
    for (offset, data) in [(2, "234"), (2, "234"), (0, "012345"), (4, "4567")] {
        sitting.say(input(offset, data)).await;
    }
    sitting.until_shown("01234567").await;
    // Asking through the main door sets its own streams aside, and not this one.
    assert_eq!(door.input(&exec).await.unwrap().num_bytes_written, 8);
    sitting.say(input(8, "89")).await;
    sitting.until_shown("0123456789").await;
    sitting.say(input(11, "x")).await;
    let words = ["offset 11", "offset 10"];
    refused::<()>("a gap", Err(failure(sitting).await), Code::FailedPrecondition, &words);
}

#[tokio::test]
async fn input_that_nobody_reads_holds_up_neither_output_nor_signals() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let script = "trap 'echo caught' USR1; while :; do seq 10000; sleep 0.01; done";
    let exec = door.start(&sh(script)).await.unwrap();
    let mut sitting = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    sitting.until_shown("10000\n").await;
    let much = "x".repeat(150_000);
    sitting.type_in(&much).await;
    sitting.say(Request::Signal(10)).await;
    sitting.until_shown("caught").await;
    sitting.until("more output", |sitting, _| sitting.output[0].len() > 1 << 20).await;
    assert!(sitting.accepted < 150_000, "the pipe holds 64 KiB and nobody reads");
    sitting.say(Request::Signal(9)).await;
    sitting.rest().await;
}

#[tokio::test]
async fn sizes_are_the_writers_and_everybody_else_is_told() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.02; done";
    let exec = door.start(&terminal(script, pty(24, 80))).await.unwrap();
    let mut observer = Sitting::open(&control, sit(&exec)).await.unwrap();
    observer.until_shown("24 80").await;
    let size = |rows, columns| Some(TerminalSize { rows, columns });
    let open = AttachOpen { size: size(30, 100), ..sit_and_write(&exec) };
    let mut writer = Sitting::open(&control, open).await.unwrap();
    assert_eq!(writer.opened.exec.as_ref().unwrap().terminal, size(30, 100));
    observer
        .until("its size", |_, answer| *answer == Answer::Resized(size(30, 100).unwrap()))
        .await;
    writer.resize(31, 101).await;
    observer
        .until("its size", |_, answer| *answer == Answer::Resized(size(31, 101).unwrap()))
        .await;
    writer.until_shown("31 101").await;
    let asked = doorward::wire::doorward::v1::ResizePtyRequest {
        task_id: crate::support::TASK.into(),
        exec_id: exec.clone(),
        size: size(32, 102),
    };
    control.raw.clone().resize_pty(asked).await.unwrap();
    for sitting in [&mut observer, &mut writer] {
        let mut told = HashSet::new();
        while !told.contains(&(32, 102)) {
            if let Some(Answer::Resized(size)) = sitting.next().await.unwrap() {
                told.insert((size.rows, size.columns));
            }
        }
        assert_eq!(told.len(), 1, "nobody is told of what it did itself: {told:?}");
    }
    writer.resize(0, 10).await;
    refused::<()>("no size", Err(failure(writer).await), Code::InvalidArgument, &["rows 0"]);
}

#[tokio::test]
async fn what_was_dropped_is_a_gap_and_the_rest_follows() {
    let agent = Setup::new().flags(["--spool-stream-max", "256KiB"]).start().await;
    let (door, control) = both(&agent).await;
    let exec = door.start(&sh("seq 200000; read line; echo more")).await.unwrap();
    // A reader would not do: it ends as soon as what it wants next was dropped.
    let written =
        async { while control.get(&exec).await.unwrap().streams[0].end_offset != 1_288_895 {} };
    tokio::time::timeout(PATIENCE, written).await.expect("all of it is written");
    let mut sitting = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    let answer = sitting.next().await.unwrap();
    let Some(Answer::Gap(gap)) = answer else { panic!("{answer:?}") };
    assert!(gap.first_offset == 0 && gap.end_offset > 1_000_000, "{gap:?}");
    sitting.type_in("go\n").await;
    sitting.rest().await;
    assert!(sitting.text().ends_with("199999\n200000\nmore\n"));
    assert_eq!(sitting.at[0], Some(1_288_900));

    let open = AttachOpen { start: Some(Start::Screen(AttachScreen {})), ..sit(&exec) };
    let mut tail = Sitting::open(&control, open).await.unwrap();
    tail.rest().await;
    assert_eq!(tail.output[0].len(), 64 << 10, "without a terminal: the last 64 KiB");
}

#[tokio::test]
async fn an_end_that_was_before_is_told_and_so_is_a_start_that_failed() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let exec = door.start(&sh("echo before; exit 3")).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(3));
    let mut sitting = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
    sitting.type_in("too late").await;
    sitting.hang_up();
    sitting.rest().await;
    assert_eq!((sitting.text().as_str(), sitting.ended.unwrap().exit_code), ("before\n", Some(3)));

    let request = TaskExecStartRequest { exec_id: "bad".into(), ..command(&["/no/such/program"]) };
    door.start(&request).await.unwrap_err();
    let mut sitting = Sitting::open(&control, sit_and_write("bad")).await.unwrap();
    sitting.rest().await;
    let ended = sitting.ended.unwrap();
    assert_eq!(ended.reason(), EndReason::StartFailure);
    assert_eq!(ended.start_failure.unwrap().stage, "exec");
}

#[tokio::test]
async fn what_cannot_be_sat_before_is_refused() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let exec = door.start(&sh("echo hello")).await.unwrap();
    door.read(&exec, 0, 0).await.unwrap();
    let no_size = Some(TerminalSize { rows: 1, columns: 65536 });
    let beyond = Some(Start::Offsets(AttachOffsets { stdout: 7, stderr: 0 }));
    let cases = [
        ("unknown", sit("nobody"), Code::NotFound, "nobody"),
        ("a bad id", sit(""), Code::InvalidArgument, "empty"),
        ("a size", AttachOpen { size: no_size, ..sit(&exec) }, Code::InvalidArgument, "65536"),
    ];
    for (what, open, code, words) in cases {
        let call = Sitting::open(&control, open).await.map(|_| ());
        refused(what, call, code, &[words]);
    }
    let open = AttachOpen { start: beyond, ..sit(&exec) };
    let sitting = Sitting::open(&control, open).await.unwrap();
    refused::<()>("beyond", Err(failure(sitting).await), Code::OutOfRange, &["ended at 6"]);
    let exec = door.start(&sh("sleep 1000")).await.unwrap();
    for (say, words) in [(Request::Open(sit(&exec)), "twice"), (Request::Signal(65), "65")] {
        let sitting = Sitting::open(&control, sit_and_write(&exec)).await.unwrap();
        sitting.say(say).await;
        refused::<()>(words, Err(failure(sitting).await), Code::InvalidArgument, &[words]);
    }
    assert_eq!(control.get(&exec).await.unwrap().attached, 0);
}
