//! An archive on its way into the store.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Images, ask, render, wire};
use crate::{
    core::limits::{IMPORT_PIECE_BYTES_MAX, IMPORT_PIECES_AHEAD},
    doors::{inflight::Charge, status},
    wire::doorward::v1::import_image_request::Message,
};

/// The gRPC prefix of a message, which counts as in flight too.
const PREFIX_BYTES: usize = 5;

/// Takes the archive that `messages` brings. If the future is dropped, nothing of it is kept.
pub(super) async fn import(
    door: &Images,
    mut messages: Streaming<wire::ImportImageRequest>,
    charge: Option<Charge>,
) -> Result<wire::ImportImageResponse, Status> {
    let open = match messages.message().await?.and_then(|first| first.message) {
        Some(Message::Open(open)) => open,
        Some(Message::Data(_)) | None => return Err(ask::invalid("the first message is not open")),
    };
    door.task.check(&open.task_id)?;
    let (ttl, tag) = (ask::ttl(open.ttl_seconds)?, ask::tag(&open.tag)?);
    let images = door.images().await?;
    let (pieces, taken) = mpsc::channel(IMPORT_PIECES_AHEAD);
    let mut import = std::pin::pin!(images.import(taken, ttl, tag));
    let kept = tokio::select! {
        biased;
        // It is not the end of the archive that ends it: it has refused it.
        early = &mut import => early,
        sent = send(&mut messages, pieces, charge) => {
            sent?;
            import.await
        }
    };
    let images = kept.map_err(status::images)?.into_iter().map(render::image).collect();
    Ok(wire::ImportImageResponse { images })
}

/// Hands every piece over as it comes, and says where they end. A break is no end.
async fn send(
    messages: &mut Streaming<wire::ImportImageRequest>,
    pieces: mpsc::Sender<Option<Bytes>>,
    charge: Option<Charge>,
) -> Result<(), Status> {
    while let Some(request) = messages.message().await? {
        let counted = request.encoded_len() + PREFIX_BYTES;
        let data = match request.message {
            Some(Message::Data(data)) => data,
            Some(Message::Open(_)) => return Err(ask::invalid("open was sent twice")),
            None => return Err(ask::invalid("a message has neither open nor data")),
        };
        if data.len() > IMPORT_PIECE_BYTES_MAX {
            let bytes = data.len();
            return Err(ask::invalid(format_args!(
                "a piece has {bytes} bytes, at most {IMPORT_PIECE_BYTES_MAX} are taken"
            )));
        }
        // Nobody takes it any more: what came of the import says why.
        if !data.is_empty() && pieces.send(Some(data)).await.is_err() {
            return Ok(());
        }
        if let Some(charge) = &charge {
            charge.release(counted);
        }
    }
    let _ = pieces.send(None).await;
    Ok(())
}
