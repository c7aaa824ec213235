//! Agents that share nothing but a registry or a bucket: what one keeps, another mounts.

use std::fs;

use doorward::wire::{
    doorward::v1::{self as wire, mount_response, snapshot_response},
    modal::task_command_router::{TaskMountDirectoryRequest, TaskSnapshotDirectoryRequest},
};
use tonic::Code;

use crate::{
    servers::{Guard, KEY, PASSWORD, SECRET, Server, USER},
    support::{Agent, Setup, door::refused, skip},
    world::{
        World, all, directory, images, list, listing, mount, mounting, of, snapshot, snapshot_of,
        task,
    },
};

/// A store that is not on this machine, and the flags for it.
pub(crate) struct Shared {
    server: Server,
    flags: Vec<String>,
}

impl Shared {
    /// A repository in a registry, or a skip.
    pub(crate) fn registry(test: &str, guard: Guard) -> Option<Self> {
        let server = Server::registry(guard).map_err(|why| skip(test, &why)).ok()?;
        let place = server.location("oci", "team/images");
        let file = server.credentials(USER, PASSWORD);
        let line = format!("REGISTRY_AUTH_FILE={}\n", file.display());
        Some(Self::new(server, &place, &line))
    }

    /// A part of a bucket, or a skip.
    fn bucket(test: &str) -> Option<Self> {
        let server = Server::bucket().map_err(|why| skip(test, &why)).ok()?;
        let lines = format!(
            "AWS_ENDPOINT_URL=http://127.0.0.1:{}\nAWS_ALLOW_HTTP=true\nAWS_ACCESS_KEY_ID={KEY}\n\
             AWS_SECRET_ACCESS_KEY={SECRET}\n",
            server.port
        );
        Some(Self::new(server, "s3://bucket/some/images", &lines))
    }

