//! Forgetting on request.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) fn forget(
    _: &Control,
    _: wire::ForgetExecRequest,
) -> Result<wire::ForgetExecResponse, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
