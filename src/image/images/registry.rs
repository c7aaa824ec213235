//! Images from elsewhere and to there: the store that several machines share, of which the one on the disk is a
//! cache, and registries that callers name.
//!
//! An id exists elsewhere before anybody is told it. What is missing here is fetched when somebody names it; who
//! names it meanwhile waits for that. Who waits holds no thread.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::SystemTime,
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Images, ImagesError, Kept, Plain, Pull, Push, Told,
    engine::{Engine, UnderWay},
    places::{Target, Wanted},
    tell::Teller,
};
use crate::{
    core::{
        failure::Kind,
        image::{ImageId, Name, Reference, Tag, Ttl},
        limits::IMAGE_TRANSFERS_AT_ONCE,
    },
    image::store::{Hold, Image},
};

/// Images that are being fetched, by what they are called. Held for a few lines.
pub(super) type Coming = Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>;

/// Images that are on their way. Places that callers name may be slow or dead, and those who want the shared store do
/// not wait for them.
pub(super) struct Transfers {
    shared: Semaphore,
    named: Semaphore,
}

/// Which of the images here is as good as one that is elsewhere.
#[derive(Clone, Copy)]
enum Fit {
    /// Any with the same manifest.
    Any,
    /// One that is kept for as long.
    KeptFor(Ttl),
}

impl Images {
    /// Copies an image into a registry. Dropped, it stops; a repeat goes on with what is missing there.
    pub async fn push(&self, push: Push, told: Told) -> Result<Kept, ImagesError> {
        let Push { image, to, plain } = push;
        let target = self.0.places.target(&to, plain, self.0.settings.remote)?;
        let hold = self.bring(&image, &told).await?;
        if let Name::Image(id) = target.name()
            && id != hold.id()
        {
            let text = format!("push {} as {id}: an id stands for one image", hold.id());
            return Err(ImagesError::invalid(text));
        }
        let _under_way = UnderWay::begin(&self.0)?;
        self.send(hold.id(), &target, &told).await?;
        self.run(move |engine| engine.kept(hold.image().clone())).await
    }

    /// Copies an image from a registry into the store, and where that is shared, into the shared one. Dropped, it
    /// stops.
    pub async fn pull(&self, pull: Pull, told: Told) -> Result<Kept, ImagesError> {
        let Pull { from, plain, ttl, tag } = pull;
        let target = self.0.places.target(&from, plain, self.0.settings.remote)?;
        let hold = self.fetch(&target, ttl, Fit::KeptFor(ttl), &told).await?;
        self.share(hold.id(), &told).await?;
        self.run(move |engine| {
            if let Some(tag) = tag {
                engine.store.tag(hold.id(), &tag, SystemTime::now())?;
            }
            engine.kept(engine.store.find(&Reference::Image(hold.id().clone()), SystemTime::now())?)
        })
        .await
    }

    /// Takes the image that a caller named into use; one that is elsewhere is fetched.
    pub(super) async fn bring(
        &self,
        reference: &Reference,
        told: &Told,
    ) -> Result<Hold, ImagesError> {
        let ttl = renewed();
        if let Reference::Remote(remote) = reference {
            let plain = Plain::NotAsked;
            let target = self.0.places.target(remote, plain, self.0.settings.remote)?;
            return self.fetch(&target, ttl, Fit::Any, told).await;
        }
        let wanted = reference.clone();
        let here = self.run_soon(move |engine| engine.hold(&wanted)).await;
        match (here, reference) {
            (Err(error), Reference::Image(id))
                if error.kind == Kind::Unknown && self.0.places.is_shared() =>
            {
                self.fetch(&Target::shared(id), ttl, Fit::Any, told).await
            }
            (here, _) => here,
        }
    }

    /// Puts an image where the other machines find it, if there is such a place.
    pub(super) async fn share(&self, id: &ImageId, told: &Told) -> Result<(), ImagesError> {
        if !self.0.places.is_shared() {
            return Ok(());
        }
        let _under_way = UnderWay::begin(&self.0)?;
        let sent = self.send(id, &Target::shared(id), told).await;
        sent.map_err(|error| {
            let text = format!("{}; it is kept here as {id}", error.text);
            ImagesError { text, ..error }
        })
    }

