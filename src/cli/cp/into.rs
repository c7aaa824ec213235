//! Copies in: a thread packs here, the tool unpacks there, the archive goes up between them.

use std::{
    io::{self, Read, stdin},
    pin::pin,
    thread,
};

use anyhow::anyhow;
use tokio::sync::oneshot;

use super::{
    forms::Input,
    tool::{Lines, Tool},
    window::Window,
};
use crate::{
    archive::{Packing, Pieces, Tally, pack},
    cli::progress::Progress,
    client::ClientError,
    core::limits::CHUNK_BYTES,
};

/// Copies all of `from` to the tool, and returns what both sides had trouble with.
pub(super) async fn copy(
    tool: &Tool,
    lines: &mut Lines,
    from: Input,
    packing: Packing,
    progress: &Progress,
) -> anyhow::Result<Tally> {
    let window = Window::default();
    // However this ends, the thread does not wait for room that nobody makes.
    let _close = Close(&window);
    let packed = make(from, packing, &window, progress);
    let mut source = window.clone();
    let mut input = tool.client.stdin(&tool.id);
    let mut upload = pin!(input.upload(&mut source));
    let mut listen = pin!(tool.listen(lines, progress, |offset| window.read_up_to(offset)));
    let told = tokio::select! {
        told = &mut listen => told,
        sent = &mut upload => match sent {
            // It does not read on; it says why.
            Ok(()) | Err(ClientError::Refused(_)) => listen.await,
            Err(error) => Err(anyhow!("{error}")),
        },
    }?;
    // It was made to its end, or the tool would not have found one.
    let here = packed.await.unwrap_or_default();
    Ok(Tally { problems: told.problems + here.problems, ..told })
}

/// Makes the archive in a thread. What was packed comes when it is made; a stream of somebody else's
/// has nothing to tell.
fn make(
    from: Input,
    packing: Packing,
    window: &Window,
    progress: &Progress,
) -> oneshot::Receiver<Tally> {
    let (tell, packed) = oneshot::channel();
    let (mut to, mut watch) = (window.clone(), progress.clone());
    thread::spawn(move || {
        let made = match from {
            Input::Files(sources) => pack(&sources, packing, &mut to, &mut watch),
            Input::Archive => pass_on(&mut to).map(|()| Tally::default()),
        };
        // Told before the end of the archive is, so that whoever finds that end finds this.
        let tally = made.as_ref().map_or_else(|_| Tally::default(), |tally| *tally);
        let _ = tell.send(tally);
        to.finish(made.map(drop));
    });
    packed
}

/// Hands on standard input as it is.
fn pass_on(to: &mut dyn Pieces) -> io::Result<()> {
    let mut input = stdin().lock();
    loop {
        let mut piece = vec![0; CHUNK_BYTES];
        match input.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                piece.truncate(count);
                to.take(piece)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Closes a window when it is dropped.
struct Close<'a>(&'a Window);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
