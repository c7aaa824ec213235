//! `doorward.v1.Images` for callers: directories kept as images.
//!
//! Messages are the wire's own; `proto/doorward/v1/images.proto` says what each field means.
//! Against a server without the service every call here is [`ClientError::NoImages`].

use tonic::{Code, Response, Status, Streaming};

use super::{Client, ClientError, link::Link};
use crate::{
    core::limits::REQUEST_BYTES_MAX,
    wire::doorward::v1::{self as wire, images_client::ImagesClient},
};

type Grpc = ImagesClient<Link>;

/// The Images service of the agent that a [`Client`] is connected to.
///
/// ```no_run
/// use doorward::wire::doorward::v1::{SnapshotRequest, snapshot_request::What, snapshot_response::Event};
///
/// # async fn example(client: doorward::client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let request = SnapshotRequest {
///     what: Some(What::Path("/work".into())),
///     snapshot_id: "nightly-17".into(),
///     ..SnapshotRequest::default()
/// };
/// let mut events = client.images().snapshot(request).await?;
/// while let Some(response) = events.message().await? {
///     if let Some(Event::Done(image)) = response.event {
///         println!("{}", image.image_id);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Images {
    pub(super) client: Client,
    grpc: Grpc,
}

impl Client {
    /// The agent's Images service. Nothing is sent: whether the agent has one, the first call
    /// tells.
    pub fn images(&self) -> Images {
        let grpc =
            ImagesClient::new(self.link.clone()).max_decoding_message_size(REQUEST_BYTES_MAX);
        Images { client: self.clone(), grpc }
    }
}

/// Methods that ask once more after each break until they have an answer, or the begin of a stream of
/// answers. Each may be repeated: the task id is filled in here.
macro_rules! repeated {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $response:ty;)*) => {$(
        $(#[$doc])*
        pub async fn $name(&self, mut request: wire::$request) -> Result<$response, ClientError> {
            request.task_id = self.task_id();
            let call = |request| {
                let mut grpc = self.grpc.clone();
                async move { grpc.$name(request).await }
            };
            self.repeated(request, call).await
        }
    )*};
}

impl Images {
    repeated! {
        /// Makes an image of a directory or of the whole file system. The work goes on if the stream is
        /// dropped; after a break, ask again with the same `snapshot_id`.
        snapshot(SnapshotRequest) -> Streaming<wire::SnapshotResponse>;
        /// Shows an image's tree at a path; after a break, ask again.
        mount(MountRequest) -> Streaming<wire::MountResponse>;
        /// Shows again what a mount has hidden. A repeat after a break may be refused with
        /// FAILED_PRECONDITION although it is done.
        unmount(UnmountRequest) -> wire::UnmountResponse;
        /// What is mounted.
        list_mounts(ListMountsRequest) -> wire::ListMountsResponse;
        /// Every image that the agent keeps.
        list_images(ListImagesRequest) -> wire::ListImagesResponse;
        /// One image, with its manifest.
        get_image(GetImageRequest) -> wire::GetImageResponse;
        /// Takes an id or a tag away. A repeat after a break may be refused with NOT_FOUND although it is
        /// done.
        remove_image(RemoveImageRequest) -> wire::RemoveImageResponse;
        /// Gives an image a tag.
        tag_image(TagImageRequest) -> wire::TagImageResponse;
        /// Copies an image into a registry. The work stops if the stream is dropped; after a break, ask
        /// again: what is there already is not sent again.
        push_image(PushImageRequest) -> Streaming<wire::TransferResponse>;
        /// Copies an image from a registry. The work stops if the stream is dropped; after a break, ask again.
        pull_image(PullImageRequest) -> Streaming<wire::TransferResponse>;
        /// An image as one archive, which is whole when the stream ends without an error; after a break it
        /// begins anew.
        export_image(ExportImageRequest) -> Streaming<wire::ExportImageResponse>;
        /// What differs between two images; after a break it begins anew.
        diff_images(DiffImagesRequest) -> Streaming<wire::DiffImagesResponse>;
        /// Removes what has expired, and what is too much.
        prune_images(PruneImagesRequest) -> wire::PruneImagesResponse;
        /// Compares every blob with its digest; after a break it begins anew.
        verify_images(VerifyImagesRequest) -> Streaming<wire::VerifyImagesResponse>;
    }

    /// Takes the images of an archive into the store: one try, with the pieces that `archive` brings, in order,
    /// each of a megabyte at most. The archive is whole where the pieces end: a source that fails must not end,
    /// but have this future dropped, upon which the agent keeps nothing.
    pub async fn import_image(
        &self,
        mut open: wire::ImportOpen,
        archive: impl tokio_stream::Stream<Item = bytes::Bytes> + Send + 'static,
    ) -> Result<wire::ImportImageResponse, ClientError> {
        use wire::import_image_request::Message;
        open.task_id = self.task_id();
        let message = |message| wire::ImportImageRequest { message: Some(message) };
        let open = tokio_stream::once(message(Message::Open(open)));
        let pieces =
            tokio_stream::StreamExt::map(archive, move |piece| message(Message::Data(piece)));
        let requests = tokio_stream::StreamExt::chain(open, pieces);
        let call = async {
            let answer = async {
                self.client.link.ready().await?;
                self.grpc.clone().import_image(requests).await
            };
            answer.await.map(Response::into_inner).map_err(ClientError::Refused)
        };
        self.client.bound.within(call).await.map_err(without_images)
    }

    /// The task that requests are for.
    pub fn task_id(&self) -> String {
        self.client.task_id.to_string()
    }

    async fn repeated<M: Clone, T, F>(
        &self,
        request: M,
        call: impl Fn(M) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.client.call(request, |_, request| call(request)).await.map_err(without_images)
    }
}

fn without_images(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused(status) if status.code() == Code::Unimplemented => {
            ClientError::NoImages
        }
        other => other,
    }
}
