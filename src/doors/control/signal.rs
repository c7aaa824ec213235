//! Signals to an exec.

use std::sync::Arc;

use tonic::Status;

use super::Control;
use crate::{
    core::failure::Kind,
    doors::status::status,
    exec::{
        handle::Exec,
        orders::{self, Target},
    },
    os::signals,
    wire::doorward::v1 as wire,
};

pub(super) async fn signal(
    control: &Control,
    exec: &Arc<Exec>,
    request: wire::SignalExecRequest,
) -> Result<wire::SignalExecResponse, Status> {
    let signal = by_number(request.signal)?;
    let target = match wire::SignalTarget::try_from(request.target) {
        Ok(wire::SignalTarget::Unspecified | wire::SignalTarget::Leader) => Target::Leader,
        Ok(wire::SignalTarget::Group) => Target::Group,
        Ok(wire::SignalTarget::Tree) => Target::Tree,
        Err(_) => {
            let why = format_args!("target {} is none that there is", request.target).to_string();
            return Err(status(Kind::Invalid, why));
        }
    };
    let sent = orders::signal(&control.engine, exec, target, signal).await;
    let processes = sent.map_err(|error| status(error.kind(), error))?;
    Ok(wire::SignalExecResponse { processes })
}

/// The signal of a number that a client sent.
pub(super) fn by_number(number: i32) -> Result<rustix::process::Signal, Status> {
    let why = format_args!("signal {number} is not within 1-64").to_string();
    signals::by_number(number).ok_or_else(|| status(Kind::Invalid, why))
}
