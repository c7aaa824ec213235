//! The one table of status codes.
//!
//! Public clients retry CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, INTERNAL and UNAVAILABLE for ten
//! seconds, and a wait for ever, so that nothing permanent may have one of these codes. They
//! retry RESOURCE_EXHAUSTED only where the details say when.

use std::{fmt::Display, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prost::{Message, Name};
use tonic::{Code, Status};

use crate::{
    core::{
        failure::Kind,
        limits::{RETRY_AFTER, STATUS_MESSAGE_BYTES_MAX},
    },
    image::images::ImagesError,
    wire::{
        TYPE_URL_PREFIX,
        modal::client::{RpcRetryPolicy, RpcStatus},
    },
};

/// A trailer that public clients show to their user as a warning.
pub const WARNING: HeaderName = HeaderName::from_static("x-modal-warning");
/// The first offset that is still kept, on OUT_OF_RANGE for dropped bytes.
pub const FIRST_OFFSET: HeaderName = HeaderName::from_static("doorward-first-offset");
/// Why an output stream ended: `eof`, `quiet` or `linger`.
pub const END: HeaderName = HeaderName::from_static("doorward-end");

/// What stays readable in a percent-encoded warning.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b' ').remove(b'-').remove(b'.').remove(b'_');

/// The code for each kind of failure.
pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::Refused => Code::FailedPrecondition,
        Kind::Unknown => Code::NotFound,
        Kind::Taken => Code::AlreadyExists,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::Superseded => Code::Aborted,
        Kind::Unbuilt => Code::Unimplemented,
        // INTERNAL would be retried, and a defect does not go away by asking again.
        Kind::Internal => Code::DataLoss,
    }
}

/// The status for a failure; a lack of something also says when to try again.
pub fn status(kind: Kind, message: impl Display) -> Status {
    match kind {
        Kind::Exhausted => retry_later(message, RETRY_AFTER),
        Kind::Invalid
        | Kind::Refused
        | Kind::Unknown
        | Kind::Taken
        | Kind::OutOfRange
        | Kind::Superseded
        | Kind::Unbuilt
        | Kind::Internal => Status::new(code(kind), bounded(message)),
    }
}

/// The status for what went wrong with images. A store that is full says nothing of coming back: waiting
/// does not empty it.
pub fn images(error: ImagesError) -> Status {
    let code = if error.damaged { Code::DataLoss } else { code(error.kind) };
    Status::new(code, bounded(error.text))
}

/// RESOURCE_EXHAUSTED, with details that make public clients try again after `after`.
pub fn retry_later(message: impl Display, after: Duration) -> Status {
    let code = Code::ResourceExhausted;
    let message = bounded(message);
    let policy = RpcRetryPolicy { retry_after_secs: after.as_secs_f32() };
    let details = RpcStatus {
        code: i32::from(code),
        message: message.clone(),
        details: vec![prost_types::Any {
            type_url: format!("{TYPE_URL_PREFIX}{}", RpcRetryPolicy::full_name()),
            value: policy.encode_to_vec(),
        }],
    };
    Status::with_details(code, message, Bytes::from(details.encode_to_vec()))
}

/// What a call is told that waits while the agent ends: another agent may take its place.
pub fn leaving() -> Status {
    Status::unavailable("the agent is shutting down")
}

/// Adds a warning for the caller's user to the trailers of a call.
pub fn warn(trailers: &mut HeaderMap, text: &str) {
    let text = utf8_percent_encode(cut(text), &ENCODED).to_string();
    let text = HeaderValue::try_from(text).expect("percent-encoded text is visible ASCII");
    trailers.append(WARNING, text);
}

/// The trailers that end a call with `status`.
pub fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Only its text or its metadata can be at fault; the code is what matters.
        trailers.clear();
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(status.code())));
    }
    trailers
}

/// The trailers that end a call with OK.
pub fn ok(mut trailers: HeaderMap) -> HeaderMap {
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

fn bounded(message: impl Display) -> String {
    let message = message.to_string();
    match cut(&message) {
        whole if whole.len() == message.len() => message,
        part => format!("{part}…"),
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(STATUS_MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 9] = [
        Kind::Invalid,
        Kind::Refused,
        Kind::Unknown,
        Kind::Taken,
        Kind::Exhausted,
        Kind::OutOfRange,
        Kind::Superseded,
        Kind::Unbuilt,
        Kind::Internal,
    ];

    #[test]
    fn nothing_permanent_is_a_retryable_code() {
        let retried = [
            Code::Cancelled,
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Unavailable,
        ];
        for kind in KINDS {
            assert!(!retried.contains(&code(kind)), "{kind:?}");
            assert_eq!(status(kind, "x").code(), code(kind));
        }
    }

    #[test]
    fn a_lack_says_when_to_try_again() {
        let status = status(Kind::Exhausted, "no place for another exec");
        let details = RpcStatus::decode(status.details()).unwrap();
        assert_eq!((details.code, details.message.as_str()), (8, "no place for another exec"));
        let [any] = &details.details[..] else { panic!("one detail") };
        assert_eq!(any.type_url, "type.modal.com/modal.client.RPCRetryPolicy");
        let policy = RpcRetryPolicy::decode(&any.value[..]).unwrap();
        assert_eq!(policy.retry_after_secs, 0.5);
    }

    #[test]
    fn a_warning_survives_any_text() {
        let mut trailers = HeaderMap::new();
        warn(&mut trailers, "50 % läuft\n");
        assert_eq!(trailers[WARNING], "50 %25 l%C3%A4uft%0A");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let status = status(Kind::Invalid, "é".repeat(STATUS_MESSAGE_BYTES_MAX));
        assert_eq!(status.message().len(), STATUS_MESSAGE_BYTES_MAX + '…'.len_utf8());
        let exact = "x".repeat(STATUS_MESSAGE_BYTES_MAX);
        assert_eq!(super::status(Kind::Invalid, &exact).message(), exact);
    }

    #[test]
    fn trailers_carry_code_message_and_details() {
        let map = trailers(&status(Kind::Exhausted, "a b"));
        assert_eq!(map["grpc-status"], "8");
        assert_eq!(map["grpc-message"], "a%20b");
        assert!(map.contains_key("grpc-status-details-bin"));
        assert_eq!(ok(HeaderMap::new())["grpc-status"], "0");
    }
}
