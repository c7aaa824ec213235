//! Which bytes of a stream exist, which are still kept, and when a reader has come to the end.
//!
//! ```text
//! 0 ……………… first ……………………… written ……………… end
//!   dropped     kept in a file     kept in memory
//!
//! Live ──settle(Quiet)──▶ Quiet ──append──▶ Live
//!   │ └──settle(Linger)─▶ Linger (final, but for close)
//!   └────close──────────▶ Eof    (final; reachable from every phase)
//! ```
//!
//! Happy path: appends, a close, readers end with [`End::Eof`]. What may never happen: `first`
//! or `end` going back, `first` passing `end`, an end while bytes before it were not delivered,
//! a reader of dropped bytes that is told anything but [`Place::Dropped`].

/// The extent of one stream, by absolute offset from its first byte.
#[derive(Debug)]
pub struct Extent {
    /// The first byte that is kept; never goes back, at most `end`.
    first: u64,
    /// Bytes below this were handed to the file; at most `end`.
    written: u64,
    /// One past the last byte; never goes back.
    end: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// More may come.
    Live,
    /// Whoever still holds the stream is quiet; the next byte makes it live again.
    Quiet,
    /// Nobody waits for its holders any longer. Bytes still come and are kept.
    Linger {
        /// Readers need not go beyond this.
        at: u64,
    },
    /// Nothing more comes.
    Eof,
}

/// Why a stream ended for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// End of file: nobody holds the stream any longer.
    Eof,
    /// Somebody holds it, and was quiet long enough.
    Quiet,
    /// Somebody holds it and still writes; waiting for it took too long.
    Linger,
}

/// What lies at a reader's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Bytes that were dropped.
    Dropped {
        /// The first that is kept.
        first: u64,
    },
    /// Bytes that this reader may have.
    Data {
        /// One past the last of them; more than the offset.
        until: u64,
    },
    /// Nothing yet.
    Wait,
    /// The end.
    End(End),
    /// An offset past the end of a stream that has ended.
    Beyond {
        /// The end.
        end: u64,
    },
}

impl Extent {
    /// The extent of a stream of which nothing has come.
    pub fn new() -> Self {
        Self { first: 0, written: 0, end: 0, phase: Phase::Live }
    }

    /// The first byte that is kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Kept bytes below this are in the file, the others in memory.
    pub fn written(&self) -> u64 {
        self.written.max(self.first)
    }

    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes are kept.
    pub fn kept(&self) -> u64 {
        self.end - self.first
    }

    /// How the stream would end for a reader at its end, if it has ended.
    pub fn ended(&self) -> Option<End> {
        match self.phase {
            Phase::Live => None,
            Phase::Quiet => Some(End::Quiet),
            Phase::Linger { at: _ } => Some(End::Linger),
            Phase::Eof => Some(End::Eof),
        }
    }

    /// `bytes` more came. A quiet stream is live again.
    pub fn append(&mut self, bytes: u64) {
        self.end += bytes;
        match self.phase {
            Phase::Quiet => self.phase = Phase::Live,
            Phase::Live | Phase::Linger { at: _ } | Phase::Eof => {}
        }
    }

    /// Everything below `offset` is in the file.
    pub fn write_to(&mut self, offset: u64) {
        self.written = self.written.max(offset.min(self.end));
    }

    /// Nothing below `offset` is kept any longer. Returns how many bytes that dropped.
    pub fn drop_to(&mut self, offset: u64) -> u64 {
        let before = self.first;
        self.first = self.first.max(offset.min(self.end));
        self.first - before
    }

    /// Nothing more comes.
    pub fn close(&mut self) {
        self.phase = Phase::Eof;
    }

    /// Whoever holds the stream was quiet since `at`, its end. A byte that came since says
    /// otherwise, and nothing changes; nor does it after one of the final ends.
    pub fn settle_quiet(&mut self, at: u64) {
        match self.phase {
            Phase::Live if at >= self.end => self.phase = Phase::Quiet,
            Phase::Live | Phase::Quiet | Phase::Linger { at: _ } | Phase::Eof => {}
        }
    }

    /// Readers wait no longer than for the bytes below `at`.
    pub fn settle_linger(&mut self, at: u64) {
        match self.phase {
            Phase::Live | Phase::Quiet => self.phase = Phase::Linger { at: at.min(self.end) },
            Phase::Linger { at: _ } | Phase::Eof => {}
        }
    }

