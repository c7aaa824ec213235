//! Images leave as archives and come back as images.

use bytes::Bytes;
use doorward::wire::doorward::v1::{
    ArchiveFormat, ExportImageRequest, Image, ImportImageRequest, ImportOpen, SnapshotRequest,
    import_image_request::Message,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::{
    support::{Noise, door::refused},
    world::{Raw, World, all, images, list, listing, mount, of, snapshot, task, unmount},
};

async fn export(raw: &Raw, image: &str, format: ArchiveFormat) -> Result<Vec<u8>, Status> {
    let request =
        ExportImageRequest { task_id: task(), image: image.into(), format: format.into() };
    let messages = all(raw.clone().export_image(request).await).await?;
    let told = messages.first().unwrap().total_bytes;
    assert!(messages.iter().skip(1).all(|message| message.total_bytes.is_none()));
    assert!(messages.iter().all(|message| !message.data.is_empty()));
    let archive: Vec<u8> = messages.iter().flat_map(|message| message.data.to_vec()).collect();
    assert!(told.is_none_or(|told| told == archive.len() as u64), "{told:?}");
    Ok(archive)
}

fn open(tag: &str) -> ImportImageRequest {
    let open = ImportOpen { task_id: task(), tag: tag.into(), ..ImportOpen::default() };
    ImportImageRequest { message: Some(Message::Open(open)) }
}

fn data(bytes: &[u8]) -> ImportImageRequest {
    ImportImageRequest { message: Some(Message::Data(Bytes::copy_from_slice(bytes))) }
}

/// The messages that bring an archive.
fn pieces(tag: &str, archive: &[u8]) -> Vec<ImportImageRequest> {
    [open(tag)].into_iter().chain(archive.chunks(1 << 20).map(data)).collect()
}

async fn import(raw: &Raw, messages: Vec<ImportImageRequest>) -> Result<Vec<Image>, Status> {
    let answer = raw.clone().import_image(tokio_stream::iter(messages)).await?;
    Ok(answer.into_inner().images)
}

/// A tree of some megabytes that do not compress.
async fn image(world: &World, raw: &Raw) -> Image {
    let tree = world.tree("tree");
    std::fs::write(format!("{tree}/noise"), Noise::new(3).bytes(3 << 20)).unwrap();
    snapshot(raw, SnapshotRequest { tag: "base".into(), ..of(&tree) }).await.unwrap()
}

#[tokio::test]
async fn what_is_exported_here_is_imported_there() {
    let (here, there) = (World::new().await, World::new().await);
    let (agent, other) = (here.agent().await, there.agent().await);
    let (raw, other_raw) = (images(&agent).await, images(&other).await);
    let image = image(&here, &raw).await;
    for (format, tag) in [(ArchiveFormat::Oci, "one"), (ArchiveFormat::Docker, "two")] {
        let archive = export(&raw, "base", format).await.unwrap();
        let imported = import(&other_raw, pieces(tag, &archive)).await.unwrap();
        let [imported] = &imported[..] else { panic!("{imported:?}") };
        assert!(imported.tags.contains(&tag.into()), "{imported:?}");
        if format == ArchiveFormat::Oci {
            assert_eq!(imported.digest, image.digest);
        }
        assert_eq!(imported.layers[0].diff_id, image.layers[0].diff_id);
        mount(&other_raw, tag, &there.path("work")).await.unwrap();
        assert_eq!(listing(&there.seen("work")), listing(here.path("tree").as_ref()));
        unmount(&other_raw, &there.path("work")).await.unwrap();
    }
    refused(
        "unknown",
        export(&raw, "nobody", ArchiveFormat::Oci).await,
        Code::NotFound,
        &["nobody"],
    );
}

#[tokio::test]
async fn what_is_no_whole_archive_leaves_nothing() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    image(&world, &raw).await;
    let archive = export(&raw, "base", ArchiveFormat::Oci).await.unwrap();
    let there = World::new().await;
    let other = there.agent().await;
    let raw = images(&other).await;
    let invalid = Code::InvalidArgument;
    let large = vec![0; (1 << 20) + 1];
    let mut flipped = archive.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let noise = Noise::new(4).bytes(4 << 20);
    for (what, messages) in [
        ("nothing", vec![]),
        ("no open", vec![data(b"x")]),
        ("open twice", vec![open(""), open("")]),
        ("no message", vec![open(""), ImportImageRequest { message: None }]),
        ("a large piece", vec![open(""), data(&large)]),
        ("an empty archive", vec![open("")]),
        ("a half", pieces("", &archive[..middle])),
        ("a flipped bit", pieces("", &flipped)),
        ("noise", pieces("", &noise)),
        ("a bad tag", pieces("im-x", &archive)),
    ] {
        refused(what, import(&raw, messages).await, invalid, &[]);
        assert!(list(&raw).await.is_empty(), "{what}");
    }
    let task_id = String::from("ta-other");
    let foreign = ImportOpen { task_id, ..ImportOpen::default() };
    let foreign = vec![ImportImageRequest { message: Some(Message::Open(foreign)) }];
    refused("another task", import(&raw, foreign).await, Code::NotFound, &["ta-other"]);

    // Who is cut off in the midst has sent nothing.
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let mut client = raw.clone();
    let call =
        tokio::spawn(async move { client.import_image(ReceiverStream::new(messages)).await });
    for message in pieces("", &archive).into_iter().take(3) {
        sender.send(message).await.unwrap();
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    drop(sender);
    assert!(list(&raw).await.is_empty());
    assert_eq!(import(&raw, pieces("", &archive)).await.unwrap().len(), 1);
}
