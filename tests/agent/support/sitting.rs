//! A plain caller of Attach: what it says and what it is told, nothing retried.

use doorward::wire::doorward::v1::{
    AttachInput, AttachOffsets, AttachOpen, AttachOpened, AttachRequest, AttachResponse, Ended,
    OutputStream, TerminalSize, attach_open::Start, attach_request::Message as Request,
    attach_response::Message as Answer,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Control, PATIENCE, TASK};

/// An open call.
pub(crate) struct Sitting {
    requests: Option<mpsc::Sender<AttachRequest>>,
    answers: Streaming<AttachResponse>,
    pub(crate) opened: AttachOpened,
    /// Where the next byte of input belongs.
    pub(crate) offset: u64,
    /// Output that was told, of both streams.
    pub(crate) output: [Vec<u8>; 2],
    /// Where the next byte of each stream is to be.
    pub(crate) at: [Option<u64>; 2],
    /// Input up to here was accepted.
    pub(crate) accepted: u64,
    pub(crate) ended: Option<Ended>,
}

/// A request to sit before an exec from its first bytes on.
pub(crate) fn sit(exec: &str) -> AttachOpen {
    AttachOpen {
        task_id: TASK.into(),
        exec_id: exec.into(),
        start: Some(Start::Offsets(AttachOffsets { stdout: 0, stderr: 0 })),
        ..AttachOpen::default()
    }
}

/// The same to write.
pub(crate) fn sit_and_write(exec: &str) -> AttachOpen {
    AttachOpen { write: true, ..sit(exec) }
}

impl Sitting {
    pub(crate) async fn open(control: &Control, open: AttachOpen) -> Result<Self, Status> {
        let at = match &open.start {
            Some(Start::Offsets(at)) => [Some(at.stdout), Some(at.stderr)],
            Some(Start::Screen(_)) | None => [None, None],
        };
        let (requests, outgoing) = mpsc::channel(16);
        let first = AttachRequest { message: Some(Request::Open(open)) };
        requests.send(first).await.unwrap();
        let call = control.raw.clone().attach(ReceiverStream::new(outgoing)).await?;
        let mut answers = call.into_inner();
        let answer = timeout(PATIENCE, answers.message()).await.expect("an answer comes")?;
        let Some(Answer::Opened(opened)) = answer.and_then(|answer| answer.message) else {
            panic!("the first answer is opened")
        };
        let offset = opened.stdin_accepted;
        Ok(Self {
            requests: Some(requests),
            answers,
            opened,
            offset,
            output: [Vec::new(), Vec::new()],
            at,
            accepted: 0,
            ended: None,
        })
    }

    pub(crate) async fn say(&self, request: Request) {
        let requests = self.requests.as_ref().expect("it was not hung up");
        // A call that has ended says so with its answers.
        let _ = requests.send(AttachRequest { message: Some(request) }).await;
    }

    /// Types after everything that was typed before.
    pub(crate) async fn type_in(&mut self, text: &str) {
        let data = text.as_bytes().to_vec().into();
        self.say(Request::Input(AttachInput { offset: self.offset, data, end: false })).await;
        self.offset += text.len() as u64;
    }

    /// Ends the input.
    pub(crate) async fn end_input(&self) {
        let end = AttachInput { offset: self.offset, data: Vec::new().into(), end: true };
        self.say(Request::Input(end)).await;
    }

    pub(crate) async fn resize(&self, rows: u32, columns: u32) {
        self.say(Request::Resize(TerminalSize { rows, columns })).await;
    }

    /// Says that nothing more will be said.
    pub(crate) fn hang_up(&mut self) {
        self.requests = None;
    }

    /// What it is told next; output, acceptance and the end are noted.
    pub(crate) async fn next(&mut self) -> Result<Option<Answer>, Status> {
        let said = String::from_utf8_lossy(&self.output[0]).into_owned();
        let answer = timeout(PATIENCE, self.answers.message()).await;
        let answer = answer.unwrap_or_else(|_| panic!("nothing comes after {said:?}"))?;
        let Some(answer) = answer else { return Ok(None) };
        let answer = answer.message.expect("no answer is empty");
        match &answer {
            Answer::Chunk(chunk) => {
                assert!(!chunk.data.is_empty());
                let index = index(chunk.stream());
                self.advance(index, chunk.offset, chunk.offset + chunk.data.len() as u64);
                self.output[index].extend_from_slice(&chunk.data);
            }
            Answer::Gap(gap) => {
                self.advance(index(gap.stream()), gap.first_offset, gap.end_offset);
            }
            Answer::Drawn(drawn) => self.at = [Some(drawn.offset), Some(0)],
            Answer::InputAccepted(accepted) => {
                assert!(*accepted > self.accepted, "{accepted} after {}", self.accepted);
                self.accepted = *accepted;
            }
            Answer::Ended(ended) => {
                assert!(self.ended.replace(ended.clone()).is_none(), "it ends once");
            }
            Answer::End(end) => {
                let at = self.at[index(end.stream())];
                assert!(at.is_none_or(|at| at == end.offset), "{end:?} at {at:?}");
            }
            Answer::Opened(_) => panic!("opened twice"),
            Answer::Displaced(_) | Answer::Resized(_) | Answer::InputClosed(_) => {}
        }
        Ok(Some(answer))
    }

    fn advance(&mut self, index: usize, from: u64, to: u64) {
        assert!(self.at[index].is_none_or(|at| at == from), "{from} after {:?}", self.at[index]);
        assert!(from < to);
        self.at[index] = Some(to);
    }

    /// Follows until `found` says yes to an answer.
    pub(crate) async fn until(&mut self, what: &str, found: impl Fn(&Self, &Answer) -> bool) {
        while let Some(answer) = self.next().await.unwrap() {
            if found(self, &answer) {
                return;
            }
        }
        panic!("no {what} after {:?}", self.text());
    }

    /// Follows until standard output has this.
    pub(crate) async fn until_shown(&mut self, text: &str) {
        if !self.text().contains(text) {
            self.until(text, |sitting, _| sitting.text().contains(text)).await;
        }
    }

    /// Follows to the end of the call, which must be a good one.
    pub(crate) async fn rest(&mut self) {
        while self.next().await.unwrap().is_some() {}
        assert!(self.ended.is_some(), "a call that ends says how the exec did");
    }

    /// What standard output showed.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output[0]).into_owned()
    }
}

fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Unspecified => panic!("a stream is named"),
    }
}
