//! The offsets of an exec's input: which bytes of a write are still wanted.
//!
//! Input is counted from its first byte. A client that heard no answer writes again, so a repeat
//! is acknowledged and has no second effect, and of an overlapping write only the new tail
//! counts. A gap is refused: the bytes before it are nowhere.
//!
//! Invariants: `accepted` never falls; nothing is accepted after `close`; the end takes effect
//! once. What `admit` says to write has never been accepted before.

/// What has been accepted of an exec's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inbox {
    accepted: u64,
    closed: bool,
}

/// A write as a client sent it.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// Where its first byte belongs.
    pub offset: u64,
    /// How many bytes it has.
    pub length: usize,
    /// Whether input ends after it.
    pub end: End,
}

/// Whether a write is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// More may follow.
    Open,
    /// Input ends after these bytes.
    Closes,
}

/// What to do with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Write its bytes from this index on, say so with [`Inbox::wrote`], and ask again.
    Bytes {
        /// How many of its first bytes were accepted before.
        skip: usize,
    },
    /// Every byte is accepted: end the input, and say so with [`Inbox::close`].
    Close,
    /// Nothing is left to do.
    Done,
}

/// Why a write is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It starts behind what was accepted.
    Gap {
        /// Where the next byte belongs.
        expected: u64,
    },
    /// It has bytes that would come after the end.
    Closed {
        /// How many bytes there were when the input ended.
        accepted: u64,
    },
}

impl Inbox {
    /// Judges a write, or what is left of one, against what has been accepted until now.
    pub fn admit(&self, write: Write) -> Result<Admission, Refusal> {
        let Some(before) = self.accepted.checked_sub(write.offset) else {
            return Err(Refusal::Gap { expected: self.accepted });
        };
        let skip = usize::try_from(before).unwrap_or(usize::MAX).min(write.length);
        if skip < write.length {
            let closed = Refusal::Closed { accepted: self.accepted };
            return if self.closed { Err(closed) } else { Ok(Admission::Bytes { skip }) };
        }
        match (write.end, self.closed) {
            (End::Closes, false) => Ok(Admission::Close),
            (End::Closes, true) | (End::Open, _) => Ok(Admission::Done),
        }
    }

    /// `bytes` more were taken by the command's pipe or terminal.
    pub fn wrote(&mut self, bytes: usize) {
        self.accepted = self.accepted.saturating_add(bytes as u64);
    }

    /// The input has ended.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// How many bytes have been accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether the input has ended.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(bytes: usize) -> Inbox {
        let mut inbox = Inbox::default();
        inbox.wrote(bytes);
        inbox
    }

    fn write(offset: u64, length: usize, end: End) -> Write {
        Write { offset, length, end }
    }

    #[test]
    fn repeats_overlaps_gaps_and_ends() {
        let inbox = after(10);
        let cases = [
            ("append", write(10, 5, End::Open), Ok(Admission::Bytes { skip: 0 })),
            ("repeat", write(0, 10, End::Open), Ok(Admission::Done)),
            ("overlap", write(8, 5, End::Open), Ok(Admission::Bytes { skip: 2 })),
            ("gap", write(11, 1, End::Open), Err(Refusal::Gap { expected: 10 })),
            ("empty gap", write(11, 0, End::Closes), Err(Refusal::Gap { expected: 10 })),
            ("end at offset 0, as JS sends it", write(0, 0, End::Closes), Ok(Admission::Close)),
            ("repeat with end", write(5, 5, End::Closes), Ok(Admission::Close)),
            ("largest offset", write(u64::MAX, 5, End::Open), Err(Refusal::Gap { expected: 10 })),
        ];
        for (name, write, expected) in cases {
            assert_eq!(inbox.admit(write), expected, "{name}");
        }
        let mut closed = inbox;
        closed.close();
        let cases = [
            ("second end", write(0, 0, End::Closes), Ok(Admission::Done)),
            ("repeat", write(0, 10, End::Open), Ok(Admission::Done)),
            ("more", write(10, 1, End::Open), Err(Refusal::Closed { accepted: 10 })),
            ("overlap", write(9, 2, End::Closes), Err(Refusal::Closed { accepted: 10 })),
        ];
        for (name, write, expected) in cases {
            assert_eq!(closed.admit(write), expected, "closed, {name}");
        }
    }

    proptest! {
        /// However a client repeats and overlaps, the command reads the input once, in order.
        #[test]
        fn any_retries_give_the_bytes_once(
            total in 1usize..200,
            writes in prop::collection::vec((0usize..200, 0usize..80, 1usize..40), 0..60),
        ) {
            let input: Vec<u8> = (0..total).map(|i| i as u8).collect();
            let mut inbox = Inbox::default();
            let mut pipe = Vec::new();
            for (offset, length, room) in writes {
                let offset = offset.min(total);
                let bytes = &input[offset..(offset + length).min(total)];
                let was = inbox;
                match inbox.admit(write(offset as u64, bytes.len(), End::Open)) {
                    Ok(Admission::Bytes { skip }) => {
                        let taken = &bytes[skip..(skip + room).min(bytes.len())];
                        pipe.extend_from_slice(taken);
                        inbox.wrote(taken.len());
                    }
                    Ok(Admission::Done) => prop_assert!(offset + bytes.len() <= pipe.len()),
                    Ok(Admission::Close) => prop_assert!(false, "nothing asked for the end"),
                    Err(refusal) => {
                        prop_assert_eq!(refusal, Refusal::Gap { expected: pipe.len() as u64 });
                        prop_assert!(offset > pipe.len());
                    }
                }
                prop_assert!(inbox.accepted() >= was.accepted());
                prop_assert_eq!(&pipe[..], &input[..pipe.len()]);
            }
        }
    }
}
