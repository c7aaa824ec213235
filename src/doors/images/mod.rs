//! The door to images: `doorward.v1.Images`. What each RPC means is in
//! `proto/doorward/v1/images.proto`; the main door's RPCs about images stand on the same engine.
//!
//! The engine goes on with snapshots and mounts whose caller leaves, so that each handler may be dropped at any
//! await.

pub(super) mod ask;
pub(super) mod heard;
mod import;
mod on_demand;
mod render;

use std::{pin::Pin, sync::Arc};

use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, async_trait};

use self::heard::{Heard, Words, follow};
pub use self::on_demand::{Engines, OnDemand, Open, Opening};
use super::{inflight::Charge, lookup::Task, status};
use crate::{
    core::limits::IMAGE_REQUEST_BYTES_MAX,
    exec::engine::Engine,
    image::images::{self, Plain, Prune, Pull, Push, Snapshot, Subject},
    wire::doorward::v1::{
        self as wire,
        images_server::{Images as Rpcs, ImagesServer},
        snapshot_request::What,
    },
};

/// The door: translates, and leaves the rest to the engine of images.
#[derive(Clone)]
pub struct Images {
    engine: Arc<Engine>,
    images: OnDemand,
    task: Task,
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Images {
    /// A door to the engine of images for the task of this id, or for any. The one of execs is asked whether the
    /// agent ends.
    pub fn new(engines: Engines, task: Option<&str>) -> Self {
        let Engines { execs: engine, images } = engines;
        Self { engine, images, task: Task::new(task) }
    }

    /// The service that tonic serves.
    pub fn service(&self) -> ImagesServer<Self> {
        ImagesServer::new(self.clone()).max_decoding_message_size(IMAGE_REQUEST_BYTES_MAX)
    }

    async fn images(&self) -> Result<images::Images, Status> {
        self.images.get().await.map_err(status::images)
    }
}

#[async_trait]
impl Rpcs for Images {
    type SnapshotStream = Answers<wire::SnapshotResponse>;
    type MountStream = Answers<wire::MountResponse>;
    type PushImageStream = Answers<wire::TransferResponse>;
    type PullImageStream = Answers<wire::TransferResponse>;
    type ExportImageStream = Answers<wire::ExportImageResponse>;
    type DiffImagesStream = Answers<wire::DiffImagesResponse>;
    type VerifyImagesStream = Answers<wire::VerifyImagesResponse>;

    async fn snapshot(
        &self,
        request: Request<wire::SnapshotRequest>,
    ) -> Answer<Self::SnapshotStream> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let subject = match &request.what {
            Some(What::Path(path)) => ask::directory(path)?,
            Some(What::Filesystem(_)) => Subject::Filesystem,
            None => return Err(ask::invalid("neither path nor filesystem is given")),
        };
        let wanted = Snapshot {
            subject,
            snapshot_id: ask::snapshot_id(request.snapshot_id)?,
            ttl: ask::ttl(request.ttl_seconds)?,
            key: ask::key_or_none(&request.key)?,
            compression: ask::packing(request.compression)?,
            tag: ask::tag(&request.tag)?,
        };
        let (images, heard) = (self.images().await?, Heard::new());
        let told = heard.told();
        let work = async move { images.snapshot(wanted, told).await };
        let words = Words { event: render::snapshot_event, done: render::snapshot_done };
        Ok(Response::new(follow(&self.engine, heard, work, words)))
    }

