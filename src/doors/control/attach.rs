//! Sitting before an exec.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) async fn attach(
    _: &Control,
    _: Streaming<wire::AttachRequest>,
    _: Option<crate::doors::auth::Caller>,
) -> Result<Answers<wire::AttachResponse>, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
