//! A place for agents and their mounts, a tree to make images of, and a client of the Images service.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use doorward::wire::{
    doorward::v1::{
        self as wire, Image, MountRequest, MountedImage, SnapshotRequest,
        images_client::ImagesClient, mount_response, snapshot_request::What, snapshot_response,
    },
    modal::task_command_router::{
        TaskMountDirectoryRequest, TaskSnapshotDirectoryRequest, TaskUnmountDirectoryRequest,
    },
};
use tempfile::TempDir;
use tonic::{
    Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use crate::support::{
    Agent, Door, Setup, TASK,
    door::{TOKEN, Token},
    is_root, until,
};

/// Where agents keep their state, one after the other, and where their mounts are.
pub(crate) struct World {
    dir: TempDir,
    /// Holds the mount namespace; `None` where there can be none.
    keeper: Option<Child>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("doorward-images-").tempdir().unwrap();
        let mut world = Self { dir, keeper: None };
        let ready = world.path("namespace");
        if is_root() {
            let script = format!("touch {ready}; exec sleep 100000");
            let mut unshare = Command::new("unshare");
            unshare.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
            let mut keeper = unshare.stderr(Stdio::null()).spawn().unwrap();
            let mut refused = false;
            until("there is a namespace", || {
                refused = keeper.try_wait().unwrap().is_some();
                refused || Path::new(&ready).exists()
            })
            .await;
            world.keeper = (!refused).then_some(keeper);
        }
        fs::create_dir(world.path("state")).unwrap();
        world
    }

    /// A path in this world, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_string()
    }

    /// The same, as its agents and their commands see it.
    pub(crate) fn seen(&self, name: &str) -> PathBuf {
        match &self.keeper {
            Some(keeper) => {
                let root = PathBuf::from(format!("/proc/{}/root", keeper.id()));
                root.join(self.path(name).trim_start_matches('/'))
            }
            None => self.dir.path().join(name),
        }
    }

    /// What becomes an agent in this world's mount namespace.
    pub(crate) fn namespace(&self) -> Option<String> {
        self.keeper.as_ref().map(|keeper| format!("--mount=/proc/{}/ns/mnt", keeper.id()))
    }

    /// An agent to be, in this world.
    pub(crate) fn setup(&self) -> Setup {
        Self::setup_in(&self.namespace(), &self.path("state"))
    }

    pub(crate) fn setup_in(namespace: &Option<String>, state: &str) -> Setup {
        let setup = Setup::new().state(state);
        match namespace {
            Some(namespace) => setup.wrapped(["nsenter", namespace, "--"]),
            None => setup,
        }
    }

    pub(crate) async fn agent(&self) -> Agent {
        self.setup().start().await
    }

    /// A directory with something of everything, by its name.
    pub(crate) fn tree(&self, name: &str) -> String {
        let top = self.dir.path().join(name);
        fs::create_dir_all(top.join("deep/er")).unwrap();
        fs::write(top.join("file"), "words\n").unwrap();
        fs::write(top.join("deep/er/large"), vec![7; 300_000]).unwrap();
        fs::write(top.join("script"), "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(top.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("deep/er/large", top.join("link")).unwrap();
        fs::hard_link(top.join("file"), top.join("deep/same")).unwrap();
        self.path(name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
    }
}

/// All that is beneath a directory, a line an entry, with what is in it.
pub(crate) fn listing(top: &Path) -> Vec<String> {
    let (mut lines, mut folders) = (Vec::new(), vec![top.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(top).unwrap().display();
            let content = match about.file_type() {
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                kind if kind.is_file() => {
                    let bytes = fs::read(&path).unwrap();
                    let sum = bytes
                        .iter()
                        .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
                    format!("{} bytes, {sum}, {} names", bytes.len(), about.nlink())
                }
                _ => String::new(),
            };
            lines.push(format!("{name} {:o} {content}", about.mode()));
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    lines.sort();
    lines
}

/// The generated client of the Images service.
pub(crate) type Raw = ImagesClient<InterceptedService<Channel, Token>>;

pub(crate) async fn images(agent: &Agent) -> Raw {
    with_token(agent, Token::new(TOKEN)).await
}

pub(crate) async fn with_token(agent: &Agent, token: Token) -> Raw {
    let endpoint = Endpoint::from_shared(format!("http://{}", agent.host_and_port())).unwrap();
    let channel = endpoint.tcp_nodelay(true).connect().await.unwrap();
    ImagesClient::with_interceptor(channel, token).max_decoding_message_size(usize::MAX)
}

pub(crate) fn task() -> String {
    TASK.into()
}

/// All messages of a stream, or why it broke off.
pub(crate) async fn all<T>(
    stream: Result<tonic::Response<Streaming<T>>, Status>,
) -> Result<Vec<T>, Status> {
    let (mut stream, mut messages) = (stream?.into_inner(), Vec::new());
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// What becomes of a request for a snapshot; nothing may follow the image.
pub(crate) async fn snapshot(raw: &Raw, request: SnapshotRequest) -> Result<Image, Status> {
    let messages = all(raw.clone().snapshot(request).await).await?;
    match messages.into_iter().next_back().and_then(|last| last.event) {
        Some(snapshot_response::Event::Done(image)) => Ok(image),
        other => panic!("the last message is {other:?}"),
    }
}

/// A request for a snapshot of a directory.
pub(crate) fn of(path: &str) -> SnapshotRequest {
    SnapshotRequest {
        task_id: task(),
        what: Some(What::Path(path.to_string().into())),
        ..SnapshotRequest::default()
    }
}

/// What becomes of a request to mount.
pub(crate) async fn mount(raw: &Raw, image: &str, path: &str) -> Result<MountedImage, Status> {
    mount_with(
        raw,
        MountRequest {
            task_id: task(),
            image: image.into(),
            path: path.to_string().into(),
            ..MountRequest::default()
        },
    )
    .await
}

pub(crate) async fn mount_with(raw: &Raw, request: MountRequest) -> Result<MountedImage, Status> {
    let messages = all(raw.clone().mount(request).await).await?;
    match messages.into_iter().next_back().and_then(|last| last.event) {
        Some(mount_response::Event::Done(mounted)) => Ok(mounted),
        other => panic!("the last message is {other:?}"),
    }
}

pub(crate) async fn unmount(raw: &Raw, path: &str) -> Result<(), Status> {
    let request = wire::UnmountRequest { task_id: task(), path: path.to_string().into() };
    raw.clone().unmount(request).await.map(drop)
}

/// What is mounted, by path.
pub(crate) async fn mounts(raw: &Raw) -> Vec<(String, String)> {
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    all_mounts(raw).await.into_iter().map(|mount| (text(&mount.path), mount.image_id)).collect()
}

/// The images that there are, newest first.
pub(crate) async fn list(raw: &Raw) -> Vec<Image> {
    let request = wire::ListImagesRequest { task_id: task() };
    raw.clone().list_images(request).await.unwrap().into_inner().images
}

/// The request of the main door for a snapshot of a directory that is kept for ever.
pub(crate) fn directory(path: &str, snapshot_id: &str) -> TaskSnapshotDirectoryRequest {
    TaskSnapshotDirectoryRequest {
        task_id: task(),
        path: path.to_string().into(),
        snapshot_id: snapshot_id.into(),
        ttl_seconds: Some(-1),
        ..TaskSnapshotDirectoryRequest::default()
    }
}

/// The request of the main door for a mount.
pub(crate) fn mounting(image: &str, path: &str) -> TaskMountDirectoryRequest {
    TaskMountDirectoryRequest {
        task_id: task(),
        path: path.to_string().into(),
        image_id: image.into(),
        ..TaskMountDirectoryRequest::default()
    }
}

/// The request of the main door for the end of a mount.
pub(crate) fn unmounting(path: &str) -> TaskUnmountDirectoryRequest {
    TaskUnmountDirectoryRequest {
        task_id: task(),
        path: path.to_string().into(),
        ..TaskUnmountDirectoryRequest::default()
    }
}

/// A snapshot through the main door.
pub(crate) async fn snapshot_of(
    door: &Door,
    request: TaskSnapshotDirectoryRequest,
) -> Result<String, Status> {
    Ok(door.raw.clone().task_snapshot_directory(request).await?.into_inner().image_id)
}

/// All that is known of what is mounted.
pub(crate) async fn all_mounts(raw: &Raw) -> Vec<MountedImage> {
    let request = wire::ListMountsRequest { task_id: task() };
    raw.clone().list_mounts(request).await.unwrap().into_inner().mounts
}
