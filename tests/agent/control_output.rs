//! ReadOutput: bytes with their offsets, gaps in place of what was dropped, ends with their reasons.

use std::time::{Duration, SystemTime};

use doorward::wire::doorward::v1::{
    OutputEnd, OutputStream, ReadOutputRequest, ReadOutputResponse, StreamFrom,
    read_output_response::Event, stream_from::Start,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::support::{Agent, Control, Exit, PATIENCE, Setup, TASK, door::Eof, door::refused, sh};

const OUT: OutputStream = OutputStream::Stdout;
const ERR: OutputStream = OutputStream::Stderr;

fn from(stream: OutputStream, start: Start) -> StreamFrom {
    StreamFrom { stream: stream.into(), start: Some(start) }
}

/// A request for what is there, of these streams.
fn request(exec: &str, from: &[StreamFrom]) -> ReadOutputRequest {
    ReadOutputRequest {
        task_id: TASK.into(),
        exec_id: exec.into(),
        from: from.to_vec(),
        ..ReadOutputRequest::default()
    }
}

fn following(request: ReadOutputRequest) -> ReadOutputRequest {
    ReadOutputRequest { follow: true, ..request }
}

/// What came of one stream.
#[derive(Debug, Default)]
struct Seen {
    /// Bytes, or how many were missing, each with its offset.
    pieces: Vec<(u64, Result<Vec<u8>, u64>)>,
    end: Option<OutputEnd>,
    arrived: Vec<Option<SystemTime>>,
}

impl Seen {
    fn text(&self) -> String {
        let bytes = self.pieces.iter().filter_map(|(_, piece)| piece.as_ref().ok()).flatten();
        String::from_utf8(bytes.copied().collect()).unwrap()
    }

    /// The first offset and one past the last; there must be no hole.
    fn range(&self) -> (u64, u64) {
        let first = self.pieces.first().map_or(0, |(offset, _)| *offset);
        let end = self.pieces.iter().fold(first, |at, (offset, piece)| {
            assert_eq!(at, *offset, "{:?}", self.pieces.len());
            offset + piece.as_ref().map_or_else(|missing| *missing, |bytes| bytes.len() as u64)
        });
        (first, end)
    }

    /// Where it ended, whether the stream itself did, and why.
    fn ended(&self) -> (u64, bool, &str) {
        let end = self.end.as_ref().expect("an end is told");
        (end.offset, end.ended, &end.reason)
    }
}

async fn open(
    control: &Control,
    request: ReadOutputRequest,
) -> Result<Streaming<ReadOutputResponse>, Status> {
    Ok(control.raw.clone().read_output(request).await?.into_inner())
}

async fn next(messages: &mut Streaming<ReadOutputResponse>) -> Result<Option<Event>, Status> {
    let message = timeout(PATIENCE, messages.message()).await.expect("a message comes");
    Ok(message?.map(|message| message.event.unwrap()))
}

/// Everything of both streams, to the end of the call.
async fn read(control: &Control, request: ReadOutputRequest) -> Result<[Seen; 2], Status> {
    let mut messages = open(control, request).await?;
    let mut seen = [Seen::default(), Seen::default()];
    while let Some(event) = next(&mut messages).await? {
        match event {
            Event::Chunk(chunk) => {
                let seen = &mut seen[chunk.stream as usize - 1];
                assert!(!chunk.data.is_empty() && seen.end.is_none(), "{chunk:?}");
                seen.arrived.push(chunk.arrived.map(|time| time.try_into().unwrap()));
                seen.pieces.push((chunk.offset, Ok(chunk.data.to_vec())));
            }
            Event::Gap(gap) => {
                assert!(gap.first_offset < gap.end_offset, "{gap:?}");
                let missing = gap.end_offset - gap.first_offset;
                seen[gap.stream as usize - 1].pieces.push((gap.first_offset, Err(missing)));
            }
            Event::End(end) => {
                let seen = &mut seen[end.stream as usize - 1];
                assert!(seen.end.replace(end).is_none(), "a stream ends once");
            }
        }
    }
    Ok(seen)
}

#[tokio::test]
async fn both_streams_come_with_their_offsets_from_wherever_they_are_asked_for() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let exec = door.start(&sh("echo 0123456789; echo error >&2")).await.unwrap();
    let [out, err] = read(&control, following(request(&exec, &[]))).await.unwrap();
    assert_eq!((out.text().as_str(), out.range()), ("0123456789\n", (0, 11)));
    assert_eq!((err.text().as_str(), err.range()), ("error\n", (0, 6)));
    assert_eq!((out.ended(), err.ended()), ((11, true, "eof"), (6, true, "eof")));

    let some = [from(OUT, Start::Offset(3))];
    let [out, err] = read(&control, request(&exec, &some)).await.unwrap();
    assert_eq!((out.text().as_str(), out.range()), ("3456789\n", (3, 11)));
    assert!(err.pieces.is_empty() && err.end.is_none(), "it was not asked for");

    let tails = [from(ERR, Start::TailBytes(3)), from(OUT, Start::TailBytes(100))];
    let [out, err] = read(&control, request(&exec, &tails)).await.unwrap();
    assert_eq!((err.text().as_str(), err.range()), ("or\n", (3, 6)));
    assert_eq!(out.range(), (0, 11));

    let end = [from(OUT, Start::Offset(11)), from(ERR, Start::TailBytes(0))];
    let [out, err] = read(&control, following(request(&exec, &end))).await.unwrap();
    assert!(out.pieces.is_empty() && err.pieces.is_empty());
    assert_eq!((out.ended(), err.ended()), ((11, true, "eof"), (6, true, "eof")));
}

