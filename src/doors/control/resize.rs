//! The size of a terminal.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) fn resize(
    _: &Exec,
    _: wire::ResizePtyRequest,
) -> Result<wire::ResizePtyResponse, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