    /// What lies at `offset` for a reader that was opened when the end was `opened_end`: one that
    /// was opened after the stream settled on [`End::Linger`] gets what had come until then.
    pub fn place(&self, offset: u64, opened_end: u64) -> Place {
        if offset < self.first {
            return Place::Dropped { first: self.first };
        }
        let ended = match self.phase {
            Phase::Live => None,
            Phase::Quiet => Some((End::Quiet, self.end)),
            Phase::Linger { at } => Some((End::Linger, at.max(opened_end.min(self.end)))),
            Phase::Eof => Some((End::Eof, self.end)),
        };
        let until = ended.map_or(self.end, |(_, until)| until);
        match ended {
            Some(_) if offset > self.end => Place::Beyond { end: self.end },
            Some(_) | None if offset < until => Place::Data { until },
            Some((end, _)) => Place::End(end),
            None => Place::Wait,
        }
    }
}

impl Default for Extent {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Event {
        Append(u64),
        Write(u64),
        Drop(u64),
        Quiet(u64),
        Linger(u64),
        Close,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (1..50_u64).prop_map(Event::Append),
            2 => (0..300_u64).prop_map(Event::Write),
            2 => (0..300_u64).prop_map(Event::Drop),
            2 => (0..300_u64).prop_map(Event::Quiet),
            1 => (0..300_u64).prop_map(Event::Linger),
            1 => Just(Event::Close),
        ]
    }

    fn apply(extent: &mut Extent, event: &Event) {
        match *event {
            Event::Append(n) => match extent.ended() {
                Some(End::Eof) => {}
                None | Some(End::Quiet | End::Linger) => extent.append(n),
            },
            Event::Write(to) => extent.write_to(to),
            Event::Drop(to) => {
                extent.drop_to(to);
            }
            Event::Quiet(at) => extent.settle_quiet(at),
            Event::Linger(at) => extent.settle_linger(at),
            Event::Close => extent.close(),
        }
    }

    proptest! {
        #[test]
        fn offsets_never_go_back_and_stay_in_order(events in prop::collection::vec(event(), 0..60)) {
            let mut extent = Extent::new();
            let (mut first, mut end) = (0, 0);
            for event in &events {
                apply(&mut extent, event);
                prop_assert!(extent.first() >= first && extent.end() >= end);
                prop_assert!(extent.first() <= extent.written() && extent.written() <= extent.end());
                (first, end) = (extent.first(), extent.end());
            }
        }

        #[test]
        fn a_reader_gets_every_byte_or_is_told(events in prop::collection::vec(event(), 0..60)) {
            let mut extent = Extent::new();
            let (mut offset, opened_end) = (0, 0);
            for event in &events {
                apply(&mut extent, event);
                match extent.place(offset, opened_end) {
                    Place::Dropped { first } => {
                        prop_assert!(offset < first);
                        offset = first;
                    }
                    Place::Data { until } => {
                        prop_assert!(offset < until && until <= extent.end());
                        offset = until;
                    }
                    Place::Wait => prop_assert!(extent.ended().is_none() && offset == extent.end()),
                    Place::End(End::Linger) => {}
                    Place::End(End::Eof | End::Quiet) => prop_assert_eq!(offset, extent.end()),
                    Place::Beyond { .. } => prop_assert!(false, "it was never past the end"),
                }
            }
        }
    }

    #[test]
    fn a_byte_revokes_quiet_but_not_linger() {
        let mut extent = Extent::new();
        extent.append(10);
        extent.settle_quiet(10);
        assert_eq!(extent.place(10, 0), Place::End(End::Quiet));
        extent.append(1);
        assert_eq!(extent.place(10, 0), Place::Data { until: 11 });
        assert_eq!(extent.place(11, 0), Place::Wait);
        extent.settle_quiet(10);
        assert_eq!(extent.ended(), None, "a byte came since 10");
        extent.settle_linger(11);
        extent.append(5);
        assert_eq!(extent.place(11, 0), Place::End(End::Linger));
        assert_eq!(extent.place(11, 16), Place::Data { until: 16 }, "opened afterwards");
        extent.append(5);
        assert_eq!(extent.place(16, 16), Place::End(End::Linger));
        extent.close();
        assert_eq!(extent.place(16, 16), Place::Data { until: 21 });
        assert_eq!(extent.place(21, 16), Place::End(End::Eof));
    }

    #[test]
    fn past_the_end_waits_only_while_live() {
        let mut extent = Extent::new();
        extent.append(3);
        assert_eq!(extent.place(4, 3), Place::Wait);
        extent.settle_quiet(3);
        assert_eq!(extent.place(4, 3), Place::Beyond { end: 3 });
        extent.close();
        assert_eq!(extent.place(4, 3), Place::Beyond { end: 3 });
        assert_eq!(extent.place(3, 3), Place::End(End::Eof));
        assert_eq!(extent.drop_to(2), 2);
        assert_eq!(extent.place(1, 3), Place::Dropped { first: 2 });
    }
}
