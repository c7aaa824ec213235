//! Blobs to a registry: chunk by chunk, and after a break from where the registry says it is, if it
//! still knows.

use http::{
    HeaderMap, HeaderName, Method, Response,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE},
};
use url::Url;

use super::{
    Registry,
    request::{Ask, Content},
};
use crate::{
    core::limits::REMOTE_CHUNK_BYTES,
    image::remote::{RemoteError, http::Download, patience::Patience, pieces::Source},
};

/// An upload that the registry knows about.
struct Upload {
    /// Where the next bytes go.
    url: Url,
    /// Bytes that are there.
    offset: u64,
}

impl Registry {
    /// Sends a blob that it does not have. It checks the digest.
    pub(in crate::image::remote) async fn send_blob(
        &self,
        source: &Source,
    ) -> Result<(), RemoteError> {
        let mut patience = Patience::new();
        let mut upload = None;
        loop {
            let Err(error) = self.go_on(&mut upload, source).await else { return Ok(()) };
            match upload.is_some() && is_lost(&error) {
                true => patience.after_loss(error).await?,
                false => patience.after(error).await?,
            }
            // The last answer may be all that was lost.
            if self.has(&source.blob).await? {
                source.reached(source.size());
                return Ok(());
            }
            let before = upload.as_ref().map_or(0, |upload| upload.offset);
            upload = self.look_at(upload, source).await;
            let after = upload.as_ref().map_or(0, |upload| upload.offset);
            source.reached(after);
            if after > before {
                patience.progressed();
            }
        }
    }

    /// Sends what is missing.
    async fn go_on(&self, place: &mut Option<Upload>, source: &Source) -> Result<(), RemoteError> {
        let upload = match place {
            Some(upload) => upload,
            None => place.insert(self.begin(source).await?),
        };
        while source.size() - upload.offset > REMOTE_CHUNK_BYTES {
            let answer = self.send_chunk(upload, source).await?;
            let doing = format!("push {}", named(source));
            upload.url = self.led(&upload.url, answer.headers(), &doing)?;
            upload.offset += REMOTE_CHUNK_BYTES;
        }
        self.finish(upload, source).await
    }

    async fn begin(&self, source: &Source) -> Result<Upload, RemoteError> {
        let url = self.at("blobs/uploads/").await?;
        let ask = Ask::new(Method::POST, url.clone(), "begin to push", named(source))
            .header(CONTENT_LENGTH, "0");
        let answer = self.call_once(&ask).await?;
        let url = self.led(&url, answer.headers(), &format!("push {}", named(source)))?;
        Ok(Upload { url, offset: 0 })
    }

    async fn send_chunk(
        &self,
        upload: &Upload,
        source: &Source,
    ) -> Result<Response<Download>, RemoteError> {
        let (offset, length) = (upload.offset, REMOTE_CHUNK_BYTES);
        let range = format!("{offset}-{}", offset + length - 1);
        let ask = octets(Method::PATCH, upload.url.clone(), source)
            .header(CONTENT_RANGE, range)
            .carrying(Content::Part { source, offset, length });
        self.call_once(&ask).await
    }

    /// Sends the rest, and says what all of it is.
    async fn finish(&self, upload: &Upload, source: &Source) -> Result<(), RemoteError> {
        let (offset, length) = (upload.offset, source.size() - upload.offset);
        let mut url = upload.url.clone();
        url.query_pairs_mut().append_pair("digest", &source.blob.digest.to_string());
        let mut ask = octets(Method::PUT, url, source);
        if offset > 0 {
            ask = ask.header(CONTENT_RANGE, format!("{offset}-{}", source.size() - 1));
        }
        let ask = ask.carrying(Content::Part { source, offset, length });
        self.call_once(&ask).await.map(|_| ())
    }

    /// Asks how far an upload is; `None` if there is none to go on with.
    async fn look_at(&self, upload: Option<Upload>, source: &Source) -> Option<Upload> {
        let upload = upload?;
        let ask = Ask::new(Method::GET, upload.url.clone(), "look how far is", named(source));
        let answer = self.call_once(&ask).await.ok()?;
        let offset = arrived(answer.headers())?;
        let url = self.led(&upload.url, answer.headers(), "go on").ok()?;
        // One that has it all has no last chunk to be told the digest with.
        (offset < source.size()).then_some(Upload { url, offset })
    }
}

/// Whether the registry has forgotten an upload, or has another idea of how far it is.
fn is_lost(error: &RemoteError) -> bool {
    matches!(error, RemoteError::NotFound { .. } | RemoteError::Refused { status: Some(416), .. })
}

fn octets<'a>(method: Method, url: Url, source: &Source) -> Ask<'a> {
    let octets: (HeaderName, &str) = (CONTENT_TYPE, "application/octet-stream");
    Ask::new(method, url, "push", named(source)).header(octets.0, octets.1)
}

fn named(source: &Source) -> String {
    format!("blob {}", source.blob.digest)
}

/// How many bytes an upload has: the header says the last one, and `0-0` may be none or one, of which
/// none is safe to take.
fn arrived(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    match range.split_once('-')? {
        ("0", "0") => Some(0),
        ("0", last) => last.parse::<u64>().ok()?.checked_add(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_says_how_far_it_is() {
        let arrived = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, range.parse().unwrap());
            arrived(&headers)
        };
        assert_eq!(arrived("0-0"), Some(0));
        assert_eq!(arrived("0-9"), Some(10));
        assert_eq!(arrived("bytes=0-9"), Some(10));
        for bad in ["", "7", "1-9", "0-", "0-x", &format!("0-{}", u64::MAX)] {
            assert_eq!(arrived(bad), None, "{bad:?}");
        }
    }
}