#[tokio::test]
async fn what_is_there_ends_and_what_is_followed_goes_on() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let exec = door.start(&sh("echo first; read line; echo $line; read end")).await.unwrap();
    let mut stream = door.open_read(&exec, 0, 0).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().data, "first\n");

    let [out, err] = read(&control, request(&exec, &[])).await.unwrap();
    assert_eq!((out.text().as_str(), out.ended()), ("first\n", (6, false, "")));
    assert_eq!(err.ended(), (0, false, ""));
    let ahead = [from(OUT, Start::Offset(100))];
    let [out, _] = read(&control, request(&exec, &ahead)).await.unwrap();
    assert_eq!((out.pieces.len(), out.ended()), (0, (100, false, "")));

    let mut follow = open(&control, following(request(&exec, &[]))).await.unwrap();
    let Some(Event::Chunk(chunk)) = next(&mut follow).await.unwrap() else { panic!() };
    assert_eq!((chunk.offset, &chunk.data[..]), (0, &b"first\n"[..]));
    door.write(&exec, 0, b"second\n", Eof::No).await.unwrap();
    let Some(Event::Chunk(chunk)) = next(&mut follow).await.unwrap() else { panic!() };
    assert_eq!((chunk.offset, &chunk.data[..]), (6, &b"second\n"[..]));
    door.write(&exec, 7, b"", Eof::Yes).await.unwrap();
    for _ in 0..2 {
        let Some(Event::End(end)) = next(&mut follow).await.unwrap() else { panic!() };
        assert_eq!((end.ended, end.reason.as_str()), (true, "eof"));
    }
    assert!(next(&mut follow).await.unwrap().is_none());
}

#[tokio::test]
async fn so_many_bytes_and_no_more() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let exec = door.start(&sh("seq 100000; seq 100000 >&2; read line")).await.unwrap();
    const EACH: u64 = 588_895;
    let all = ReadOutputRequest { bytes_max: 2 * EACH, ..request(&exec, &[]) };
    read(&control, following(all)).await.unwrap();
    for bytes_max in [1, 70_000, 2 * EACH] {
        let bounded = ReadOutputRequest { bytes_max, ..request(&exec, &[]) };
        let [out, err] = read(&control, following(bounded)).await.unwrap();
        let (out_end, err_end) = (out.range().1, err.range().1);
        assert_eq!(out_end + err_end, bytes_max);
        assert_eq!((out.ended(), err.ended()), ((out_end, false, ""), (err_end, false, "")));
        let rest = [from(OUT, Start::Offset(out_end)), from(ERR, Start::Offset(err_end))];
        let [more_out, more_err] = read(&control, request(&exec, &rest)).await.unwrap();
        let whole: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
        assert!(out.text() + &more_out.text() == whole, "after {bytes_max}");
        assert!(err.text() + &more_err.text() == whole, "after {bytes_max}");
    }
}