    /// Takes an image away from where the other machines find it; whether it was there.
    pub(super) async fn unshare(&self, id: &ImageId) -> Result<bool, ImagesError> {
        match self.0.places.is_shared() {
            true => self.0.places.remove(id).await,
            false => Ok(false),
        }
    }

    async fn send(&self, id: &ImageId, to: &Target, told: &Told) -> Result<(), ImagesError> {
        let _transfer = self.0.transfers.one(to).await;
        let teller = Teller::new(told, "pushing", None);
        self.0.places.push(&self.0.store, id, to, &teller).await?;
        teller.end(0);
        Ok(())
    }

    /// Fetches an image, unless one is here that fits.
    async fn fetch(
        &self,
        from: &Target,
        ttl: Ttl,
        fit: Fit,
        told: &Told,
    ) -> Result<Hold, ImagesError> {
        let _under_way = UnderWay::begin(&self.0)?;
        let turn = self.0.turn(from.to_string());
        let _turn = turn.lock().await;
        if let Some(hold) = self.fitting(from, fit).await? {
            return Ok(hold);
        }
        let _transfer = self.0.transfers.one(from).await;
        let teller = Teller::new(told, "pulling", None);
        let wanted = Wanted { ttl, bytes_max: self.0.bytes_max() };
        let hold = self.0.places.pull(&self.0.store, from, wanted, &teller).await?;
        teller.end(0);
        self.run_soon(move |engine| {
            engine.collect_too_many();
            Ok(hold)
        })
        .await
    }

    /// An image that is here already and as good as the one elsewhere. An id needs no look at where it comes from,
    /// and neither does the digest of its manifest.
    async fn fitting(&self, from: &Target, fit: Fit) -> Result<Option<Hold>, ImagesError> {
        let named = match from.name() {
            Name::Image(id) => Reference::Image(id.clone()),
            Name::Digest(digest) => by_digest(&digest.to_string()),
            Name::Tag(_) => by_digest(&self.0.places.find(from).await?.to_string()),
        };
        if let Some(hold) = self.held_if(named, fit).await? {
            return Ok(Some(hold));
        }
        match from.name() {
            // It may be that of an index, of which the manifest for this machine is here.
            Name::Digest(_) => {
                let manifest = by_digest(&self.0.places.find(from).await?.to_string());
                self.held_if(manifest, fit).await
            }
            Name::Image(_) | Name::Tag(_) => Ok(None),
        }
    }

    async fn held_if(&self, named: Reference, fit: Fit) -> Result<Option<Hold>, ImagesError> {
        let fits = move |image: &Image| match fit {
            Fit::Any => true,
            Fit::KeptFor(ttl) => image.ttl == ttl,
        };
        let held = self.run_soon(move |engine| {
            let image = engine.find(&named)?;
            fits(&image).then(|| engine.hold(&Reference::Image(image.id))).transpose()
        });
        match held.await {
            Err(error) if error.kind == Kind::Unknown => Ok(None),
            held => held,
        }
    }
}

impl Engine {
    /// The right to fetch something, which one has at a time.
    fn turn(&self, what: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut coming = self.coming.lock();
        coming.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = coming.get(&what).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        coming.insert(what, Arc::downgrade(&turn));
        turn
    }
}

impl Transfers {
    pub(super) fn new() -> Self {
        let [shared, named] = [(); 2].map(|()| Semaphore::new(IMAGE_TRANSFERS_AT_ONCE));
        Self { shared, named }
    }

    /// The right to one.
    async fn one(&self, target: &Target) -> SemaphorePermit<'_> {
        let places = if target.is_shared() { &self.shared } else { &self.named };
        places.acquire().await.expect("it is never closed")
    }
}

/// What is fetched because somebody names it is kept until it was not used for long.
fn renewed() -> Ttl {
    Ttl::parse(None, SystemTime::UNIX_EPOCH).expect("unset is a ttl")
}

fn by_digest(digest: &str) -> Reference {
    Reference::Tag(Tag::parse(digest).expect("a digest is written as a tag may be"))
}
