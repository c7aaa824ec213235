//! Looks at the processes of execs: how many live, and what they use. One look serves them all.

use std::{collections::HashMap, sync::Arc};

use super::{
    engine::Engine,
    handle::{Exec, State},
};
pub use crate::os::tree::Look;
use crate::os::{
    tree::{Leader, Tree, census},
    work::Share,
};

/// What was seen of execs, each by its number.
#[derive(Debug, Default)]
pub struct Looks(HashMap<u64, Look>);

impl Looks {
    /// What was seen of this exec; nothing of one that had no process yet, or where nobody can
    /// look.
    pub fn of(&self, exec: &Exec) -> Option<&Look> {
        self.0.get(&exec.number())
    }
}

impl Engine {
    /// Looks at the system for these execs: milliseconds for a few processes, a tenth of a second
    /// for thousands.
    pub async fn measure(&self, execs: &[Arc<Exec>]) -> Looks {
        let rooted = execs.iter().filter_map(|exec| Some((exec.number(), rooted(exec)?)));
        let (numbers, trees): (Vec<_>, Vec<_>) = rooted.unzip();
        let looks = self.work().run(Share::Scan, move || census(&trees)).await;
        Looks(numbers.into_iter().zip(looks.unwrap_or_default()).collect())
    }
}

/// Its tree, once it has one, and whether the number of its first process is still its own.
fn rooted(exec: &Exec) -> Option<(Arc<Tree>, Leader)> {
    let leader = match exec.state() {
        State::Starting | State::Running => Leader::Alive,
        State::Lingering | State::Ended | State::Failed => Leader::Reaped,
    };
    exec.tree().map(|tree| (tree.clone(), leader))
}
