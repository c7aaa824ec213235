//! Images are listed, looked at, named, compared, checked and removed.

use std::{fs, path::PathBuf};

use doorward::wire::doorward::v1::{
    DiffImagesRequest, GetImageRequest, Image, PruneImagesRequest, RemoveImageRequest,
    SnapshotRequest, TagImageRequest, VerifyImagesRequest, diff_images_response::Change,
    verify_images_response::Event,
};
use tonic::{Code, Status};

use crate::{
    support::door::refused,
    world::{Raw, World, all, images, list, mount, of, snapshot, task, unmount},
};

async fn get(raw: &Raw, image: &str) -> Result<Image, Status> {
    let request = GetImageRequest { task_id: task(), image: image.into() };
    Ok(raw.clone().get_image(request).await?.into_inner().image.unwrap())
}

async fn tag(raw: &Raw, image: &str, tag: &str) -> Result<(), Status> {
    let request = TagImageRequest { task_id: task(), image: image.into(), tag: tag.into() };
    raw.clone().tag_image(request).await.map(drop)
}

async fn remove(raw: &Raw, image: &str) -> Result<u64, Status> {
    let request = RemoveImageRequest { task_id: task(), image: image.into() };
    Ok(raw.clone().remove_image(request).await?.into_inner().freed_bytes)
}

/// The events of a check, without how far it was.
async fn verify(raw: &Raw, image: &str) -> Vec<Event> {
    let request = VerifyImagesRequest { task_id: task(), image: image.into() };
    let messages = all(raw.clone().verify_images(request).await).await.unwrap();
    let events = messages.into_iter().map(|message| message.event.unwrap());
    events.filter(|event| !matches!(event, Event::Progress(_))).collect()
}

#[tokio::test]
async fn an_image_is_found_by_each_of_its_names() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let image = snapshot(&raw, of(&tree)).await.unwrap();
    tag(&raw, &image.image_id, "first").await.unwrap();
    tag(&raw, "first", "team/second:v1").await.unwrap();
    for name in [&image.image_id[..], "first", "team/second:v1", &image.digest] {
        let found = get(&raw, name).await.unwrap();
        assert_eq!(found.image_id, image.image_id, "{name}");
        assert_eq!(found.tags, ["first", "team/second:v1"]);
        assert_eq!(found.layers, image.layers);
    }
    let request = GetImageRequest { task_id: task(), image: "first".into() };
    let whole = raw.clone().get_image(request).await.unwrap().into_inner();
    let manifest: serde_json::Value = serde_json::from_str(&whole.manifest).unwrap();
    assert_eq!(manifest["layers"][0]["digest"], image.layers[0].digest);
    let config: serde_json::Value = serde_json::from_str(&whole.config).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], image.layers[0].diff_id);

    // A tag moves, and its removal leaves the image.
    fs::write(format!("{tree}/more"), "more").unwrap();
    let other = snapshot(&raw, of(&tree)).await.unwrap();
    tag(&raw, &other.image_id, "first").await.unwrap();
    assert_eq!(get(&raw, "first").await.unwrap().image_id, other.image_id);
    assert_eq!(remove(&raw, "first").await.unwrap(), 0);
    refused("the tag", get(&raw, "first").await, Code::NotFound, &["first"]);
    let ids: Vec<_> = list(&raw).await.into_iter().map(|image| image.image_id).collect();
    assert_eq!(ids, [other.image_id, image.image_id], "the newest first");
    for (what, name, code) in [
        ("an unknown id", "im-unknown", Code::NotFound),
        ("an unknown tag", "nobody", Code::NotFound),
        ("an unknown digest", &format!("sha256:{}", "0".repeat(64)), Code::NotFound),
        ("no name", "", Code::InvalidArgument),
        ("a bad name", "a b", Code::InvalidArgument),
    ] {
        refused(what, get(&raw, name).await, code, &[]);
        refused(what, remove(&raw, name).await, code, &[]);
        refused(what, tag(&raw, name, "x").await, code, &[]);
    }
    refused("no tag", tag(&raw, "team/second:v1", "").await, Code::InvalidArgument, &[]);
    refused("a bad tag", tag(&raw, "team/second:v1", "im-x").await, Code::InvalidArgument, &[]);
}

#[tokio::test]
async fn what_is_mounted_is_not_removed() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let image = snapshot(&raw, of(&world.tree("tree"))).await.unwrap();
    let work = world.path("work");
    mount(&raw, &image.image_id, &work).await.unwrap();
    refused("mounted", remove(&raw, &image.image_id).await, Code::FailedPrecondition, &[]);
    let prune = PruneImagesRequest { task_id: task(), keep_bytes: Some(0), dry_run: false };
    let pruned = raw.clone().prune_images(prune).await.unwrap().into_inner();
    assert_eq!(pruned.removed_image_ids, [""; 0]);
    unmount(&raw, &work).await.unwrap();
    assert!(remove(&raw, &image.digest).await.unwrap() > 0, "a digest names the image");
    refused("again", remove(&raw, &image.image_id).await, Code::NotFound, &[]);
}

