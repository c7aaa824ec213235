//! The end of an exec on request.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) async fn cancel(
    _: &Control,
    _: &Arc<Exec>,
    _: wire::CancelExecRequest,
    _: Option<crate::doors::auth::Caller>,
) -> Result<wire::CancelExecResponse, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
