//! What kind of thing went wrong, seen from the caller: the one property that all of the agent's
//! errors share, and the only one that a door needs in order to choose a status code.

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request itself can never be carried out; change it.
    Invalid,
    /// The request is fine, the present state forbids it, and asking again changes nothing.
    Refused,
    /// The thing that was named is not here.
    Unknown,
    /// The name is taken by something else.
    Taken,
    /// Something is used up; asking later may help.
    Exhausted,
    /// An offset lies outside what is kept.
    OutOfRange,
    /// This caller was set aside for another one.
    Superseded,
    /// Not built, and said so.
    Unbuilt,
    /// A defect of ours.
    Internal,
}
