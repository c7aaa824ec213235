//! Brings a picture up to the output that has come: with an onlooker's reader of the spool, and a
//! thread that takes the bytes in.
//!
//! It jumps where it is too far behind, where bytes were dropped, and where what came asks for too
//! much work: then the picture is begun anew, cleared. It is no part of any reader's way: what it has
//! read counts as read by nobody, and it holds no reader while it rests.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Drawing, picture::Picture};
use crate::{
    core::{
        limits::{
            CHUNK_BYTES, SCREEN_BEHIND_BYTES_MAX, SCREEN_CELL_BYTES, SCREEN_CELLS_MAX,
            SCREEN_RESTART_BYTES, SCREEN_SLICE_BYTES, SCREEN_STEP_BYTES, SCREEN_WORK_MAX,
            SCREENS_BYTES_MAX,
        },
        spec::WindowSize,
    },
    exec::{
        spool::{Next, ReadError, Reader, Spool, Store},
        tail::within,
    },
    os::work::Share,
};

/// Which size from which offset of the output on, the first from 0 on; never empty.
pub(super) type Sizes = Vec<(u64, WindowSize)>;

/// Where the output and the sizes come from.
pub(super) struct Source<'a> {
    pub(super) spool: &'a Arc<Spool>,
    pub(super) sizes: &'a (dyn Fn() -> Sizes + Sync),
}

/// See the module comment.
pub(super) struct Follower {
    store: Arc<Store>,
    /// What the output below `offset` shows; `None`: nothing of it is known.
    picture: Option<Box<Picture>>,
    offset: u64,
    room: Room,
}

/// A picture's part of the memory for all of them.
struct Room {
    store: Arc<Store>,
    bytes: u64,
}

/// Why a picture is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    /// It took too long.
    Late,
    /// The terminal is too large.
    Large,
    /// There is no room for it among the others.
    Crowded,
}

/// Output for a picture.
struct Feed {
    picture: Box<Picture>,
    offset: u64,
    pieces: Vec<Bytes>,
    sizes: Sizes,
    time: Duration,
}

impl Follower {
    pub(super) fn new(store: &Arc<Store>) -> Self {
        let room = Room { store: store.clone(), bytes: 0 };
        Self { store: store.clone(), picture: None, offset: 0, room }
    }

    /// Where the output goes on that it has not seen.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The screen as it is. To be awaited to its end: else the picture is lost.
    pub(super) async fn draw(&mut self, from: &Source<'_>) -> Drawing {
        self.catch_up(from).await;
        let Some(picture) = self.picture.take() else {
            return Drawing::cleared(self.offset, last_size(&(from.sizes)()));
        };
        let (size, incomplete) = (picture.size(), !picture.is_whole());
        let draw = move || {
            let data = picture.draw();
            (picture, data)
        };
        let (picture, data) = self.store.work.run(Share::Screen, draw).await;
        self.picture = Some(picture);
        Drawing { data, offset: self.offset, size, incomplete }
    }

    /// Takes in what has come. To be awaited to its end, likewise.
    pub(super) async fn catch_up(&mut self, from: &Source<'_>) {
        let range = from.spool.range();
        let restart = |first: u64| first.max(range.end.saturating_sub(SCREEN_RESTART_BYTES));
        if range.end.saturating_sub(self.offset) > SCREEN_BEHIND_BYTES_MAX {
            self.restart(restart(range.first));
        }
        let mut reader = from.spool.onlooker(self.offset);
        let mut time = SCREEN_WORK_MAX;
        while self.offset < range.end {
            let pieces = match gather(&mut reader, range.end).await {
                Ok(pieces) => pieces,
                Err(ReadError::Dropped { first, .. }) => {
                    self.restart(restart(first));
                    reader = from.spool.onlooker(self.offset);
                    continue;
                }
                Err(error) => {
                    tracing::warn!("ignoring that a screen cannot be kept: failed to {error}");
                    self.restart(range.end);
                    break;
                }
            };
            match self.take(pieces, (from.sizes)(), time).await {
                Ok(spent) => time = time.saturating_sub(spent),
                Err(why) => {
                    tracing::debug!("a screen is begun anew: {why:?}");
                    self.restart(range.end);
                    break;
                }
            }
        }
        drop(reader);
        let sizes = (from.sizes)();
        let fits = |picture: &Picture| picture.size() == size_at(&sizes, self.offset);
        if !self.picture.as_deref().is_some_and(fits)
            && self.take(Vec::new(), sizes, SCREEN_WORK_MAX).await.is_err()
        {
            self.restart(self.offset);
        }
    }

