//! Names in a registry: listed and taken away.

use http::{HeaderMap, Method, header::LINK};
use serde::Deserialize;
use url::Url;

use super::{Registry, request::Ask};
use crate::{
    core::{
        image::Digest,
        limits::{REMOTE_ANSWER_BYTES_MAX, REMOTE_NAMES_MAX},
    },
    image::remote::{Name, RemoteError, RemoteTag},
};

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// Tags on one page. Longer pages would not fit with long tags into what is read.
const PAGE: usize = 1000;

impl Registry {
    /// All tags.
    pub(in crate::image::remote) async fn tags(&self) -> Result<Vec<String>, RemoteError> {
        let mut tags = Vec::new();
        let mut next = Some(self.at(&format!("tags/list?n={PAGE}")).await?);
        while let Some(url) = next {
            let ask = Ask::new(Method::GET, url.clone(), "list", "tags".into());
            let answer = match self.call(ask).await {
                // A repository begins with its first image.
                Err(RemoteError::NotFound { .. }) => break,
                answer => answer?,
            };
            next = following(&url, answer.headers()).filter(|next| self.is_ours(next));
            let bytes = self.read(answer, REMOTE_ANSWER_BYTES_MAX, "list tags").await?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| self.strange(format!("its list of tags: {error}")))?;
            let page = page.tags.unwrap_or_default();
            if page.is_empty() {
                break;
            }
            tags.extend(page);
            if tags.len() > REMOTE_NAMES_MAX {
                return Err(self.strange(format!("it has more than {REMOTE_NAMES_MAX} tags")));
            }
        }
        Ok(tags)
    }

    /// Takes a tag away. Where a registry can only remove a manifest with all its tags, that is done
    /// if there is no other tag.
    pub(in crate::image::remote) async fn remove(&self, name: &Name) -> Result<(), RemoteError> {
        let not_found =
            || RemoteError::NotFound { place: self.place().into(), name: format!("image {name}") };
        let digest = self.look_up(name).await?.ok_or_else(not_found)?;
        let refusal = match self.delete(name).await {
            Err(error @ RemoteError::Refused { status: Some(400 | 405), .. }) => error,
            done => return done,
        };
        if matches!(name, Name::Digest(_)) {
            return Err(refusal);
        }
        if let Some(other) = self.other_tag(name, digest).await? {
            let what = format!("way to take away {name} alone: {other} is the same image");
            return Err(RemoteError::Unsupported { place: self.place().into(), what });
        }
        self.delete(&Name::Digest(digest)).await
    }

    async fn delete(&self, name: &Name) -> Result<(), RemoteError> {
        let url = self.at(&format!("manifests/{name}")).await?;
        let ask = Ask::new(Method::DELETE, url, "remove", format!("image {name}"));
        self.call(ask).await.map(|_| ())
    }

    /// A tag besides `name` that stands for the same manifest.
    async fn other_tag(&self, name: &Name, digest: Digest) -> Result<Option<String>, RemoteError> {
        let own = name.to_string();
        for tag in self.tags().await?.into_iter().filter(|tag| *tag != own) {
            let Ok(other) = RemoteTag::parse(&tag) else { continue };
            if self.look_up(&Name::Tag(other)).await? == Some(digest) {
                return Ok(Some(tag));
            }
        }
        Ok(None)
    }
}

/// The page after this one, by the header `Link`.
fn following(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    parameters.contains("next").then(|| url.join(target).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_which_one_follows() {
        let url = Url::parse("https://r.example/v2/a/tags/list?n=2").unwrap();
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, link.parse().unwrap());
            following(&url, &headers).map(|url| url.to_string())
        };
        let wanted = "https://r.example/v2/a/tags/list?n=2&last=b";
        assert_eq!(next(r#"</v2/a/tags/list?n=2&last=b>; rel="next""#).as_deref(), Some(wanted));
        assert_eq!(next(&format!("<{wanted}>; rel=next")).as_deref(), Some(wanted));
        for none in ["", "</x>", r#"</x>; rel="prev""#, "x; rel=next"] {
            assert_eq!(next(none), None, "{none:?}");
        }
    }
}
