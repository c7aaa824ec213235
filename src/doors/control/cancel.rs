//! The end of an exec on request.

use std::{sync::Arc, time::Duration};

use tonic::Status;

use super::{Control, render};
use crate::{
    core::{failure::Kind, limits::CANCEL_GRACE_MAX},
    doors::{auth::Caller, status::status},
    exec::{handle::Exec, orders},
    os::tree::{Hold, Left},
    wire::doorward::v1 as wire,
};

pub(super) async fn cancel(
    control: &Control,
    exec: &Arc<Exec>,
    request: wire::CancelExecRequest,
    caller: Option<Caller>,
) -> Result<wire::CancelExecResponse, Status> {
    let grace = request.grace.map_or(Ok(control.about.grace), grace)?;
    let who = caller.map_or_else(|| "unknown".into(), |caller| caller.subject);
    // Counts as a reader: an ending agent waits until this was answered.
    let _reading = control.engine.reading();
    let left = orders::cancel(&control.engine, exec, grace, who).await;
    let left = left.iter().map(left_process).collect();
    Ok(wire::CancelExecResponse { exec: Some(render::exec(control, exec)), left })
}

fn grace(asked: prost_types::Duration) -> Result<Duration, Status> {
    let refused = || {
        let why = format!(
            "grace of {} s {} ns is not within 0 and {} s",
            asked.seconds,
            asked.nanos,
            CANCEL_GRACE_MAX.as_secs()
        );
        status(Kind::Invalid, why)
    };
    let grace = Duration::try_from(asked).map_err(|_| refused())?;
    if grace <= CANCEL_GRACE_MAX { Ok(grace) } else { Err(refused()) }
}

fn left_process(left: &Left) -> wire::LeftProcess {
    let reason = match left.hold {
        Some(Hold::Frozen) => "frozen",
        Some(Hold::Storage) => "waits for storage",
        Some(Hold::Forbidden) => "not permitted",
        None => "",
    };
    let pid = left.pid.as_raw_pid();
    wire::LeftProcess { pid, name: left.name.clone(), reason: reason.into() }
}
