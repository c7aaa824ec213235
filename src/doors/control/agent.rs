//! What the agent says of itself.

use tonic::Status;

use super::*;
use crate::{core::failure::Kind, doors::status::status};

pub(super) async fn describe(_: &Control) -> Result<wire::GetAgentResponse, Status> {
    Err(status(Kind::Unbuilt, "not built yet"))
}
