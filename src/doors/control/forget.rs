//! Forgetting on request.

use tonic::Status;

use super::{Control, wire};
use crate::{
    core::{failure::Kind, ids::ExecId},
    doors::status::status,
};

pub(super) fn forget(
    control: &Control,
    request: &wire::ForgetExecRequest,
) -> Result<wire::ForgetExecResponse, Status> {
    let id = ExecId::parse(&request.exec_id).map_err(|error| status(Kind::Invalid, error))?;
    let freed = control.engine.forget(&id);
    let freed_bytes = freed.map_err(|error| status(error.kind(), error))?;
    Ok(wire::ForgetExecResponse { freed_bytes })
}
