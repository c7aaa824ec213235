//! A directory becomes an image.
//!
//! What is an image in use becomes its layers and one more with what has changed; everything else one layer. What
//! is mounted beneath the directory and is no image of ours is left out, and so is all that is the
//! agent's: of a whole file system, that takes away proc, sysfs, devices and volumes, each of which becomes an
//! empty directory.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use tokio::sync::watch;

use super::{
    Images, ImagesError, Kept, Packing, Snapshot, Subject, Told,
    engine::{Answer, Engine},
    source::Source,
    tell::{Counted, Teller},
};
use crate::{
    core::{
        failure::Kind,
        image::{ImageId, Reference, Ttl},
        limits::{
            IMAGE_GZIP_LEVEL, IMAGE_LAYERS_STACKED_MAX, IMAGE_ZSTD_LEVEL, SNAPSHOT_THREADS_MAX,
            TREE_RECORD_FILE_BYTES_MAX,
        },
        mounts::{BadPath, MountPath, NoPlace, Way, judge_place},
    },
    image::{
        crypt::{self, Purpose, Salt, Sealer},
        manifest::{Descriptor, Draft, LayerMedia, NewLayer, Platform, SALT_ANNOTATION, media},
        mounts::{MountError, View},
        record::TreeRecord,
        snapshot::{Compression, Counts, Devices, PackedTree, SnapshotSpec, pack_layer},
        store::{Hold, NewImage, Pending},
    },
};

/// What a snapshot of a mount stands on.
struct Base {
    source: Source,
    record: TreeRecord,
    /// We made all of it.
    own: bool,
    /// Its layers stay until they belong to the new image too.
    _hold: Hold,
}

/// A directory that was packed.
struct Packed {
    layer: Option<(NewLayer, Pending)>,
    base: Option<Base>,
    counts: Counts,
}

impl Images {
    /// Makes or joins a snapshot. It goes on if the future is dropped. With a `snapshot_id` whose image
    /// exists, that image is the answer.
    pub async fn snapshot(&self, wanted: Snapshot, told: Told) -> Result<Kept, ImagesError> {
        let mut answer = match wanted.snapshot_id.clone() {
            Some(snapshot_id) => self.join(snapshot_id, wanted, told),
            None => return Self::to_its_end(self.clone().make_and_share(wanted, told)).await,
        };
        let answer = answer.wait_for(Option::is_some).await;
        let answer = answer.ok().and_then(|answer| answer.clone());
        answer.unwrap_or_else(|| Err(ImagesError::internal("make the snapshot: it broke off")))
    }

    /// Joins the snapshot with this id that is being made, or begins one.
    fn join(&self, snapshot_id: String, wanted: Snapshot, told: Told) -> Answer {
        let mut joined = self.0.joined.lock();
        if let Some(answer) = joined.get(&snapshot_id) {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        joined.insert(snapshot_id.clone(), answer.clone());
        drop(joined);
        let images = self.clone();
        tokio::spawn(async move {
            let result = images.clone().make_and_share(wanted, told).await;
            // Whoever comes from here on finds the image in the store.
            images.0.joined.lock().remove(&snapshot_id);
            tell.send_replace(Some(result));
        });
        answer
    }

    /// Makes a snapshot, or finds it made, and puts it where the other machines find it: then it may be told.
    async fn make_and_share(self, wanted: Snapshot, told: Told) -> Result<Kept, ImagesError> {
        let tell = told.clone();
        let (kept, _hold) = self.run(move |engine| engine.snapshot(&wanted, &tell)).await?;
        self.share(&kept.image.id, &told).await?;
        Ok(kept)
    }
}

impl Engine {
    fn snapshot(
        self: &Arc<Self>,
        wanted: &Snapshot,
        told: &Told,
    ) -> Result<(Kept, Hold), ImagesError> {
        let now = SystemTime::now();
        if let Some(snapshot_id) = &wanted.snapshot_id
            && let Some(image) = self.store.by_snapshot_id(snapshot_id, now)?
        {
            let hold = self.store.hold(&image.id, now)?;
            return Ok((self.kept(image)?, hold));
        }
        let directory = directory(&wanted.subject)?;
        let teller = Teller::new(told, "reading", None);
        let packed = self.pack(&directory, wanted, &teller)?;
        report(&directory, &packed.counts, &teller);
        let own = packed.base.as_ref().is_none_or(|base| base.own);
        let hold = self.keep_packed(packed, wanted)?;
        if own && let Err(error) = mark(&self.own(hold.id())) {
            tracing::warn!("ignoring that {} is not known as ours: {error}", hold.id());
        }
        let kept = self.kept(hold.image().clone())?;
        self.collect_too_many();
        Ok((kept, hold))
    }

