//! What is known of execs, of all or of one.

use std::sync::Arc;

use tonic::Status;

use super::{Control, cursor::Cursor, render, wire};
use crate::exec::{
    handle::{Exec, State},
    measure::Looks,
};

pub(super) async fn list(
    control: &Control,
    request: &wire::ListExecsRequest,
) -> Result<wire::ListExecsResponse, Status> {
    let looks = match request.measure {
        true => control.engine.measure(&control.engine.list()).await,
        false => Looks::default(),
    };
    let cursor = Cursor::after(control.engine.changes().newest());
    let execs = control.engine.list();
    let wanted = |exec: &&Arc<Exec>| !request.live_only || is_live(exec);
    let execs =
        execs.iter().filter(wanted).map(|exec| render::seen(control, exec, &looks)).collect();
    Ok(wire::ListExecsResponse { execs, cursor: cursor.text(control.instance()) })
}

pub(super) async fn get(
    control: &Control,
    exec: &Arc<Exec>,
    request: &wire::GetExecRequest,
) -> Result<wire::GetExecResponse, Status> {
    let looks = match request.measure {
        true => control.engine.measure(std::slice::from_ref(exec)).await,
        false => Looks::default(),
    };
    Ok(wire::GetExecResponse { exec: Some(render::seen(control, exec, &looks)) })
}

/// Whether an exec runs, or something that it left behind holds its streams.
fn is_live(exec: &Exec) -> bool {
    match exec.state() {
        State::Starting | State::Running | State::Lingering => true,
        State::Ended | State::Failed => false,
    }
}