    fn new(server: Server, place: &str, variables: &str) -> Self {
        let file = server.path("env");
        fs::write(&file, variables).unwrap();
        let mut flags = vec![format!("--image-store={place}")];
        flags.push(format!("--image-env-file={}", file.display()));
        flags.extend(server.certificate().map(|path| format!("--image-ca={}", path.display())));
        Self { server, flags }
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    pub(crate) fn flags(&self) -> Vec<&str> {
        self.flags.iter().map(String::as_str).collect()
    }

    /// Something at the registry, as its clients call it.
    pub(crate) fn location(&self, scheme: &str, name: &str) -> String {
        self.server.location(scheme, name)
    }

    /// An agent to be, in a world.
    pub(crate) fn setup(&self, world: &World) -> Setup {
        self.flags.iter().fold(world.setup(), |setup, flag| setup.flags([flag.as_str()]))
    }

    async fn agent(&self, world: &World) -> Agent {
        self.setup(world).start().await
    }
}

async fn mounted_by(
    agent: &Agent,
    request: TaskMountDirectoryRequest,
) -> Result<(), tonic::Status> {
    agent.door().await.raw.clone().task_mount_directory(request).await.map(drop)
}

/// What one agent keeps, another one mounts; what one removes is gone for all.
async fn two_agents(shared: Shared) {
    let (one, two) = (World::new().await, World::new().await);
    let (first, second) = (shared.agent(&one).await, shared.agent(&two).await);
    let tree = one.tree("tree");
    let image = snapshot_of(&first.door().await, directory(&tree, "once")).await.unwrap();
    let work = two.path("work");
    mounted_by(&second, mounting(&image, &work)).await.unwrap();
    assert_eq!(listing(&two.seen("work")), listing(tree.as_ref()));
    // It has the same id and the same digest, and is whole here.
    let (here, there) = (list(&images(&first).await).await, list(&images(&second).await).await);
    assert_eq!((&here[0].image_id, &here[0].digest), (&there[0].image_id, &there[0].digest));
    // What was changed becomes one layer more, of which the first agent has all the others.
    second.door().await.print(&format!("echo changed > {work}/file")).await;
    let changed = snapshot_of(&second.door().await, directory(&work, "changed")).await.unwrap();
    mounted_by(&first, mounting(&changed, &one.path("work"))).await.unwrap();
    assert_eq!(listing(&one.seen("work")), listing(&two.seen("work")));
    // The same request again is the same image.
    let again = snapshot_of(&first.door().await, directory(&tree, "once")).await.unwrap();
    assert_eq!(again, image);
    let unknown = mounted_by(&first, mounting("im-nobodyhasthis", &work)).await;
    refused("unknown", unknown, Code::NotFound, &["im-nobodyhasthis"]);

    let remove = wire::RemoveImageRequest { task_id: task(), image: image.clone() };
    let mounted = images(&second).await.remove_image(remove.clone()).await;
    refused("mounted", mounted, Code::FailedPrecondition, &["mounted"]);
    images(&first).await.remove_image(remove.clone()).await.unwrap();
    let third = World::new().await;
    let gone = mounted_by(&shared.agent(&third).await, mounting(&image, &third.path("x"))).await;
    refused("removed", gone, Code::NotFound, &[&image]);
    refused("again", images(&first).await.remove_image(remove).await, Code::NotFound, &[&image]);
    let printed = second.door().await.print("env").await;
    assert!(!printed.contains(SECRET) && !printed.contains("AUTH_FILE"), "{printed}");
}

#[tokio::test]
async fn two_agents_share_a_registry() {
    let Some(shared) = Shared::registry("two agents, one registry", Guard::Open) else { return };
    two_agents(shared).await;
}

#[tokio::test]
async fn two_agents_share_a_registry_with_tls_and_a_password() {
    let guard = Guard::TlsAndPassword;
    let Some(shared) = Shared::registry("two agents, one guarded registry", guard) else { return };
    two_agents(shared).await;
}

#[tokio::test]
async fn two_agents_share_a_bucket() {
    let Some(shared) = Shared::bucket("two agents, one bucket") else { return };
    two_agents(shared).await;
}

#[tokio::test]
async fn a_sealed_image_is_shared_sealed() {
    let Some(shared) = Shared::registry("sealed images, shared", Guard::Open) else { return };
    let (one, two) = (World::new().await, World::new().await);
    let (first, second) = (shared.agent(&one).await, shared.agent(&two).await);
    let tree = one.tree("tree");
    let key = |letter: u8| Some(vec![letter; 32].into());
    let request = TaskSnapshotDirectoryRequest {
        customer_supplied_encryption_key: key(b'k'),
        ..directory(&tree, "sealed")
    };
    let image = snapshot_of(&first.door().await, request).await.unwrap();
    let with = |key| TaskMountDirectoryRequest {
        customer_supplied_encryption_key: key,
        ..mounting(&image, &two.path("work"))
    };
    for wrong in [None, key(b'x')] {
        let answer = mounted_by(&second, with(wrong)).await;
        refused("a wrong key", answer, Code::InvalidArgument, &[]);
    }
    mounted_by(&second, with(key(b'k'))).await.unwrap();
    assert_eq!(listing(&two.seen("work")), listing(tree.as_ref()));
}

#[tokio::test]
async fn what_goes_and_comes_is_told_on_the_way() {
    let Some(shared) = Shared::registry("progress of sharing", Guard::Open) else { return };
    let (one, two) = (World::new().await, World::new().await);
    let (first, second) = (shared.agent(&one).await, shared.agent(&two).await);
    let tree = one.tree("tree");
    let messages = all(images(&first).await.snapshot(of(&tree)).await).await.unwrap();
    let (mut steps, mut image) = (Vec::new(), None);
    for message in messages {
        match message.event.unwrap() {
            snapshot_response::Event::Progress(progress) => steps.push(progress),
            snapshot_response::Event::Done(done) => image = Some(done),
            snapshot_response::Event::Notice(_) => {}
        }
    }
    let pushed = steps.iter().rev().find(|progress| progress.step == "pushing").unwrap();
    assert_eq!(Some(pushed.done_bytes), pushed.total_bytes);
    let request = wire::MountRequest {
        task_id: task(),
        image: image.unwrap().image_id,
        path: two.path("work").into(),
        ..wire::MountRequest::default()
    };
    let messages = all(images(&second).await.mount(request).await).await.unwrap();
    let pulled = messages.iter().any(|message| {
        let event = message.event.as_ref();
        matches!(event, Some(mount_response::Event::Progress(progress)) if progress.step == "pulling")
    });
    assert!(pulled, "{messages:?}");
}

#[tokio::test]
async fn a_snapshot_that_is_not_shared_is_not_told() {
    let test = "a wrong password";
    let Some(shared) = Shared::registry(test, Guard::TlsAndPassword) else { return };
    let file = shared.server.credentials(USER, "wr0ng");
    let world = World::new().await;
    let mut agent = shared.agent(&world).await;
    let tree = world.tree("tree");
    let request = directory(&tree, "once");
    let answer = snapshot_of(&agent.door().await, request.clone()).await;
    let (host, file) = (format!("127.0.0.1:{}", shared.port()), file.display().to_string());
    assert!(answer.as_ref().is_err_and(|status| !status.message().contains("wr0ng")), "{answer:?}");
    refused(test, answer, Code::FailedPrecondition, &["push", &host, &file]);
    assert!(!agent.log().contains("wr0ng"), "{}", agent.log());
    let kept = list(&images(&agent).await).await;
    assert_eq!(kept.len(), 1);

    shared.server.credentials(USER, PASSWORD);
    agent.stop().await;
    let agent = shared.agent(&world).await;
    // What becomes of the directory meanwhile changes nothing: the snapshot was taken.
    fs::write(format!("{tree}/file"), "later").unwrap();
    let image = snapshot_of(&agent.door().await, request).await.unwrap();
    assert_eq!(image, kept[0].image_id);
    let other = World::new().await;
    mounted_by(&shared.agent(&other).await, mounting(&image, &other.path("work"))).await.unwrap();
    assert_eq!(fs::read(other.seen("work/file")).unwrap(), b"words\n");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_says_so_and_does_not_hinder_what_is_here() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = format!("oci+http://127.0.0.1:{port}/images");
    let world = World::new().await;
    let agent = world.setup().flags(["--image-store", &place]).start().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let words = [&place[..], "connect", "is kept here"];
    refused("snapshot", snapshot(&raw, of(&tree)).await, Code::FailedPrecondition, &words);
    let unknown = mount(&raw, "im-unknown", &world.path("work")).await;
    refused("mount", unknown, Code::FailedPrecondition, &["im-unknown", "connect"]);
    let kept = list(&raw).await;
    mount(&raw, &kept[0].image_id, &world.path("work")).await.unwrap();
    assert_eq!(listing(&world.seen("work")), listing(tree.as_ref()));
}
