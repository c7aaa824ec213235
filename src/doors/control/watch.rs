//! State changes as they come.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) fn watch(
    _: &Control,
    _: wire::WatchExecsRequest,
) -> Result<Answers<wire::WatchExecsResponse>, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
