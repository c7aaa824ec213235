//! Input by offset: what is repeated arrives once, what is missing is asked for, and the end
//! comes once and after everything before it.

use doorward::wire::modal::task_command_router::{
    TaskExecStdinWriteStreamEnd, TaskExecStdinWriteStreamRequest, TaskExecStdinWriteStreamStart,
    task_exec_stdin_write_stream_request::Payload,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::support::{
    Agent, Door, Exit, Noise, TASK,
    door::{Eof, refused},
    sh, until,
};

/// A stream of writes that a test feeds.
struct Upload {
    feed: Option<mpsc::Sender<TaskExecStdinWriteStreamRequest>>,
    answer: tokio::task::JoinHandle<Result<(), Status>>,
}

impl Upload {
    fn open(door: &Door) -> Self {
        let (feed, messages) = mpsc::channel(4);
        let mut raw = door.raw.clone();
        let answer = tokio::spawn(async move {
            raw.task_exec_stdin_write_stream(ReceiverStream::new(messages)).await.map(drop)
        });
        Self { feed: Some(feed), answer }
    }

    fn at(door: &Door, exec: &str, offset: u64) -> (Self, Payload) {
        let start =
            TaskExecStdinWriteStreamStart { task_id: TASK.into(), exec_id: exec.into(), offset };
        (Self::open(door), Payload::Start(start))
    }

    async fn send(&self, payload: Payload) {
        let message = TaskExecStdinWriteStreamRequest { payload: Some(payload) };
        let _ = self.feed.as_ref().unwrap().send(message).await;
    }

    async fn data(&self, bytes: &[u8]) {
        self.send(Payload::Data(bytes.to_vec().into())).await;
    }

    async fn end(&self) {
        self.send(Payload::End(TaskExecStdinWriteStreamEnd {})).await;
    }

    /// Half-closes and waits for the answer.
    async fn finish(mut self) -> Result<(), Status> {
        self.feed = None;
        tokio::time::timeout(crate::support::PATIENCE, self.answer).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn repeats_overlaps_and_gaps() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("cat")).await.unwrap();
    door.write(&exec, 0, b"abc", Eof::No).await.unwrap();
    door.write(&exec, 0, b"abc", Eof::No).await.unwrap();
    door.write(&exec, 1, b"bcde", Eof::No).await.unwrap();
    door.write(&exec, 2, b"c", Eof::No).await.unwrap();
    let gap = door.write(&exec, 6, b"g", Eof::No).await;
    refused("a gap", gap, Code::FailedPrecondition, &["5"]);
    assert_eq!(door.input(&exec).await.unwrap().num_bytes_written, 5);
    door.write(&exec, 5, b"f", Eof::Yes).await.unwrap();
    door.write(&exec, 5, b"f", Eof::Yes).await.unwrap();
    door.write(&exec, 0, b"", Eof::Yes).await.unwrap();
    assert_eq!(door.read(&exec, 0, 0).await.unwrap().bytes, b"abcdef");
    let status = door.input(&exec).await.unwrap();
    assert_eq!((status.num_bytes_written, status.closed), (6, true));
}

#[tokio::test]
async fn an_end_at_offset_zero_closes_whatever_was_written_before() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("cat; echo end")).await.unwrap();
    door.write(&exec, 0, b"abc\n", Eof::No).await.unwrap();
    door.write(&exec, 0, b"", Eof::Yes).await.unwrap();
    assert_eq!(door.read(&exec, 0, 0).await.unwrap().bytes, b"abc\nend\n");
}

#[tokio::test]
async fn a_message_of_sixteen_mebibytes_arrives_whole() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let data = Noise::new(16).bytes(16 << 20);
    let exec = door.start(&sh("cat")).await.unwrap();
    let (write, read) = tokio::join!(door.write(&exec, 0, &data, Eof::Yes), door.read(&exec, 0, 0));
    write.unwrap();
    assert!(read.unwrap().bytes == data);
}