    async fn mount(&self, request: Request<wire::MountRequest>) -> Answer<Self::MountStream> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let path = ask::mount_path(&request.path)?;
        let image = ask::mountable(&request.image)?;
        let key = ask::key_or_none(&request.key)?;
        let (images, heard) = (self.images().await?, Heard::new());
        let told = heard.told();
        let work = async move { images.mount(image, path, key, told).await };
        let words = Words { event: render::mount_event, done: render::mount_done };
        Ok(Response::new(follow(&self.engine, heard, work, words)))
    }

    async fn unmount(
        &self,
        request: Request<wire::UnmountRequest>,
    ) -> Answer<wire::UnmountResponse> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let path = ask::mount_path(&request.path)?;
        let _reading = self.engine.reading();
        self.images().await?.unmount(path).await.map_err(status::images)?;
        Ok(Response::new(wire::UnmountResponse {}))
    }

    async fn list_mounts(
        &self,
        request: Request<wire::ListMountsRequest>,
    ) -> Answer<wire::ListMountsResponse> {
        self.task.check(&request.into_inner().task_id)?;
        let mounts = self.images().await?.mounts().into_iter().map(render::mounted).collect();
        Ok(Response::new(wire::ListMountsResponse { mounts }))
    }

    async fn list_images(
        &self,
        request: Request<wire::ListImagesRequest>,
    ) -> Answer<wire::ListImagesResponse> {
        self.task.check(&request.into_inner().task_id)?;
        let (kept, size_bytes) = self.images().await?.list().await.map_err(status::images)?;
        let images = kept.into_iter().map(render::image).collect();
        Ok(Response::new(wire::ListImagesResponse { images, size_bytes }))
    }

    async fn get_image(
        &self,
        request: Request<wire::GetImageRequest>,
    ) -> Answer<wire::GetImageResponse> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let image = ask::reference(&request.image)?;
        let described = self.images().await?.get(image).await.map_err(status::images)?;
        Ok(Response::new(render::described(described)))
    }

    async fn remove_image(
        &self,
        request: Request<wire::RemoveImageRequest>,
    ) -> Answer<wire::RemoveImageResponse> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let image = ask::reference(&request.image)?;
        let freed_bytes = self.images().await?.remove(image).await.map_err(status::images)?;
        Ok(Response::new(wire::RemoveImageResponse { freed_bytes }))
    }

    async fn tag_image(
        &self,
        request: Request<wire::TagImageRequest>,
    ) -> Answer<wire::TagImageResponse> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let image = ask::reference(&request.image)?;
        let tag = ask::tag(&request.tag)?.ok_or_else(|| ask::invalid("no tag is given"))?;
        self.images().await?.tag(image, tag).await.map_err(status::images)?;
        Ok(Response::new(wire::TagImageResponse {}))
    }

    async fn push_image(
        &self,
        request: Request<wire::PushImageRequest>,
    ) -> Answer<Self::PushImageStream> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let push = Push {
            image: ask::reference(&request.image)?,
            to: ask::remote(&request.to)?,
            plain: if request.plain_http { Plain::Asked } else { Plain::NotAsked },
        };
        let (images, heard) = (self.images().await?, Heard::new());
        let told = heard.told();
        let work = async move { images.push(push, told).await };
        let words = Words { event: render::transfer_event, done: render::transfer_done };
        Ok(Response::new(follow(&self.engine, heard, work, words)))
    }

    async fn pull_image(
        &self,
        request: Request<wire::PullImageRequest>,
    ) -> Answer<Self::PullImageStream> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let pull = Pull {
            from: ask::remote(&request.from)?,
            plain: if request.plain_http { Plain::Asked } else { Plain::NotAsked },
            ttl: ask::ttl(request.ttl_seconds)?,
            tag: ask::tag(&request.tag)?,
        };
        let (images, heard) = (self.images().await?, Heard::new());
        let told = heard.told();
        let work = async move { images.pull(pull, told).await };
        let words = Words { event: render::transfer_event, done: render::transfer_done };
        Ok(Response::new(follow(&self.engine, heard, work, words)))
    }

    async fn export_image(
        &self,
        request: Request<wire::ExportImageRequest>,
    ) -> Answer<Self::ExportImageStream> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let (image, form) = (ask::reference(&request.image)?, ask::form(request.format)?);
        let exported = self.images().await?.export(image, form).await;
        let (archive, mut total_bytes) = exported.map_err(status::images)?;
        let pieces = ReceiverStream::new(archive).map(move |piece| {
            let data = piece.map_err(status::images)?;
            Ok(wire::ExportImageResponse { data, total_bytes: total_bytes.take() })
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn import_image(
        &self,
        request: Request<Streaming<wire::ImportImageRequest>>,
    ) -> Answer<wire::ImportImageResponse> {
        let charge = request.extensions().get::<Charge>().cloned();
        import::import(self, request.into_inner(), charge).await.map(Response::new)
    }

    async fn diff_images(
        &self,
        request: Request<wire::DiffImagesRequest>,
    ) -> Answer<Self::DiffImagesStream> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let from = (ask::reference(&request.from)?, ask::key_or_none(&request.from_key)?);
        let to = (ask::reference(&request.to)?, ask::key_or_none(&request.to_key)?);
        let differences = self.images().await?.diff(from, to).await.map_err(status::images)?;
        let told = differences.into_iter().map(|difference| Ok(render::difference(difference)));
        Ok(Response::new(Box::pin(tokio_stream::iter(told))))
    }

    async fn prune_images(
        &self,
        request: Request<wire::PruneImagesRequest>,
    ) -> Answer<wire::PruneImagesResponse> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let when = if request.dry_run { Prune::Dry } else { Prune::Now };
        let pruned = self.images().await?.prune(request.keep_bytes, when).await;
        let (removed, freed_bytes) = pruned.map_err(status::images)?;
        let removed_image_ids = removed.iter().map(ToString::to_string).collect();
        Ok(Response::new(wire::PruneImagesResponse { removed_image_ids, freed_bytes }))
    }

    async fn verify_images(
        &self,
        request: Request<wire::VerifyImagesRequest>,
    ) -> Answer<Self::VerifyImagesStream> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        let image = ask::mountable(&request.image)?;
        let (images, heard) = (self.images().await?, Heard::new());
        let told = heard.told();
        let work = async move { images.verify(image, told).await };
        let words = Words { event: render::verify_event, done: render::verify_done };
        Ok(Response::new(follow(&self.engine, heard, work, words)))
    }
}
