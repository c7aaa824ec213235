//! Output of terminals, which any program may print: it harms no screen, in whatever size.

#![no_main]

use std::time::{Duration, Instant};

use doorward::{core::spec::WindowSize, exec::screen::Picture};
use libfuzzer_sys::fuzz_target;

/// Rows and columns that are as small as possible, or usual.
const SIZES: [(u32, u32); 6] = [(1, 1), (2, 1), (1, 3), (3, 5), (9, 4), (24, 80)];

fuzz_target!(|data: &[u8]| {
    let size = |n: u8| {
        let (rows, columns) = SIZES[usize::from(n) % SIZES.len()];
        WindowSize::new(rows, columns)
    };
    let mut picture = Picture::new(size(0));
    let begun = Instant::now();
    // 0xfe stands in no text; here the next byte says a size.
    for part in data.split(|byte| *byte == 0xfe) {
        let [first, output @ ..] = part else { continue };
        picture.resize(size(*first));
        for slice in output.chunks(128) {
            // Who keeps a picture stops there too.
            if begun.elapsed() > Duration::from_secs(1) {
                return;
            }
            picture.feed(slice);
        }
        let mut other = Picture::cut(picture.size());
        other.feed(&picture.draw());
    }
});
