//! What is known of execs.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) async fn list(
    _: &Control,
    _: wire::ListExecsRequest,
) -> Result<wire::ListExecsResponse, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}

pub(super) async fn get(
    _: &Control,
    _: &Arc<Exec>,
    _: wire::GetExecRequest,
) -> Result<wire::GetExecResponse, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
