//! The Images service as the tests need it: what it answers depends on the names that it is asked for, and it
//! remembers every request.

use std::{any::Any, pin::Pin, sync::Mutex};

use bytes::Bytes;
use doorward::wire::doorward::v1::{self as wire, images_server::Images};
use prost_types::Timestamp;
use tokio::{sync::mpsc, task::AbortHandle};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// How long the archive is that every image is exported as, in bytes: more than what may be under way.
pub(crate) const ARCHIVE: usize = 40 << 20;
/// Bytes in one of its messages.
const PIECE: usize = 256 << 10;

#[derive(Default)]
pub(crate) struct Fake {
    requests: Mutex<Vec<Box<dyn Any + Send>>>,
    connections: Mutex<Vec<AbortHandle>>,
}

type Answer<T> = Result<Response<T>, Status>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Fake {
    /// Every request of this type, in order.
    pub(crate) fn seen<T: Clone + 'static>(&self) -> Vec<T> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter_map(|request| request.downcast_ref().cloned()).collect()
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    pub(crate) fn connected(&self, connection: AbortHandle) {
        self.connections.lock().unwrap().push(connection);
    }

    fn take<T: Clone + Send + 'static>(&self, request: Request<T>) -> T {
        let request = request.into_inner();
        self.requests.lock().unwrap().push(Box::new(request.clone()));
        request
    }
}

/// A stream that says this and ends.
fn say<T: Send + 'static>(events: Vec<Result<T, Status>>) -> Answer<Events<T>> {
    Ok(Response::new(Box::pin(tokio_stream::iter(events))))
}

/// A stream that says this and never ends.
fn hang<T: Send + 'static>(event: T) -> Answer<Events<T>> {
    use tokio_stream::StreamExt;
    let said = tokio_stream::once(Ok(event));
    Ok(Response::new(Box::pin(said.chain(tokio_stream::pending()))))
}

pub(crate) fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

pub(crate) fn image() -> wire::Image {
    let layer = wire::Layer {
        digest: "sha256:1a".into(),
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd".into(),
        size_bytes: 3 << 20,
        diff_id: "sha256:d1".into(),
    };
    wire::Image {
        image_id: "im-abc".into(),
        tags: vec!["base".into(), "\u{1b}[2Jv1".into()],
        digest: "sha256:feed".into(),
        created: time(1_700_000_000),
        last_used: time(1_700_000_000),
        expires: None,
        size_bytes: 3 << 20,
        layers: vec![layer.clone(), wire::Layer { digest: "sha256:1b".into(), ..layer }],
        sealed: false,
        mounted_at: vec!["/data".into(), Bytes::from_static(b"/\xff")],
    }
}

pub(crate) fn mounted(image: &str, path: &Bytes) -> wire::MountedImage {
    wire::MountedImage {
        path: path.clone(),
        image_id: image.into(),
        way: "overlay".into(),
        since: time(1_700_000_000),
    }
}

fn progress(step: &str, done_bytes: u64) -> wire::Progress {
    wire::Progress { step: step.into(), done_bytes, total_bytes: Some(4 << 20), entries: 7 }
}

fn notice() -> wire::Notice {
    wire::Notice { text: "2 sockets are left out\u{1b}".into() }
}