#[tokio::test]
async fn what_was_dropped_is_a_gap_and_nothing_else_is() {
    let agent = Setup::new().flags(["--spool-stream-max", "1MiB"]).start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let exec = door.start(&sh("seq -f %015.0f 400000")).await.unwrap();
    // Slow at first, so that bytes are dropped before it; and gaps are where it was then.
    let all = [from(OUT, Start::Offset(0))];
    let mut follow = open(&control, following(request(&exec, &all))).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    let (mut at, mut missing) = (0, 0);
    while let Some(event) = next(&mut follow).await.unwrap() {
        match event {
            Event::Chunk(chunk) => {
                assert_eq!(chunk.offset, at);
                for (n, byte) in chunk.data.iter().enumerate() {
                    let offset = at + n as u64;
                    let line = format!("{:015}\n", offset / 16 + 1);
                    assert_eq!(*byte, line.as_bytes()[(offset % 16) as usize], "at {offset}");
                }
                at += chunk.data.len() as u64;
            }
            Event::Gap(gap) => {
                assert_eq!(gap.first_offset, at);
                missing += gap.end_offset - at;
                at = gap.end_offset;
            }
            Event::End(end) if end.stream() == OUT => assert_eq!(end.offset, 6_400_000),
            Event::End(_) => {}
        }
    }
    assert!(missing > 0 && at == 6_400_000, "{missing} bytes were missing of {at}");

    let whole = [from(OUT, Start::Offset(0))];
    let [out, _] = read(&control, request(&exec, &whole)).await.unwrap();
    let (first, gap) = out.pieces.first().unwrap();
    assert!(*first == 0 && gap.as_ref().is_err_and(|missing| *missing >= 5_000_000), "{gap:?}");
    assert_eq!(out.range(), (0, 6_400_000));
    let [out, _] = read(&control, request(&exec, &[])).await.unwrap();
    assert!(out.pieces.iter().all(|(_, piece)| piece.is_ok()), "only what is kept was asked for");
}

#[tokio::test]
async fn lines_say_when_they_came() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let exec = door.start(&sh("while read line; do echo $line; done")).await.unwrap();
    let mut live = door.open_read(&exec, 0, 0).await.unwrap();
    let (mut offset, mut moments) = (0, Vec::new());
    for line in ["one\n", "three\n", "seven\n"] {
        let before = SystemTime::now();
        door.write(&exec, offset, line.as_bytes(), Eof::No).await.unwrap();
        offset += line.len() as u64;
        assert_eq!(live.message().await.unwrap().unwrap().data, line);
        moments.push((before, SystemTime::now()));
        // Apart by more than what counts as one moment.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let [out, _] = read(&control, request(&exec, &[])).await.unwrap();
    assert_eq!(out.pieces.len(), 3, "each line is a chunk of its own: {out:?}");
    let error = Duration::from_millis(20);
    for (arrived, (before, after)) in out.arrived.iter().zip(moments) {
        let arrived = arrived.expect("a line that just came has its moment");
        assert!(arrived + error >= before && arrived <= after + error, "{arrived:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let exec = door.start(&sh("echo hello")).await.unwrap();
    door.read(&exec, 0, 0).await.unwrap();
    let cases = [
        ("an unknown exec", request("nobody", &[]), Code::NotFound, "nobody"),
        ("a bad id", request("a/b", &[]), Code::InvalidArgument, "'/'"),
        (
            "a stream that is none",
            request(&exec, &[StreamFrom::default()]),
            Code::InvalidArgument,
            "stream 0",
        ),
        (
            "a stream twice",
            request(&exec, &[from(OUT, Start::Offset(0)), from(OUT, Start::TailBytes(1))]),
            Code::InvalidArgument,
            "twice",
        ),
        (
            "beyond the end",
            request(&exec, &[from(OUT, Start::Offset(7))]),
            Code::OutOfRange,
            "ended at 6",
        ),
    ];
    for (what, request, code, words) in cases {
        refused(what, read(&control, following(request.clone())).await, code, &[words]);
        refused(what, read(&control, request).await, code, &[words]);
    }
    let other = ReadOutputRequest { task_id: "other".into(), ..request(&exec, &[]) };
    refused("another task", read(&control, other).await, Code::NotFound, &["other"]);
}

#[tokio::test]
async fn a_reader_of_an_ending_agent_is_told_so() {
    let flags = ["--drain", "100ms", "--grace", "100ms"];
    let agent = Setup::new().flags(flags).start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    // Offsets that never come: nothing ends this read but the agent.
    let exec = door.start(&sh("echo x; exec sleep 1000")).await.unwrap();
    let mut follow = open(&control, following(request(&exec, &[]))).await.unwrap();
    let Some(Event::Chunk(_)) = next(&mut follow).await.unwrap() else { panic!() };
    agent.signal(rustix::process::Signal::TERM);
    loop {
        match next(&mut follow).await {
            Ok(Some(Event::End(end))) => assert!(end.ended),
            Ok(None) => break,
            other => panic!("{other:?}"),
        }
    }
}
