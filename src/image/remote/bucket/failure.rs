//! What went wrong with a bucket, without what servers repeat of a request.

use std::error::Error as _;

use object_store::Error;

use crate::image::remote::{RemoteError, error::shown, http::LinkError};

/// The error of doing `doing` to `what` at `place`.
pub(super) fn failed(place: &str, doing: &str, what: &str, error: Error) -> RemoteError {
    let (place, doing) = (place.to_owned(), format!("{doing} {what}"));
    if let Some(source) = link_error(&error) {
        return RemoteError::Link { place, doing, source };
    }
    match &error {
        Error::NotFound { .. } => RemoteError::NotFound { place, name: what.into() },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            RemoteError::Unauthorized { place, doing, said: told(&error) }
        }
        _ => {
            let (status, said) = (status(&error.to_string()), told(&error));
            RemoteError::Refused { place, doing, status, said, retry_after: None }
        }
    }
}

/// What broke the link, if that did.
fn link_error(error: &Error) -> Option<LinkError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(link) = error.downcast_ref::<LinkError>() {
            return Some(link.clone());
        }
        cause = error.source();
    }
    None
}

/// What a server said, or else the innermost cause. A server's whole answer may repeat the headers of
/// the request, and with them a token.
pub(super) fn told(error: &Error) -> String {
    let text = error.to_string();
    if let Some(code) = element(&text, "Code") {
        let message = element(&text, "Message").unwrap_or_default();
        return shown(&format!("{code}: {message}"));
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    shown(text.split('<').next().unwrap_or_default())
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    after.split_once(&format!("</{name}>")).map(|(content, _)| content)
}

/// The status in an error's text: its type is private.
fn status(text: &str) -> Option<u16> {
    let (_, after) = text.split_once("status code: ")?;
    after.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn a_refusal_is_told_without_what_it_repeats() {
        let body = "Server returned non-2xx status code: 503 Service Unavailable: <?xml?><Error>\
            <Code>SlowDown</Code><Message>less, please</Message>\
            <CanonicalRequest>x-amz-security-token:s3cret</CanonicalRequest></Error>";
        let error = failed("s3://b", "push", "blob x", generic(body));
        assert!(error.may_pass());
        let text = format!("{error} {error:?}");
        assert!(text.contains("503") && text.contains("SlowDown: less, please"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn what_is_no_answer_of_a_bucket_is_cut() {
        let told = told(&generic("status code: 403 Forbidden: <html>s3cret</html>"));
        assert_eq!(told, "status code: 403 Forbidden:");
        assert_eq!(status("no status"), None);
    }
}
