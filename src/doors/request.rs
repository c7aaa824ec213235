//! One unary request, read from its body: for RPCs whose response tonic does not encode.

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;
use prost::{Message, Name};
use tonic::Status;

use super::status::status;
use crate::{
    core::{failure::Kind, limits::REQUEST_BYTES_MAX},
    wire::unknown,
};

/// The gRPC prefix of a message: a flag for compression, four bytes of length.
const PREFIX_BYTES: usize = 5;

/// Reads the only message of `request`. Refuses compression, a missing message, a second one,
/// and more bytes than any request may have. Dropping the future drops the request.
pub async fn single_request<M, B>(request: Request<B>) -> Result<M, Status>
where
    M: Message + Name + Default,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(request.into_body());
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > PREFIX_BYTES + REQUEST_BYTES_MAX {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
    message(bytes.freeze())
}

fn message<M: Message + Name + Default>(mut bytes: Bytes) -> Result<M, Status> {
    if bytes.len() < PREFIX_BYTES {
        return Err(status(Kind::Invalid, "request has no message"));
    }
    let compressed = bytes.get_u8() != 0;
    let length = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
    if compressed {
        return Err(status(Kind::Unbuilt, "compressed requests are not supported"));
    }
    if length > REQUEST_BYTES_MAX {
        return Err(too_large());
    }
    if length != bytes.len() {
        let found = bytes.len();
        return Err(status(
            Kind::Invalid,
            format!("message should have {length} bytes and has {found}"),
        ));
    }
    if let Some(shape) = unknown::shape::<M>() {
        unknown::scan(shape, &bytes);
    }
    M::decode(bytes).map_err(|error| status(Kind::Invalid, error))
}

fn too_large() -> Status {
    status(Kind::Invalid, format!("message has more than {REQUEST_BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tonic::Code;

    use super::*;
    use crate::wire::modal::task_command_router::TaskExecStdioReadRequest;

    async fn read(body: Vec<u8>) -> Result<TaskExecStdioReadRequest, Code> {
        let request = Request::new(Full::new(Bytes::from(body)));
        single_request(request).await.map_err(|status| status.code())
    }

    fn framed(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
        [&[flag][..], &length.to_be_bytes(), message].concat()
    }

    #[tokio::test]
    async fn one_whole_message_and_nothing_else() {
        let request =
            TaskExecStdioReadRequest { exec_id: "e".into(), offset: 1 << 40, ..Default::default() };
        let encoded = request.encode_to_vec();
        let length = encoded.len() as u32;
        assert_eq!(read(framed(0, length, &encoded)).await, Ok(request));
        assert_eq!(read(framed(0, 0, &[])).await, Ok(TaskExecStdioReadRequest::default()));

        assert_eq!(read(vec![]).await, Err(Code::InvalidArgument));
        assert_eq!(read(vec![0, 0, 0, 0]).await, Err(Code::InvalidArgument));
        assert_eq!(read(framed(1, length, &encoded)).await, Err(Code::Unimplemented));
        assert_eq!(read(framed(0, length + 1, &encoded)).await, Err(Code::InvalidArgument));
        assert_eq!(read(framed(0, u32::MAX, &encoded)).await, Err(Code::InvalidArgument));
        assert_eq!(read(framed(0, 3, &[0xff; 3])).await, Err(Code::InvalidArgument));
        let twice = framed(0, length, &encoded).repeat(2);
        assert_eq!(read(twice).await, Err(Code::InvalidArgument));
    }
}