    /// Packs the directory, with nothing mounted or unmounted around it meanwhile.
    fn pack(
        &self,
        directory: &Path,
        wanted: &Snapshot,
        teller: &Teller,
    ) -> Result<Packed, ImagesError> {
        let view = self.mounts.view(directory).map_err(|error| unseen(directory, error))?;
        self.judge(view.path())?;
        let base = self.base(&view, wanted);
        let within = |path: &Path| path.strip_prefix(view.path()).ok().map(Path::to_path_buf);
        let left_out: Vec<PathBuf> =
            view.hidden().iter().chain([&self.state]).filter_map(|path| within(path)).collect();
        let own_mounts: Vec<PathBuf> =
            view.beneath().iter().filter_map(|path| within(path)).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let spec = SnapshotSpec {
            compression: compression(wanted.compression.unwrap_or(self.settings.compression)),
            devices: Devices::Packed,
            left_out: &left_out,
            own_mounts: &own_mounts,
            base: base.as_ref().map(|base| &base.record),
            threads: threads.min(SNAPSHOT_THREADS_MAX),
        };
        let root = File::open(view.path())
            .map_err(|error| ImagesError::io(&format!("open {directory:?}"), &error))?;
        let (layer, counts) = self.layer(&root, &spec, wanted, teller)?;
        Ok(Packed { layer, base, counts })
    }

    /// Refuses what is the kernel's or the agent's own; what only holds that is packed without it.
    fn judge(&self, path: &Path) -> Result<(), ImagesError> {
        let no = match judge_place(path, &self.state) {
            Err(NoPlace::HoldsState(path)) if path == self.state => NoPlace::WithinState(path),
            Ok(()) | Err(NoPlace::Root | NoPlace::HoldsState(_)) => return Ok(()),
            Err(no @ (NoPlace::Kernel(_) | NoPlace::WithinState(_))) => no,
        };
        Err(ImagesError::invalid(format!("take a snapshot: {no}")))
    }

    /// Packs into a blob of the store, sealed where there is a key.
    fn layer(
        &self,
        root: &File,
        spec: &SnapshotSpec<'_>,
        wanted: &Snapshot,
        teller: &Teller,
    ) -> Result<(Option<(NewLayer, Pending)>, Counts), ImagesError> {
        let writer = self.store.writer()?;
        let (PackedTree { layer, counts, .. }, pending, salt) = match &wanted.key {
            None => {
                let inner = writer.hashed_by_caller();
                let mut out = Counted { inner, teller: teller.clone() };
                let packed = pack_layer(root.as_fd(), spec, &mut out, &self.stop)?;
                let Some(layer) = &packed.layer else { return Ok((None, packed.counts)) };
                let digest = layer.digest;
                (packed, out.inner.finish_as(digest)?, None)
            }
            Some(key) => {
                let salt = Salt::random().map_err(|error| ImagesError::io("seal", &error))?;
                let inner = Sealer::new(writer, key, &salt, Purpose::Layer);
                let mut out = Counted { inner, teller: teller.clone() };
                let packed = pack_layer(root.as_fd(), spec, &mut out, &self.stop)?;
                let sealed = out.inner.finish();
                let sealed = sealed.map_err(|error| ImagesError::io("write a layer", &error))?;
                (packed, sealed.finish()?, Some(salt.to_string()))
            }
        };
        teller.end(counts.entries);
        let Some(layer) = layer else { return Ok((None, counts)) };
        let media =
            LayerMedia { compression: spec.compression.stored(), sealed: wanted.key.is_some() };
        let (digest, size) = (pending.digest(), pending.size());
        let new = NewLayer { media, digest, size, diff_id: layer.diff_id, salt };
        Ok((Some((new, pending)), counts))
    }

    /// The image that is mounted at the directory, if a snapshot can stand on its layers: they are sealed as this
    /// one is to be, not too many, and it is known what their tree was like.
    fn base(&self, view: &View<'_>, wanted: &Snapshot) -> Option<Base> {
        let mounted = view.mounted().filter(|mounted| !mounted.image.is_empty())?;
        let id = ImageId::parse(&mounted.image).ok()?;
        if mounted.way == Way::Overlay
            && let Err(error) = self.record(&mounted.image)
        {
            tracing::warn!("ignoring that a tree is not recorded: {error}");
        }
        let tried = self.try_base(&id, &mounted.record, wanted);
        match tried {
            Ok(base) if base.source.manifest.layers.len() < IMAGE_LAYERS_STACKED_MAX => Some(base),
            Ok(_) => None,
            Err(error) => {
                tracing::info!("a snapshot of {:?} packs everything: {error}", view.path());
                None
            }
        }
    }

