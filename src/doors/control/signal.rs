//! Signals to an exec.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) async fn signal(
    _: &Control,
    _: &Arc<Exec>,
    _: wire::SignalExecRequest,
) -> Result<wire::SignalExecResponse, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
