//! Which task this agent serves, and how a request names one of its execs. Every door asks here,
//! so that all of them refuse alike.

use std::sync::Arc;

use tonic::Status;

use super::status::status;
use crate::{
    core::{failure::Kind, ids::ExecId},
    exec::{engine::Engine, handle::Exec},
};

/// The one task that the agent serves; none: any.
#[derive(Debug, Clone)]
pub(super) struct Task(Option<Arc<str>>);

impl Task {
    pub(super) fn new(task: Option<&str>) -> Self {
        Self(task.map(Arc::from))
    }

    /// Its name, where it serves one.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Refuses other tasks.
    pub(super) fn check(&self, task: &str) -> Result<(), Status> {
        match self.name() {
            Some(ours) if ours != task => {
                Err(status(Kind::Unknown, format_args!("no task {task:?} here")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Finds an exec of this task.
    pub(super) fn exec(&self, engine: &Engine, task: &str, id: &str) -> Result<Arc<Exec>, Status> {
        self.check(task)?;
        let id = ExecId::parse(id).map_err(|error| status(Kind::Invalid, error))?;
        let unknown = || status(Kind::Unknown, format_args!("no exec {id} here"));
        engine.find(&id).ok_or_else(unknown)
    }
}
