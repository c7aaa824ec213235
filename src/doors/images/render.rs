//! What the engine says, as messages.

use super::wire;
use crate::{
    core::mounts::Way,
    image::images::{
        Change, Checked, Described, Difference, Event, Kept, KeptLayer, Mounted, Progress,
    },
    image::store::{Fault, Wrong},
    wire::doorward::v1::{
        diff_images_response, mount_response, snapshot_response, transfer_response,
        verify_images_response,
    },
};

fn progress(progress: Progress) -> wire::Progress {
    let Progress { step, done_bytes, total_bytes, entries } = progress;
    wire::Progress { step: step.into(), done_bytes, total_bytes, entries }
}

pub(super) fn snapshot_event(event: Event) -> Option<wire::SnapshotResponse> {
    use snapshot_response::Event as Wire;
    let event = match event {
        Event::Progress(made) => Wire::Progress(progress(made)),
        Event::Notice(text) => Wire::Notice(wire::Notice { text }),
    };
    Some(wire::SnapshotResponse { event: Some(event) })
}

pub(super) fn snapshot_done(kept: Kept) -> Vec<wire::SnapshotResponse> {
    let event = Some(snapshot_response::Event::Done(image(kept)));
    vec![wire::SnapshotResponse { event }]
}

pub(super) fn mount_event(event: Event) -> Option<wire::MountResponse> {
    use mount_response::Event as Wire;
    let event = match event {
        Event::Progress(made) => Wire::Progress(progress(made)),
        Event::Notice(text) => Wire::Notice(wire::Notice { text }),
    };
    Some(wire::MountResponse { event: Some(event) })
}

pub(super) fn mount_done(done: Mounted) -> Vec<wire::MountResponse> {
    let event = Some(mount_response::Event::Done(mounted(done)));
    vec![wire::MountResponse { event }]
}

/// A transfer has no place for notices; the log has them.
pub(super) fn transfer_event(event: Event) -> Option<wire::TransferResponse> {
    match event {
        Event::Progress(made) => {
            let event = Some(transfer_response::Event::Progress(progress(made)));
            Some(wire::TransferResponse { event })
        }
        Event::Notice(_) => None,
    }
}

pub(super) fn transfer_done(kept: Kept) -> Vec<wire::TransferResponse> {
    let event = Some(transfer_response::Event::Done(image(kept)));
    vec![wire::TransferResponse { event }]
}

pub(super) fn verify_event(event: Event) -> Option<wire::VerifyImagesResponse> {
    match event {
        Event::Progress(made) => {
            let event = Some(verify_images_response::Event::Progress(progress(made)));
            Some(wire::VerifyImagesResponse { event })
        }
        Event::Notice(_) => None,
    }
}

pub(super) fn verify_done(checked: Checked) -> Vec<wire::VerifyImagesResponse> {
    use verify_images_response::{Damage, Event as Wire, Verified};
    let Checked { blobs, bytes, faults } = checked;
    let damaged = faults.len() as u64;
    let damage = |fault: Fault| {
        Wire::Damage(Damage {
            digest: fault.digest.to_string(),
            what: wrong(fault.wrong).into(),
            image_ids: fault.images.iter().map(ToString::to_string).collect(),
        })
    };
    let done = Wire::Done(Verified { blobs, bytes, damaged });
    let events = faults.into_iter().map(damage).chain([done]);
    events.map(|event| wire::VerifyImagesResponse { event: Some(event) }).collect()
}

fn wrong(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::Missing => "missing",
        Wrong::Size => "size",
        Wrong::Content => "content",
        Wrong::Unreadable => "unreadable",
    }
}

pub(super) fn mounted(mounted: Mounted) -> wire::MountedImage {
    let way = match mounted.way {
        Some(Way::Overlay) => "overlay",
        Some(Way::Bind) => "bind",
        Some(Way::Swap) => "rename",
        Some(Way::Entries) => "entries",
        None => "",
    };
    wire::MountedImage {
        path: mounted.path.into(),
        image_id: mounted.image.map(|id| id.to_string()).unwrap_or_default(),
        way: way.into(),
        since: mounted.since.map(Into::into),
    }
}

pub(super) fn image(kept: Kept) -> wire::Image {
    let Kept { image, expires, layers, mounted_at } = kept;
    wire::Image {
        image_id: image.id.to_string(),
        tags: image.tags.iter().map(ToString::to_string).collect(),
        digest: image.manifest.to_string(),
        created: Some(image.created.into()),
        last_used: Some(image.last_used.into()),
        expires: expires.map(Into::into),
        size_bytes: image.bytes,
        layers: layers.into_iter().map(layer).collect(),
        sealed: image.sealed,
        mounted_at: mounted_at.into_iter().map(Into::into).collect(),
    }
}

fn layer(layer: KeptLayer) -> wire::Layer {
    wire::Layer {
        digest: layer.digest.to_string(),
        media_type: layer.media_type,
        size_bytes: layer.size_bytes,
        diff_id: layer.diff_id.map(|digest| digest.to_string()).unwrap_or_default(),
    }
}

pub(super) fn described(described: Described) -> wire::GetImageResponse {
    wire::GetImageResponse {
        image: Some(image(described.kept)),
        manifest: described.manifest,
        config: described.config.unwrap_or_default(),
    }
}

pub(super) fn difference(difference: Difference) -> wire::DiffImagesResponse {
    use diff_images_response::Change as Wire;
    let change = match difference.change {
        Change::Added => Wire::Added,
        Change::Removed => Wire::Removed,
        Change::Changed => Wire::Changed,
    };
    wire::DiffImagesResponse {
        path: difference.path.into(),
        change: change.into(),
        aspects: difference.aspects.into_iter().map(String::from).collect(),
    }
}