    /// From here on, on a cleared screen.
    fn restart(&mut self, offset: u64) {
        self.picture = None;
        self.room.set(0);
        self.offset = offset;
    }

    /// Takes in pieces that begin at the offset, and how long that took.
    async fn take(
        &mut self,
        pieces: Vec<Bytes>,
        sizes: Sizes,
        time: Duration,
    ) -> Result<Duration, GivenUp> {
        let picture = match self.picture.take() {
            Some(picture) => picture,
            None => self.begin(size_at(&sizes, self.offset))?,
        };
        let feed = Feed { picture, offset: self.offset, pieces, sizes, time };
        let (picture, offset, spent) =
            self.store.work.run(Share::Screen, move || feed.run()).await?;
        if !self.room.set(picture_bytes(picture.size())) {
            return Err(GivenUp::Crowded);
        }
        (self.picture, self.offset) = (Some(picture), offset);
        Ok(spent)
    }

    fn begin(&mut self, size: WindowSize) -> Result<Box<Picture>, GivenUp> {
        check(size)?;
        if !self.room.set(picture_bytes(size)) {
            return Err(GivenUp::Crowded);
        }
        Ok(Box::new(match self.offset {
            0 => Picture::new(size),
            _ => Picture::cut(size),
        }))
    }
}

impl Feed {
    fn run(mut self) -> Result<(Box<Picture>, u64, Duration), GivenUp> {
        let begun = Instant::now();
        for piece in std::mem::take(&mut self.pieces) {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                if begun.elapsed() > self.time {
                    return Err(GivenUp::Late);
                }
                self.fit()?;
                let (slice, behind) = rest.split_at(self.slice().min(rest.len()));
                self.picture.feed(slice);
                self.offset += slice.len() as u64;
                rest = behind;
            }
        }
        self.fit()?;
        Ok((self.picture, self.offset, begun.elapsed()))
    }

    /// Gives the picture the size that the terminal had at the offset.
    fn fit(&mut self) -> Result<(), GivenUp> {
        let size = size_at(&self.sizes, self.offset);
        if size != self.picture.size() {
            check(size)?;
            self.picture.resize(size);
        }
        Ok(())
    }

    /// How many bytes came in that size, up to a bound.
    fn slice(&self) -> usize {
        let next = self.sizes.get(known(&self.sizes, self.offset));
        let same = next.map_or(u64::MAX, |(from, _)| from - self.offset);
        within(same).min(SCREEN_SLICE_BYTES)
    }
}

