//! Output with its offsets.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) fn read(
    _: &Control,
    _: Arc<Exec>,
    _: wire::ReadOutputRequest,
) -> Result<Answers<wire::ReadOutputResponse>, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