#[tokio::test]
async fn pruning_says_what_goes_and_then_it_goes() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let tagged = SnapshotRequest { tag: "kept".into(), ..of(&tree) };
    snapshot(&raw, tagged).await.unwrap();
    fs::write(format!("{tree}/more"), "more").unwrap();
    let image = snapshot(&raw, of(&tree)).await.unwrap();
    let request = |keep_bytes, dry_run| PruneImagesRequest { task_id: task(), keep_bytes, dry_run };
    for (asked, goes, left) in [
        (request(None, false), false, 2),
        (request(Some(1 << 30), false), false, 2),
        (request(Some(0), true), true, 2),
        (request(Some(0), false), true, 1),
    ] {
        let pruned = raw.clone().prune_images(asked.clone()).await.unwrap().into_inner();
        let expected = if goes { vec![image.image_id.clone()] } else { vec![] };
        assert_eq!(pruned.removed_image_ids, expected, "{asked:?}");
        assert_eq!(pruned.freed_bytes > 0, goes, "{asked:?}");
        assert_eq!(list(&raw).await.len(), left, "{asked:?}");
    }
}

#[tokio::test]
async fn an_image_with_an_end_ends() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let request = SnapshotRequest { ttl_seconds: Some(1), ..of(&world.tree("tree")) };
    let image = snapshot(&raw, request).await.unwrap();
    let begun = std::time::Instant::now();
    while get(&raw, &image.image_id).await.is_ok() {
        assert!(begun.elapsed() < crate::support::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    refused("mount", mount(&raw, &image.image_id, &world.path("w")).await, Code::NotFound, &[]);
    let prune = PruneImagesRequest { task_id: task(), keep_bytes: None, dry_run: false };
    let pruned = raw.clone().prune_images(prune).await.unwrap().into_inner();
    assert_eq!(pruned.removed_image_ids, [image.image_id]);
}

#[tokio::test]
async fn differences_come_in_order_with_what_differs() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let from = snapshot(&raw, of(&tree)).await.unwrap().image_id;
    fs::write(format!("{tree}/added"), "added").unwrap();
    fs::write(format!("{tree}/script"), "#!/bin/sh\necho RAN\n").unwrap();
    fs::remove_file(format!("{tree}/link")).unwrap();
    let to = snapshot(&raw, of(&tree)).await.unwrap().image_id;
    let request = DiffImagesRequest { task_id: task(), from, to: to.clone(), ..Default::default() };
    let found = all(raw.clone().diff_images(request.clone()).await).await.unwrap();
    let path = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let seen: Vec<_> = found.iter().map(|one| (path(&one.path), one.change())).collect();
    let named = |name: &str| seen.iter().find(|(path, _)| path.trim_matches('/') == name);
    assert_eq!(named("added").unwrap().1, Change::Added, "{seen:?}");
    assert_eq!(named("link").unwrap().1, Change::Removed, "{seen:?}");
    assert_eq!(named("script").unwrap().1, Change::Changed, "{seen:?}");
    assert!(named("file").is_none() && named("deep").is_none(), "{seen:?}");
    let script = found.iter().find(|one| one.path.ends_with(b"script")).unwrap();
    assert!(script.aspects.contains(&"content".into()), "{script:?}");
    let mut sorted = seen.clone();
    sorted.sort();
    assert_eq!(seen, sorted);
    let same = DiffImagesRequest { from: to, ..request.clone() };
    assert!(all(raw.clone().diff_images(same).await).await.unwrap().is_empty());
    let unknown = DiffImagesRequest { from: "nobody".into(), ..request };
    refused("unknown", all(raw.clone().diff_images(unknown).await).await, Code::NotFound, &[]);
}

#[tokio::test]
async fn damage_is_found_and_never_mounted() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let good = snapshot(&raw, of(&tree)).await.unwrap();
    fs::write(format!("{tree}/more"), "more").unwrap();
    let bad = snapshot(&raw, of(&tree)).await.unwrap();
    let events = verify(&raw, "").await;
    let [Event::Done(done)] = &events[..] else { panic!("{events:?}") };
    assert!(done.blobs >= 6 && done.bytes > 0 && done.damaged == 0, "{done:?}");

    let digest = bad.layers[0].digest.clone();
    let blob = world.path("state/images/blobs/sha256");
    let blob = PathBuf::from(blob).join(digest.strip_prefix("sha256:").unwrap());
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, bytes).unwrap();
    let events = verify(&raw, "").await;
    let [Event::Damage(damage), Event::Done(done)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&damage.digest, &damage.image_ids[..]), (&digest, &[bad.image_id.clone()][..]));
    assert_eq!(damage.what, "content", "{damage:?}");
    assert_eq!(done.damaged, 1);
    let events = verify(&raw, &good.image_id).await;
    assert!(matches!(&events[..], [Event::Done(done)] if done.damaged == 0), "{events:?}");
    let work = world.path("work");
    let refusal = mount(&raw, &bad.image_id, &work).await;
    refused("damaged", refusal, Code::DataLoss, &[&digest]);
    assert!(!world.seen("work").exists());

    fs::remove_file(&blob).unwrap();
    let events = verify(&raw, &bad.image_id).await;
    let [Event::Damage(damage), Event::Done(_)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(damage.what, "missing");
}
