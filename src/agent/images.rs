//! How the agent opens its images: at its start if it has some, else when somebody asks for them.
//!
//! An agent that never has to do with images makes no directory for them, and starts no later.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::config::{Config, ImageStore, RemoteImages};
use crate::{
    doors::images::OnDemand,
    image::images::{Images, ImagesError, Settings},
    os::{
        features::Features,
        work::{Share, Work},
    },
};

/// How long work on images may go on when everything else has ended.
pub(super) const END: Duration = Duration::from_millis(500);

/// What an earlier agent may have left in the state directory.
const LEFT: [&str; 2] = ["mounts", "images"];

/// The images of this agent.
pub(super) fn on_demand(config: &Config, features: &Arc<Features>, work: &Work) -> OnDemand {
    let (settings, features, work) = (settings(config), features.clone(), work.clone());
    OnDemand::new(Box::new(move || {
        Box::pin(open(settings.clone(), features.clone(), work.clone()))
    }))
}

/// Opens the images if an earlier agent may have left some, so that its mounts are whole before anything runs;
/// or if the operator said where they are, so that a mistake is told at once.
pub(super) async fn begin(config: &Config, images: &OnDemand) -> Result<(), ImagesError> {
    let left = |name| config.state_dir.join(name).symlink_metadata().is_ok();
    let told = matches!(config.images.store, ImageStore::Layout(_));
    if !told && !LEFT.into_iter().any(left) {
        return Ok(());
    }
    match images.get().await {
        Ok(_) => Ok(()),
        Err(error) if told => Err(error),
        Err(error) => {
            tracing::warn!("going on without images: {error}");
            Ok(())
        }
    }
}

#[cfg(not(feature = "images"))]
async fn open(_: Settings, _: Arc<Features>, _: Work) -> Result<Images, ImagesError> {
    let text = String::from("this doorward is built without images");
    Err(ImagesError { kind: crate::core::failure::Kind::Unbuilt, damaged: false, text })
}

#[cfg(feature = "images")]
async fn open(
    settings: Settings,
    features: Arc<Features>,
    work: Work,
) -> Result<Images, ImagesError> {
    let jobs = work.clone();
    let opening = move || Images::open(settings, &features, jobs, SystemTime::now());
    let (images, notices) = work.run(Share::Image, opening).await?;
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let kept = images.clone();
    tokio::spawn(async move { kept.keep_house().await });
    Ok(images)
}

fn settings(config: &Config) -> Settings {
    let images = &config.images;
    Settings {
        state_dir: config.state_dir.clone(),
        store: match &images.store {
            ImageStore::State => beneath(&config.state_dir),
            ImageStore::Layout(path) => path.clone(),
        },
        compression: images.compression,
        bytes_max: images.store_max,
        remote: images.remote == RemoteImages::Allowed,
        spares: true,
    }
}

fn beneath(state: &Path) -> PathBuf {
    state.join("images")
}
