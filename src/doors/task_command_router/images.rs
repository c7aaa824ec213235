//! Directories as images: what is asked for, between a request and the engine of images.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Response, Status};

use super::TaskCommandRouter;
use crate::{
    core::failure::Kind,
    doors::{
        images::{ask, heard::Heard},
        status::{self, leaving, status},
        warnings::Warnings,
    },
    image::images::{Snapshot, Subject},
    wire::modal::task_command_router::{TaskMountDirectoryRequest, TaskUnmountDirectoryRequest},
};

/// What both requests for a snapshot have in common.
pub(super) struct Asked {
    pub(super) subject: Subject,
    pub(super) snapshot_id: String,
    pub(super) ttl_seconds: Option<i64>,
    pub(super) key: Option<Bytes>,
}

impl TaskCommandRouter {
    /// Makes an image, or joins who makes it; returns its id.
    pub(super) async fn snapshot<T>(
        &self,
        asked: Asked,
        answer: impl FnOnce(String) -> T,
    ) -> Result<Response<T>, Status> {
        let wanted = Snapshot {
            subject: asked.subject,
            snapshot_id: ask::snapshot_id(asked.snapshot_id)?,
            ttl: ask::ttl(asked.ttl_seconds)?,
            key: ask::key(asked.key.as_deref())?,
            compression: None,
            tag: None,
        };
        let heard = Heard::new();
        let told = heard.told();
        let images = self.images.clone();
        let work = async move { images.get().await?.snapshot(wanted, told).await };
        let kept = self.while_open(work).await?;
        Ok(warned(&heard, answer(kept.image.id.to_string())))
    }

    /// Shows an image at a path.
    pub(super) async fn mount(
        &self,
        request: TaskMountDirectoryRequest,
    ) -> Result<Response<()>, Status> {
        let path = ask::mount_path(&request.path)?;
        let image = ask::mountable(&request.image_id)?;
        let key = ask::key(request.customer_supplied_encryption_key.as_deref())?;
        let heard = Heard::new();
        let told = heard.told();
        let images = self.images.clone();
        let work = async move { images.get().await?.mount(image, path, key, told).await };
        self.while_open(work).await?;
        Ok(warned(&heard, ()))
    }

    /// Shows again what a mount has hidden.
    pub(super) async fn unmount(
        &self,
        request: TaskUnmountDirectoryRequest,
    ) -> Result<Response<()>, Status> {
        let path = ask::mount_path(&request.path)?;
        let images = self.images.clone();
        let work = async move { images.get().await?.unmount(path).await };
        self.while_open(work).await.map(Response::new)
    }

    /// Refuses every container but the one that the agent is in.
    pub(super) fn check_container(&self, container: &str) -> Result<(), Status> {
        match container {
            "" => Ok(()),
            other => Err(status(Kind::Unknown, format_args!("no container {other:?} here"))),
        }
    }

    /// What comes of `work`, unless the agent ends before.
    async fn while_open<T>(
        &self,
        work: impl Future<Output = Result<T, crate::image::images::ImagesError>>,
    ) -> Result<T, Status> {
        // Counts as a reader: an ending agent waits until this was answered.
        let _reading = self.engine.reading();
        tokio::select! {
            biased;
            result = work => result.map_err(status::images),
            () = self.engine.leaving() => Err(leaving()),
        }
    }
}

/// An answer with what its caller's user should know.
fn warned<T>(heard: &Arc<Heard>, answer: T) -> Response<T> {
    let mut response = Response::new(answer);
    let notices = heard.notices();
    if !notices.is_empty() {
        response.extensions_mut().insert(Warnings(notices.into()));
    }
    response
}