    fn try_base(
        &self,
        id: &ImageId,
        record: &Path,
        wanted: &Snapshot,
    ) -> Result<Base, ImagesError> {
        let hold = self.hold(&Reference::Image(id.clone()))?;
        let source = Source::open(&self.store, &hold, wanted.key.as_ref())?;
        let unread = |error| ImagesError::io("read the record of its tree", &error);
        let mut bytes = Vec::new();
        File::open(record)
            .and_then(|file| file.take(TREE_RECORD_FILE_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(unread)?;
        let record = TreeRecord::from_bytes(&bytes)
            .map_err(|error| unread(io::Error::other(error.to_string())))?;
        Ok(Base { source, record, own: self.is_own(id), _hold: hold })
    }

    /// Makes an image of what was packed.
    fn keep_packed(&self, packed: Packed, wanted: &Snapshot) -> Result<Hold, ImagesError> {
        let now = SystemTime::now();
        let mut draft = match &packed.base {
            Some(base) => Draft::on(&named_as_oci(&base.source), base.source.config.clone()),
            None => Draft::empty(Platform::here()),
        };
        if let Ttl::Until(end) = wanted.ttl {
            draft.expires(end);
        }
        let mut blobs = Vec::new();
        if let Some((layer, pending)) = packed.layer {
            draft.push(layer, now);
            blobs.push(pending);
        }
        let config = draft.config(now);
        let (descriptor, pending) = self.config(&config, wanted)?;
        blobs.push(pending);
        let manifest = draft.manifest(descriptor);
        let (snapshot_id, tag) = (wanted.snapshot_id.clone(), wanted.tag.clone());
        let new = NewImage { manifest, blobs, ttl: wanted.ttl, snapshot_id, tag };
        Ok(self.store.add_image(new, now)?)
    }

    /// Writes a configuration, sealed where there is a key.
    fn config(
        &self,
        config: &[u8],
        wanted: &Snapshot,
    ) -> Result<(Descriptor, Pending), ImagesError> {
        let failed = |error: io::Error| ImagesError::io("write a configuration", &error);
        let mut writer = self.store.writer()?;
        let mut salted = None;
        match &wanted.key {
            None => io::Write::write_all(&mut writer, config).map_err(failed)?,
            Some(key) => {
                let salt = Salt::random().map_err(failed)?;
                let sealed = crypt::seal(config, key, &salt, Purpose::Config);
                io::Write::write_all(&mut writer, &sealed).map_err(failed)?;
                salted = Some(salt.to_string());
            }
        }
        let pending = writer.finish()?;
        let media_type = if salted.is_some() { media::SEALED_CONFIG } else { media::CONFIG };
        let mut descriptor = Descriptor::new(media_type, pending.digest(), pending.size());
        descriptor.annotations.extend(salted.map(|salt| (SALT_ANNOTATION.to_owned(), salt)));
        Ok((descriptor, pending))
    }
}

/// The directory that a snapshot is taken of.
fn directory(subject: &Subject) -> Result<PathBuf, ImagesError> {
    match subject {
        Subject::Filesystem => Ok(PathBuf::from("/")),
        Subject::Directory(path) => match MountPath::parse(path) {
            Ok(_) => Ok(Path::new(OsStr::from_bytes(path)).to_path_buf()),
            Err(BadPath::Root) => Ok(PathBuf::from("/")),
            Err(bad) => Err(ImagesError::invalid(format!("take a snapshot: {bad}"))),
        },
    }
}

fn compression(packing: Packing) -> Compression {
    match packing {
        Packing::Zstd => Compression::Zstd(IMAGE_ZSTD_LEVEL),
        Packing::Gzip => Compression::Gzip(IMAGE_GZIP_LEVEL),
        Packing::Plain => Compression::Plain,
    }
}

/// The manifest of a base, whose layers are called what an OCI image calls them.
fn named_as_oci(source: &Source) -> crate::image::manifest::Manifest {
    let mut manifest = source.manifest.clone();
    for layer in &mut manifest.layers {
        if let Some(media) = LayerMedia::parse(&layer.media_type) {
            layer.media_type = media.name().to_owned();
        }
    }
    manifest
}

/// Why a directory cannot be looked at.
fn unseen(directory: &Path, error: MountError) -> ImagesError {
    let text = format!("take a snapshot of {directory:?}: {error}");
    match error {
        MountError::NotDirectory(_) => ImagesError::invalid(text),
        MountError::Failed(_, _, cause) => match cause.kind() {
            io::ErrorKind::NotFound => ImagesError::new(Kind::Unknown, text),
            io::ErrorKind::PermissionDenied => ImagesError::refused(text),
            _ => match cause.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(
                    rustix::io::Errno::NOTDIR
                    | rustix::io::Errno::LOOP
                    | rustix::io::Errno::NAMETOOLONG,
                ) => ImagesError::invalid(text),
                _ => ImagesError::internal(text),
            },
        },
        error => ImagesError { text, ..error.into() },
    }
}

/// Says what a snapshot does not have.
fn report(directory: &Path, counts: &Counts, teller: &Teller) {
    let of = directory.display();
    for (count, what) in [
        (counts.sockets, "sockets were left out"),
        (counts.devices, "devices were left out"),
        (counts.mounts, "mounts that are not images were left out"),
        (counts.unreadable, "entries could not be read and were left out"),
        (counts.unnamable, "names that begin with .wh. were left out"),
        (counts.attributes, "extended attributes were left out"),
        (counts.changed, "files were changed while they were read"),
    ] {
        if count > 0 {
            tracing::info!("snapshot of {of}: {count} {what}");
            teller.notice(format!("{of}: {count} {what}"));
        }
    }
    counts.notes.iter().for_each(|note| teller.notice(note.clone()));
}

/// Writes down that an image is ours. Lost, it is taken for somebody else's, which is safe.
fn mark(own: &Path) -> io::Result<()> {
    File::create(own).map(drop)
}
