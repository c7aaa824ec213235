//! When the agent opens its images, and what it says if it cannot.

use std::{fs, path::Path};

use doorward::wire::doorward::v1::GetAgentRequest;
use tonic::Code;

use crate::{
    support::{Agent, Setup, door::refused},
    world::{World, images, list, of, snapshot, task},
};

#[tokio::test]
async fn who_asks_for_no_images_gets_no_store() {
    let world = World::new().await;
    let agent = world.agent().await;
    assert_eq!(agent.door().await.print("echo here").await, "here\n");
    let made: Vec<_> = ["images", "mounts", "spares"]
        .into_iter()
        .filter(|name| Path::new(&world.path("state")).join(name).exists())
        .collect();
    assert_eq!(made, [""; 0]);
    assert_eq!(told_way(&agent).await, None);
    assert!(list(&images(&agent).await).await.is_empty());
    assert!(Path::new(&world.path("state/images/oci-layout")).exists());
    assert!(told_way(&agent).await.is_some_and(|chosen| chosen.contains("image")));
}

/// What the agent says of how it mounts images.
async fn told_way(agent: &Agent) -> Option<String> {
    let request = GetAgentRequest { task_id: task() };
    let told = agent.control().await.raw.get_agent(request).await.unwrap().into_inner();
    assert_eq!(told.limits["image-store-max"], 64 << 30);
    let mut features = told.features.into_iter();
    features.find(|feature| feature.name == "image_mounts").map(|feature| feature.chosen)
}

#[tokio::test]
async fn without_a_place_images_are_refused_and_all_else_works() {
    let setup = Setup::new();
    let file = setup.path("file");
    fs::write(&file, "").unwrap();
    let agent = setup.state(&format!("{file}/state")).start().await;
    assert_eq!(agent.door().await.print("echo here").await, "here\n");
    let raw = images(&agent).await;
    let answer = snapshot(&raw, of("/etc")).await;
    assert!(answer.as_ref().is_err_and(|status| status.message().contains("state")), "{answer:?}");
    let again = snapshot(&raw, of("/etc")).await.unwrap_err();
    assert_eq!(answer.unwrap_err().code(), again.code());
}

#[tokio::test]
async fn a_store_elsewhere_is_shared_and_one_that_cannot_be_ends_the_start() {
    let (one, two) = (World::new().await, World::new().await);
    let place = format!("layout:{}", one.path("store"));
    let [first, second] = [&one, &two]
        .map(|world| world.setup().flags(["--image-store", &place, "--image-store-max", "1GiB"]));
    let (first, second) = (first.start().await, second.start().await);
    let image = snapshot(&images(&first).await, of(&one.tree("tree"))).await.unwrap();
    let seen = list(&images(&second).await).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].image_id, image.image_id);
    let bad = format!("layout:{}/tree/file/store", one.path(""));
    let (status, said) = Setup::new().flags(["--image-store", &bad]).run().await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("--image-store"), "{said}");
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let flags = [
        "--image-store=oci://r/i:tag",
        "--image-compression=xz",
        "--image-store-max=x",
        "--image-ca=/nowhere/ca.pem",
        "--image-env-file=/nowhere/env",
    ];
    let (status, said) = Setup::new().flags(flags).run().await;
    assert_eq!(status.code(), Some(78), "{said}");
    let told = [
        "--image-store \"oci://r/i:tag\": it has a tag",
        "--image-compression",
        "--image-store-max",
        "--image-ca /nowhere/ca.pem",
        "--image-env-file /nowhere/env",
    ];
    assert!(told.iter().all(|flag| said.contains(flag)), "{said}");
}

#[tokio::test]
async fn passwords_that_cannot_be_read_end_the_start() {
    let setup = Setup::new();
    let (env, auth) = (setup.path("env"), setup.path("auth.json"));
    fs::write(&env, format!("REGISTRY_AUTH_FILE={auth}\n")).unwrap();
    fs::write(&auth, r#"{"auths": "s3cret"}"#).unwrap();
    let setup = setup.flags(["--image-store=oci://localhost:1/a", "--image-env-file", &env]);
    let (status, said) = setup.run().await;
    assert_eq!(status.code(), Some(78), "{said}");
    let told = ["--image-store", &auth];
    assert!(told.iter().all(|word| said.contains(word)) && !said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn images_from_elsewhere_are_refused_unless_they_are_allowed() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let answer = crate::world::mount(&raw, "oci://localhost:1/a", &world.path("work")).await;
    refused("mount", answer, Code::FailedPrecondition, &["allowed"]);
}