impl Room {
    /// Takes so much in place of what it had; false, and nothing is taken, if there is no room.
    fn set(&mut self, bytes: u64) -> bool {
        let others = self.store.screens.fetch_sub(self.bytes, Relaxed) - self.bytes;
        let fits = bytes == 0 || others + bytes <= SCREENS_BYTES_MAX;
        self.bytes = if fits { bytes } else { 0 };
        self.store.screens.fetch_add(self.bytes, Relaxed);
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Some bytes, at least one, none of them behind `end`.
async fn gather(reader: &mut Reader, end: u64) -> Result<Vec<Bytes>, ReadError> {
    let mut pieces = Vec::new();
    let until = end.min(reader.offset() + SCREEN_STEP_BYTES);
    while reader.offset() < until {
        match reader.next(within(until - reader.offset()).min(CHUNK_BYTES)).await? {
            Next::Data { bytes, .. } => pieces.push(bytes),
            // What came before an end was given before it.
            Next::End(_) => break,
        }
    }
    Ok(pieces)
}

/// How many of the sizes are those of `offset` or before it.
fn known(sizes: &Sizes, offset: u64) -> usize {
    sizes.partition_point(|(from, _)| *from <= offset)
}

fn size_at(sizes: &Sizes, offset: u64) -> WindowSize {
    let index = known(sizes, offset).saturating_sub(1);
    sizes.get(index).map_or_else(usual, |(_, size)| *size)
}

fn last_size(sizes: &Sizes) -> WindowSize {
    sizes.last().map_or_else(usual, |(_, size)| *size)
}

fn usual() -> WindowSize {
    WindowSize::new(0, 0)
}

fn check(size: WindowSize) -> Result<(), GivenUp> {
    match cells(size) <= SCREEN_CELLS_MAX {
        true => Ok(()),
        false => Err(GivenUp::Large),
    }
}

fn cells(size: WindowSize) -> u64 {
    u64::from(size.rows()) * u64::from(size.columns())
}

fn picture_bytes(size: WindowSize) -> u64 {
    cells(size) * SCREEN_CELL_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exec::store::{Full, StoreConfig},
        os::work::Work,
    };

    struct Terminal {
        store: Arc<Store>,
        spool: Arc<Spool>,
        follower: Follower,
        sizes: Sizes,
    }

    impl Terminal {
        fn keeping(stream_max: u64) -> Self {
            let full = Full::DropOldest;
            let memory_max = stream_max;
            let config = StoreConfig { stream_max, memory_max, full, ..StoreConfig::default() };
            let (store, _) = Store::open(&config, Work::new());
            let (spool, follower) = (store.spool(), Follower::new(&store));
            Self { store, spool, follower, sizes: vec![(0, usual())] }
        }

        fn new() -> Self {
            Self::keeping(64 << 20)
        }

        fn print(&self, text: &str) {
            for piece in text.as_bytes().chunks(CHUNK_BYTES) {
                self.spool.append(piece.to_vec());
            }
        }

        async fn drawing(&mut self) -> Drawing {
            let sizes = || self.sizes.clone();
            self.follower.draw(&Source { spool: &self.spool, sizes: &sizes }).await
        }

        /// What is drawn, as text.
        async fn shown(&mut self) -> String {
            let drawing = self.drawing().await;
            assert_eq!(drawing.offset, self.spool.range().end);
            String::from_utf8_lossy(&drawing.data).into_owned()
        }
    }

    /// Moves the cursor about in one screen, without scrolling.
    fn painting(bytes: u64) -> String {
        let one = "\x1b[H\x1b[2Jpainted\x1b[5;5Hmore of it";
        one.repeat(usize::try_from(bytes).unwrap() / one.len() + 1)
    }

    #[tokio::test]
    async fn sizes_hold_from_their_offsets_on() {
        let mut terminal = Terminal::new();
        terminal.print("123456");
        terminal.sizes = vec![(0, WindowSize::new(5, 3)), (6, WindowSize::new(4, 20))];
        let drawing = terminal.drawing().await;
        assert_eq!((drawing.size, drawing.offset), (WindowSize::new(4, 20), 6));
        assert!(!drawing.incomplete);
        // It was printed in three columns.
        let text = String::from_utf8(drawing.data).unwrap();
        assert!(text.contains("123\r\n456"), "{text:?}");
        terminal.sizes.push((6, WindowSize::new(7, 70)));
        assert_eq!(terminal.drawing().await.size, WindowSize::new(7, 70));
        terminal.print("7890");
        assert!(terminal.shown().await.contains("4567890"));
    }

    #[tokio::test]
    async fn too_far_behind_it_is_begun_anew_and_says_so() {
        let mut terminal = Terminal::new();
        terminal.print("\x1b[10;1Hkept\x1b[1;1H");
        let drawing = terminal.drawing().await;
        assert!(!drawing.incomplete);
        terminal.print(&painting(SCREEN_BEHIND_BYTES_MAX));
        let drawing = terminal.drawing().await;
        assert!(drawing.incomplete);
        let text = String::from_utf8_lossy(&drawing.data).into_owned();
        assert!(text.contains("more of it") && !text.contains("kept"), "{text:?}");
        // What came since is all that it shows.
        terminal.print(&"line\r\n".repeat(60));
        assert!(!terminal.drawing().await.incomplete);
    }

    #[tokio::test]
    async fn dropped_bytes_begin_it_anew_at_the_first_that_is_kept() {
        let mut terminal = Terminal::keeping(100_000);
        terminal.print("\x1b[10;1Hdropped\x1b[1;1H");
        assert!(terminal.shown().await.contains("dropped"));
        terminal.print("\u{20ac}");
        terminal.print(&painting(100_000));
        // In the midst of the character.
        terminal.spool.drop_to(24);
        let drawing = terminal.drawing().await;
        assert!(drawing.incomplete);
        let text = String::from_utf8_lossy(&drawing.data).into_owned();
        assert!(text.contains("more of it"), "{text:?}");
        assert!(!text.contains("dropped") && !text.contains('\u{fffd}'), "{text:?}");
    }

    #[tokio::test]
    async fn what_asks_for_too_much_work_is_left_out() {
        let mut terminal = Terminal::new();
        terminal.print("text");
        assert!(terminal.shown().await.contains("text"));
        terminal.print(&"x\x1b[65535b".repeat(100_000));
        let begun = Instant::now();
        let drawing = terminal.drawing().await;
        assert!(begun.elapsed() < 20 * SCREEN_WORK_MAX, "{:?}", begun.elapsed());
        assert_eq!(drawing.offset, terminal.spool.range().end);
        assert!(drawing.incomplete);
        terminal.print("\r\nit goes on");
        assert!(terminal.shown().await.contains("it goes on"));
    }

    #[tokio::test]
    async fn large_terminals_and_too_many_of_them_are_shown_cleared() {
        let mut terminal = Terminal::new();
        terminal.print("text");
        terminal.sizes.push((2, WindowSize::new(65535, 65535)));
        let drawing = terminal.drawing().await;
        assert_eq!((drawing.data, drawing.offset, drawing.incomplete), (Vec::new(), 4, true));
        assert_eq!(terminal.store.screens.load(Relaxed), 0);
        terminal.sizes.push((4, usual()));
        terminal.print("\r\nmore");
        assert!(terminal.shown().await.contains("more"));
        assert_eq!(terminal.store.screens.load(Relaxed), picture_bytes(usual()));

        terminal.store.screens.fetch_add(SCREENS_BYTES_MAX - picture_bytes(usual()), Relaxed);
        assert!(!terminal.shown().await.is_empty(), "it fits exactly");
        terminal.sizes.push((10, WindowSize::new(25, 80)));
        let drawing = terminal.drawing().await;
        assert_eq!((drawing.data, drawing.incomplete), (Vec::new(), true));
    }

    #[tokio::test]
    async fn what_it_reads_counts_as_read_by_nobody() {
        let config = StoreConfig { full: Full::Block, ..StoreConfig::default() };
        let (store, _) = Store::open(&config, Work::new());
        let mut terminal = Terminal { spool: store.spool(), ..Terminal::new() };
        terminal.print("text");
        assert!(terminal.shown().await.contains("text"));
        terminal.print("more");
        assert!(terminal.shown().await.contains("textmore"));
        let droppable = || terminal.spool.look(|state| state.droppable_to(Full::Block));
        assert_eq!(droppable(), 0);
        assert_eq!(terminal.spool.look(|state| state.readers), 0, "it holds no reader");
    }
}