#[tokio::test]
async fn writing_to_a_closed_input_is_refused_after_the_exit_can_be_seen() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    for round in 0..20 {
        let exec = door.start(&sh("exec 0<&-; exit 4")).await.unwrap();
        let mut offset = 0;
        let data = vec![b'x'; 1 << 20];
        let error = loop {
            match door.write(&exec, offset, &data, Eof::No).await {
                Ok(()) => offset += 1 << 20,
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
        assert_eq!(door.poll(&exec).await.unwrap(), Some(Exit::Code(4)), "round {round}");
    }
}

#[tokio::test]
async fn a_stream_writes_and_only_its_end_message_closes() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("cat")).await.unwrap();
    let (upload, start) = Upload::at(&door, &exec, 0);
    upload.send(start).await;
    upload.data(b"hello ").await;
    // A half-close without the end leaves the input open, whatever it is answered.
    let _ = upload.finish().await;
    let status = door.input(&exec).await.unwrap();
    assert_eq!((status.num_bytes_written, status.closed), (6, false));
    let (upload, start) = Upload::at(&door, &exec, 6);
    upload.send(start).await;
    upload.data(b"world").await;
    upload.end().await;
    upload.finish().await.unwrap();
    assert_eq!(door.read(&exec, 0, 0).await.unwrap().bytes, b"hello world");
    assert!(door.input(&exec).await.unwrap().closed);
}

#[tokio::test]
async fn a_stream_that_begins_wrong_is_refused() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("cat")).await.unwrap();
    let upload = Upload::open(&door);
    upload.data(b"x").await;
    refused("no start", upload.finish().await, Code::InvalidArgument, &[]);
    refused("nothing", Upload::open(&door).finish().await, Code::InvalidArgument, &[]);
    let (upload, start) = Upload::at(&door, &exec, 3);
    upload.send(start).await;
    refused("a gap", upload.finish().await, Code::FailedPrecondition, &["0"]);
    let (upload, start) = Upload::at(&door, "nobody", 0);
    upload.send(start).await;
    refused("unknown exec", upload.finish().await, Code::NotFound, &["nobody"]);
}

#[tokio::test]
async fn asking_for_the_status_evicts_a_stream_for_good() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    // Nobody reads its input until told to: what is in flight stays in flight.
    let gate = agent.dir.path().join("gate");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done; cat", gate.display());
    let exec = door.start(&sh(&script)).await.unwrap();
    let (upload, start) = Upload::at(&door, &exec, 0);
    upload.send(start).await;
    upload.data(&vec![b'a'; 200_000]).await;
    // Only asking would show that it arrived, and asking evicts.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let first = door.input(&exec).await.unwrap();
    assert!(!first.closed && first.num_bytes_written > 0, "{first:?}");
    for _ in 0..5 {
        upload.data(&vec![b'b'; 1000]).await;
    }
    assert_eq!(door.input(&exec).await.unwrap(), first, "the count is final when answered");
    refused("evicted", upload.finish().await, Code::Aborted, &[]);
    std::fs::write(&gate, "").unwrap();
    door.write(&exec, first.num_bytes_written, b"end", Eof::Yes).await.unwrap();
    let output = door.read(&exec, 0, 0).await.unwrap().bytes;
    let wanted = usize::try_from(first.num_bytes_written).unwrap();
    assert_eq!(output.len(), wanted + 3);
    assert!(output.starts_with(&vec![b'a'; wanted]) && output.ends_with(b"end"));
}

#[tokio::test]
async fn a_command_that_nobody_writes_to_has_an_open_input() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let flag = agent.dir.path().join("ended");
    let exec = door.start(&sh(&format!("cat; touch {}", flag.display()))).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!flag.exists());
    door.write(&exec, 0, b"", Eof::Yes).await.unwrap();
    until("it ended", || flag.exists()).await;
}
