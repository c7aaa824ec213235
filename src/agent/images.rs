//! How the agent opens its images: at its start if it has some, else when somebody asks for them.
//!
//! An agent that never has to do with images makes no directory for them, and starts no later.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::config::{Config, ImageSettings, ImageStore};
use crate::{
    doors::images::OnDemand,
    image::images::{Images, ImagesError, Settings},
    os::{
        features::Features,
        work::{Share, Work},
    },
};

#[cfg(feature = "images")]
use crate::image::{images::Places, remote::Options};

/// How long work on images may go on when everything else has ended.
pub(super) const END: Duration = Duration::from_millis(500);

/// What an earlier agent may have left in the state directory.
const LEFT: [&str; 2] = ["mounts", "images"];

/// The images of this agent.
pub(super) fn on_demand(config: &Config, features: &Arc<Features>, work: &Work) -> OnDemand {
    let (settings, images) = (settings(config), config.images.clone());
    let begun = Begun { settings, images, features: features.clone(), work: work.clone() };
    OnDemand::new(Box::new(move || Box::pin(begun.clone().open())))
}

/// Opens the images if an earlier agent may have left some, so that its mounts are whole before anything runs;
/// or if the operator said where they are, so that a mistake is told at once.
pub(super) async fn begin(config: &Config, images: &OnDemand) -> Result<(), ImagesError> {
    let left = |name| config.state_dir.join(name).symlink_metadata().is_ok();
    let told = matches!(config.images.store, ImageStore::Layout(_) | ImageStore::Shared(_));
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

/// What the images are opened with.
#[derive(Clone)]
struct Begun {
    settings: Settings,
    images: ImageSettings,
    features: Arc<Features>,
    work: Work,
}

impl Begun {
    #[cfg(not(feature = "images"))]
    async fn open(self) -> Result<Images, ImagesError> {
        let text = String::from("this doorward is built without images");
        Err(ImagesError { kind: crate::core::failure::Kind::Unbuilt, damaged: false, text })
    }

    #[cfg(feature = "images")]
    async fn open(self) -> Result<Images, ImagesError> {
        let places = self.places().await?;
        let Self { settings, features, work, .. } = self;
        let jobs = work.clone();
        let opening = move || Images::open(settings, places, &features, jobs, SystemTime::now());
        let (images, notices) = work.run(Share::Image, opening).await?;
        for notice in notices {
            tracing::warn!("{notice}");
        }
        let kept = images.clone();
        tokio::spawn(async move { kept.keep_house().await });
        Ok(images)
    }

    /// Where images are beyond this machine.
    #[cfg(feature = "images")]
    async fn places(&self) -> Result<Places, ImagesError> {
        let mut options = Options::new(self.work.clone());
        options.ca = self.images.ca.clone();
        options.environment.extend(self.images.variables.0.clone());
        let shared = match &self.images.store {
            ImageStore::Shared(location) => Some(location),
            ImageStore::State | ImageStore::Layout(_) => None,
        };
        Places::open(shared, options).await
    }
}

fn settings(config: &Config) -> Settings {
    let images = &config.images;
    Settings {
        state_dir: config.state_dir.clone(),
        store: match &images.store {
            ImageStore::State | ImageStore::Shared(_) => beneath(&config.state_dir),
            ImageStore::Layout(path) => path.clone(),
        },
        compression: images.compression,
        bytes_max: images.store_max,
        remote: images.remote,
        spares: true,
    }
}

fn beneath(state: &Path) -> PathBuf {
    state.join("images")
}
