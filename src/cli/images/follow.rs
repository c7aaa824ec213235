//! Work of the agent that takes its time: what it tells meanwhile, breaks of the link, and ^C.

use std::{convert::Infallible, future::Future, time::Instant};

use anyhow::Context;
use tonic::{Status, Streaming};

use crate::{
    cli::{
        failure::asking,
        progress::{Progress, Reached},
        stop::stopped,
    },
    client::{ClientError, Images},
    core::limits::CLIENT_BREAKS_MAX,
    wire::doorward::v1 as wire,
};

/// One message of the agent about its work.
pub(super) enum Event<F, D> {
    /// It is there.
    Progress(wire::Progress),
    /// It came across this.
    Found(F),
    /// It is done.
    Done(D),
    /// Something that this version does not know.
    Unknown,
}

/// The messages about one kind of work.
pub(super) trait Report {
    /// What it may come across.
    type Found;
    /// What comes of it.
    type Done;

    /// What a message says.
    fn event(self) -> Event<Self::Found, Self::Done>;
}

/// Follows the work until it is done. After a break it is asked for again with `open`, which must be harmless;
/// what was found may then be found again.
pub(super) async fn follow<R: Report, F>(
    images: &Images,
    progress: &Progress,
    open: impl Fn() -> F,
    mut found: impl FnMut(R::Found) -> anyhow::Result<()>,
) -> anyhow::Result<R::Done>
where
    F: Future<Output = Result<Streaming<R>, ClientError>>,
{
    let (mut patience, mut breaks, mut first) = (images.patience(), 0, None);
    loop {
        let mut messages = open().await?;
        let status = loop {
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => break Status::unavailable("the agent does not say what came of it"),
                Err(status) => break status,
            };
            patience.progress();
            match message.event() {
                Event::Progress(reached) => progress.reach(reached.into()),
                Event::Found(what) => found(what)?,
                Event::Done(done) => return Ok(done),
                Event::Unknown => {}
            }
        };
        breaks += 1;
        let since: &mut Instant = first.get_or_insert_with(Instant::now);
        if breaks > CLIENT_BREAKS_MAX {
            return Err(ClientError::Lost { after: since.elapsed(), last: status }.into());
        }
        patience.after(status).await?;
    }
}

/// Does the work, shows how far it is and, when a signal ends us first, says what becomes of it.
pub(super) async fn shown<T>(
    progress: &Progress,
    work: impl Future<Output = anyhow::Result<T>>,
    left: &str,
) -> anyhow::Result<T> {
    let stop = stopped().context("listen for signals")?;
    let done = tokio::select! {
        done = work => done,
        never = progress.show() => match never {},
        stopped = stop => Err(stopped.into()),
    };
    progress.end();
    if matches!(&done, Err(error) if error.is::<crate::cli::stop::Stopped>()) {
        progress.say(left);
    }
    done
}

/// Says what the agent came across.
pub(super) fn noticed(progress: &Progress) -> impl FnMut(String) -> anyhow::Result<()> {
    |text| {
        progress.notice(&text);
        Ok(())
    }
}

/// An error of [`follow`] with what was asked for.
pub(super) fn failed(what: String) -> impl FnOnce(anyhow::Error) -> anyhow::Error {
    |error| match error.downcast::<ClientError>() {
        Ok(error) => asking(what)(error),
        Err(error) => error,
    }
}

impl From<wire::Progress> for Reached {
    fn from(progress: wire::Progress) -> Self {
        let wire::Progress { step, done_bytes: bytes, total_bytes: whole, entries } = progress;
        Self { step, bytes, whole, entries }
    }
}

impl Report for wire::SnapshotResponse {
    type Found = String;
    type Done = wire::Image;

    fn event(self) -> Event<String, wire::Image> {
        use wire::snapshot_response::Event as Told;
        match self.event {
            Some(Told::Progress(progress)) => Event::Progress(progress),
            Some(Told::Notice(notice)) => Event::Found(notice.text),
            Some(Told::Done(image)) => Event::Done(image),
            None => Event::Unknown,
        }
    }
}

impl Report for wire::MountResponse {
    type Found = String;
    type Done = wire::MountedImage;

    fn event(self) -> Event<String, wire::MountedImage> {
        use wire::mount_response::Event as Told;
        match self.event {
            Some(Told::Progress(progress)) => Event::Progress(progress),
            Some(Told::Notice(notice)) => Event::Found(notice.text),
            Some(Told::Done(mounted)) => Event::Done(mounted),
            None => Event::Unknown,
        }
    }
}

impl Report for wire::TransferResponse {
    type Found = Infallible;
    type Done = wire::Image;

    fn event(self) -> Event<Infallible, wire::Image> {
        use wire::transfer_response::Event as Told;
        match self.event {
            Some(Told::Progress(progress)) => Event::Progress(progress),
            Some(Told::Done(image)) => Event::Done(image),
            None => Event::Unknown,
        }
    }
}

impl Report for wire::VerifyImagesResponse {
    type Found = wire::verify_images_response::Damage;
    type Done = wire::verify_images_response::Verified;

    fn event(self) -> Event<Self::Found, Self::Done> {
        use wire::verify_images_response::Event as Told;
        match self.event {
            Some(Told::Progress(progress)) => Event::Progress(progress),
            Some(Told::Damage(damage)) => Event::Found(damage),
            Some(Told::Done(verified)) => Event::Done(verified),
            None => Event::Unknown,
        }
    }
}
