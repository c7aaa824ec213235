//! What differs between two images.

use std::{cmp::Ordering, iter::Peekable, sync::Arc};

use super::{
    Change, Difference, Images, ImagesError, Told, engine::Engine, source::Source, tell::Teller,
};
use crate::{
    core::image::Reference,
    image::{
        crypt::Key,
        record::What,
        store::Hold,
        unpack::{Origin, Seen, UnpackSpec, view_layers},
    },
};

impl Images {
    /// What differs between two images' trees, in order of their paths, each with its key.
    pub async fn diff(
        &self,
        from: (Reference, Option<Key>),
        to: (Reference, Option<Key>),
    ) -> Result<Vec<Difference>, ImagesError> {
        let nobody: Told = Arc::new(|_| {});
        let from = (self.bring(&from.0, &nobody).await?, from.1);
        let to = (self.bring(&to.0, &nobody).await?, to.1);
        self.run(move |engine| {
            let (from, to) = (engine.look(&from)?, engine.look(&to)?);
            Ok(differences(from, to))
        })
        .await
    }
}

type Tree = std::collections::BTreeMap<Vec<u8>, Seen>;

impl Engine {
    fn look(self: &Arc<Self>, image: &(Hold, Option<Key>)) -> Result<Tree, ImagesError> {
        let source = Source::open(&self.store, &image.0, image.1.as_ref())?;
        let nobody: Told = Arc::new(|_| {});
        let teller = Teller::new(&nobody, "reading", None);
        let spec = UnpackSpec::of(Origin::Foreign);
        let tree = view_layers(source.layers(&self.store, &teller), &spec, &self.stop);
        tree.map_err(|error| {
            let error = ImagesError::from(error);
            ImagesError { text: format!("look at {}: {}", source.name, error.text), ..error }
        })
    }
}

fn differences(from: Tree, to: Tree) -> Vec<Difference> {
    let (mut from, mut to) = (from.into_iter().peekable(), to.into_iter().peekable());
    std::iter::from_fn(|| next(&mut from, &mut to)).collect()
}

/// The next difference.
fn next<I: Iterator<Item = (Vec<u8>, Seen)>>(
    from: &mut Peekable<I>,
    to: &mut Peekable<I>,
) -> Option<Difference> {
    loop {
        let order = match (from.peek(), to.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let only = |(path, _), change| Difference { path, change, aspects: Vec::new() };
        match order {
            Ordering::Less => return from.next().map(|one| only(one, Change::Removed)),
            Ordering::Greater => return to.next().map(|other| only(other, Change::Added)),
            Ordering::Equal => {}
        }
        let ((path, one), (_, other)) = from.next().zip(to.next())?;
        let aspects = aspects(&one, &other);
        if !aspects.is_empty() {
            return Some(Difference { path, change: Change::Changed, aspects });
        }
    }
}

/// What is different. The time of a directory only says that something in it is.
fn aspects(one: &Seen, other: &Seen) -> Vec<&'static str> {
    if one.what != other.what {
        return vec!["kind"];
    }
    let content = if one.what == What::Symlink { "target" } else { "content" };
    let all = [
        ("mode", one.mode != other.mode),
        ("owner", (one.uid, one.gid) != (other.uid, other.gid)),
        ("size", one.size != other.size),
        (content, one.content != other.content),
        ("time", one.modified != other.modified && one.what != What::Directory),
        ("attributes", one.xattrs != other.xattrs),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
