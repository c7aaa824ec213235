//! The size of a terminal, on request. Unlike a start, which takes a client's zeros for "unknown",
//! a size that is no size is refused.

use tonic::Status;

use crate::{
    core::{failure::Kind, spec::WindowSize},
    doors::status::status,
    exec::handle::Exec,
    wire::doorward::v1 as wire,
};

pub(super) fn resize(
    exec: &Exec,
    request: wire::ResizePtyRequest,
) -> Result<wire::ResizePtyResponse, Status> {
    let Some(wanted) = request.size else {
        return Err(status(Kind::Invalid, "size is not set"));
    };
    exec.resize(size(wanted)?).map_err(|error| status(error.kind(), error))?;
    Ok(wire::ResizePtyResponse {})
}

/// A size, each side 1-65535.
pub(super) fn size(wanted: wire::TerminalSize) -> Result<WindowSize, Status> {
    for (side, value) in [("rows", wanted.rows), ("columns", wanted.columns)] {
        if !(1..=u32::from(u16::MAX)).contains(&value) {
            let why = format_args!("{side} {value} is not within 1-65535").to_string();
            return Err(status(Kind::Invalid, why));
        }
    }
    Ok(WindowSize::new(wanted.rows, wanted.columns))
}
