//! Who makes a call, as far as anything behind the doors wants to know: for the log.

use std::sync::Arc;

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What its credentials call it: never a token.
    pub subject: Arc<str>,
    /// Where it calls from.
    pub peer: Arc<str>,
}
