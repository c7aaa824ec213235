//! Blobs from a registry, from where the last attempt ended.

use bytes::{Buf, Bytes};
use http::{
    Method, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};

use super::{Registry, request::Ask};
use crate::image::{
    manifest::Descriptor,
    remote::{
        RemoteError,
        http::{Download, LinkError},
    },
};

/// A blob that comes.
pub(in crate::image::remote) struct Coming {
    body: Download,
    /// Bytes at its begin that were not asked for: the registry does not know ranges.
    surplus: u64,
}

impl Coming {
    /// The next bytes; `None` at the end.
    pub(in crate::image::remote) async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        while let Some(mut bytes) = self.body.next().await.transpose()? {
            let skip = usize::try_from(self.surplus).unwrap_or(usize::MAX).min(bytes.len());
            self.surplus -= skip as u64;
            bytes.advance(skip);
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

impl Registry {
    /// Begins to read a blob at `offset`.
    pub(in crate::image::remote) async fn blob(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<Coming, RemoteError> {
        let digest = blob.digest;
        let url = self.at(&format!("blobs/{digest}")).await?;
        let mut ask = Ask::new(Method::GET, url, "pull", format!("blob {digest}"));
        if offset > 0 {
            ask = ask.header(RANGE, format!("bytes={offset}-"));
        }
        let answer = self.call_once(&ask).await?;
        let surplus = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
                if range.and_then(first_of) != Some(offset) {
                    let what = format!("asked for {digest} from {offset} on, it sent {range:?}");
                    return Err(self.strange(what));
                }
                0
            }
            _ => offset,
        };
        Ok(Coming { body: answer.into_body(), surplus })
    }

    /// Whether it has a blob.
    pub(in crate::image::remote) async fn has(
        &self,
        blob: &Descriptor,
    ) -> Result<bool, RemoteError> {
        let digest = blob.digest;
        let url = self.at(&format!("blobs/{digest}")).await?;
        let ask = Ask::new(Method::HEAD, url, "look for", format!("blob {digest}"));
        match self.call(ask).await {
            Ok(_) => Ok(true),
            Err(RemoteError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Where a part begins by its `Content-Range`.
fn first_of(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_where_it_begins() {
        assert_eq!(first_of("bytes 7-9/10"), Some(7));
        assert_eq!(first_of("bytes 7-9/*"), Some(7));
        for bad in ["", "bytes */10", "items 7-9/10", "bytes -9/10"] {
            assert_eq!(first_of(bad), None, "{bad:?}");
        }
    }
}