/// What is so of every image of this name.
fn known(name: &str) -> Result<(), Status> {
    match name {
        "nobody" => Err(Status::not_found("no image nobody here")),
        "busy" => Err(Status::failed_precondition("it is mounted at /data")),
        "sealed" => Err(Status::invalid_argument("it needs a key")),
        "damaged" => Err(Status::data_loss("blob sha256:1a is not what it was")),
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl Images for Fake {
    type SnapshotStream = Events<wire::SnapshotResponse>;
    type MountStream = Events<wire::MountResponse>;
    type PushImageStream = Events<wire::TransferResponse>;
    type PullImageStream = Events<wire::TransferResponse>;
    type ExportImageStream = Events<wire::ExportImageResponse>;
    type DiffImagesStream = Events<wire::DiffImagesResponse>;
    type VerifyImagesStream = Events<wire::VerifyImagesResponse>;

    async fn snapshot(
        &self,
        request: Request<wire::SnapshotRequest>,
    ) -> Answer<Self::SnapshotStream> {
        use wire::{snapshot_request::What, snapshot_response::Event};
        let request = self.take(request);
        let event = |event| wire::SnapshotResponse { event: Some(event) };
        let path = match request.what.unwrap() {
            What::Path(path) => path,
            What::Filesystem(_) => "/".into(),
        };
        let asked = self.seen::<wire::SnapshotRequest>().len();
        let halfway = event(Event::Progress(progress("reading", 2 << 20)));
        match &path[..] {
            b"/missing" => Err(Status::not_found("no directory /missing")),
            b"/full" => {
                say(vec![Ok(halfway), Err(Status::resource_exhausted("the store is full"))])
            }
            b"/slow" => hang(halfway),
            b"/breaks" if asked == 1 => {
                self.cut();
                hang(halfway)
            }
            b"/endless" => say(vec![Ok(halfway)]),
            _ => say(vec![
                Ok(halfway),
                Ok(wire::SnapshotResponse { event: None }),
                Ok(event(Event::Notice(notice()))),
                Ok(event(Event::Done(image()))),
            ]),
        }
    }

    async fn mount(&self, request: Request<wire::MountRequest>) -> Answer<Self::MountStream> {
        use wire::mount_response::Event;
        let request = self.take(request);
        known(&request.image)?;
        let event = |event| Ok(wire::MountResponse { event: Some(event) });
        let done = mounted(&request.image, &request.path);
        say(vec![
            event(Event::Progress(progress("unpacking", 1))),
            event(Event::Notice(notice())),
            event(Event::Done(done)),
        ])
    }

    async fn unmount(
        &self,
        request: Request<wire::UnmountRequest>,
    ) -> Answer<wire::UnmountResponse> {
        match &self.take(request).path[..] {
            b"/none" => Err(Status::failed_precondition("nothing is mounted at /none")),
            _ => Ok(Response::new(wire::UnmountResponse {})),
        }
    }

    async fn list_mounts(
        &self,
        request: Request<wire::ListMountsRequest>,
    ) -> Answer<wire::ListMountsResponse> {
        self.take(request);
        let odd = Bytes::from_static(b"/odd\xff\x1b");
        let mounts = vec![mounted("", &"/data".into()), mounted("im-abc", &odd)];
        Ok(Response::new(wire::ListMountsResponse { mounts }))
    }

    async fn list_images(
        &self,
        request: Request<wire::ListImagesRequest>,
    ) -> Answer<wire::ListImagesResponse> {
        self.take(request);
        let sealed = wire::Image {
            image_id: "im-sealed".into(),
            sealed: true,
            expires: time(1),
            ..Default::default()
        };
        let images = vec![image(), sealed];
        Ok(Response::new(wire::ListImagesResponse { images, size_bytes: 5 << 20 }))
    }

    async fn get_image(
        &self,
        request: Request<wire::GetImageRequest>,
    ) -> Answer<wire::GetImageResponse> {
        known(&self.take(request).image)?;
        let (manifest, config) = (r#"{"schemaVersion": 2}"#.into(), "no JSON".into());
        Ok(Response::new(wire::GetImageResponse { image: Some(image()), manifest, config }))
    }

    async fn remove_image(
        &self,
        request: Request<wire::RemoveImageRequest>,
    ) -> Answer<wire::RemoveImageResponse> {
        known(&self.take(request).image)?;
        Ok(Response::new(wire::RemoveImageResponse { freed_bytes: 12 }))
    }

    async fn tag_image(
        &self,
        request: Request<wire::TagImageRequest>,
    ) -> Answer<wire::TagImageResponse> {
        known(&self.take(request).image)?;
        Ok(Response::new(wire::TagImageResponse {}))
    }

    async fn push_image(
        &self,
        request: Request<wire::PushImageRequest>,
    ) -> Answer<Self::PushImageStream> {
        known(&self.take(request).image)?;
        transferred("pushing")
    }

    async fn pull_image(
        &self,
        request: Request<wire::PullImageRequest>,
    ) -> Answer<Self::PullImageStream> {
        match &self.take(request).from[..] {
            "oci://forbidden/x" => {
                Err(Status::failed_precondition("it was not started with --allow-remote-images"))
            }
            _ => transferred("pulling"),
        }
    }

    async fn export_image(
        &self,
        request: Request<wire::ExportImageRequest>,
    ) -> Answer<Self::ExportImageStream> {
        let name = self.take(request).image;
        known(&name)?;
        let (sender, pieces) = mpsc::channel(1);
        tokio::spawn(async move {
            let told = ARCHIVE as u64 + u64::from(name == "short");
            for at in (0..ARCHIVE).step_by(PIECE) {
                let total_bytes = (at == 0 && name != "untold").then_some(told);
                let data = Bytes::from(vec![(at / PIECE) as u8; PIECE]);
                let piece = match name.as_str() {
                    "breaks" if at > PIECE => std::future::pending().await,
                    "fails" if at > PIECE => Err(Status::data_loss("blob sha256:1a is missing")),
                    _ => Ok(wire::ExportImageResponse { data, total_bytes }),
                };
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(pieces))))
    }

    async fn import_image(
        &self,
        request: Request<Streaming<wire::ImportImageRequest>>,
    ) -> Answer<wire::ImportImageResponse> {
        use wire::import_image_request::Message;
        let (mut messages, mut archive) = (request.into_inner(), Vec::new());
        while let Some(message) = messages.message().await? {
            match message.message.unwrap() {
                Message::Open(open) => {
                    assert!(archive.is_empty());
                    self.requests.lock().unwrap().push(Box::new(open));
                }
                Message::Data(data) => {
                    self.requests.lock().unwrap().push(Box::new(Piece(data.len())));
                    archive.extend_from_slice(&data);
                }
            }
            if archive.starts_with(b"no archive") {
                return Err(Status::invalid_argument("it is no archive"));
            }
        }
        self.requests.lock().unwrap().push(Box::new(Whole(archive)));
        let second = wire::Image { image_id: "im-two".into(), ..Default::default() };
        Ok(Response::new(wire::ImportImageResponse { images: vec![image(), second] }))
    }

    async fn diff_images(
        &self,
        request: Request<wire::DiffImagesRequest>,
    ) -> Answer<Self::DiffImagesStream> {
        use wire::diff_images_response::Change;
        let request = self.take(request);
        known(&request.from)?;
        known(&request.to)?;
        let difference = |path: &'static [u8], change: Change, aspects: &[&str]| {
            let aspects = aspects.iter().map(ToString::to_string).collect();
            Ok(wire::DiffImagesResponse { path: path.into(), change: change.into(), aspects })
        };
        if request.from == request.to {
            return say(Vec::new());
        }
        say(vec![
            difference(b"a\xff", Change::Added, &[]),
            difference(b"b", Change::Changed, &["mode", "time"]),
            match request.to.as_str() {
                "fails" => Err(Status::data_loss("blob sha256:1a is missing")),
                _ => difference(b"c\x1b", Change::Removed, &[]),
            },
        ])
    }

    async fn prune_images(
        &self,
        request: Request<wire::PruneImagesRequest>,
    ) -> Answer<wire::PruneImagesResponse> {
        self.take(request);
        let removed_image_ids = vec!["im-a".into(), "im-b".into()];
        Ok(Response::new(wire::PruneImagesResponse { removed_image_ids, freed_bytes: 3 << 20 }))
    }

    async fn verify_images(
        &self,
        request: Request<wire::VerifyImagesRequest>,
    ) -> Answer<Self::VerifyImagesStream> {
        use wire::verify_images_response::{Damage, Event, Verified};
        let name = self.take(request).image;
        known(&name)?;
        let event = |event| Ok(wire::VerifyImagesResponse { event: Some(event) });
        let damage = |digest: &str, image_ids: &[&str]| {
            let image_ids = image_ids.iter().map(ToString::to_string).collect();
            event(Event::Damage(Damage {
                digest: digest.into(),
                what: "content".into(),
                image_ids,
            }))
        };
        let done = |damaged| event(Event::Done(Verified { blobs: 12, bytes: 3 << 20, damaged }));
        let first = event(Event::Progress(progress("checking", 1)));
        let asked = self.seen::<wire::VerifyImagesRequest>().len();
        match name.as_str() {
            "good" => say(vec![first, done(0)]),
            // It ends without a result, and finds the same once more.
            "" if asked == 1 => say(vec![damage("sha256:1a", &["im-a", "im-b"])]),
            _ => say(vec![
                first,
                damage("sha256:1a", &["im-a", "im-b"]),
                damage("sha256:1b", &[]),
                done(2),
            ]),
        }
    }
}

fn transferred(step: &str) -> Answer<Events<wire::TransferResponse>> {
    use wire::transfer_response::Event;
    let event = |event| Ok(wire::TransferResponse { event: Some(event) });
    say(vec![event(Event::Progress(progress(step, 1 << 20))), event(Event::Done(image()))])
}

/// A piece of an imported archive, by its length.
#[derive(Clone)]
pub(crate) struct Piece(pub(crate) usize);

/// An imported archive that came to its end.
#[derive(Clone)]
pub(crate) struct Whole(pub(crate) Vec<u8>);
