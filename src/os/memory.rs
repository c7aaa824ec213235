//! This process's own memory.

use std::{fs, ops::Range};

use rustix::{
    io::Errno,
    mm::{Advice, madvise},
};

/// Gives back what is not needed while nothing is to be done: what is free in the heaps, and the pages of our own
/// program. Reading flags and files, or a crowd of calls, needs most of the program once, and the kernel maps
/// sixteen pages or more around each that is touched. Those that are needed again come back from the page cache by
/// themselves. A tenth of a millisecond.
///
/// An agent shares its memory limit with the workload; idle, 4 of its 6 MiB were such pages. Where the kernel does not
/// say what is mapped, nothing happens.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: a number; it takes the locks that every allocation takes.
        unsafe { libc::malloc_trim(0) };
    }
    let Some(program) = fs::read_to_string("/proc/self/maps").ok().and_then(|maps| code(&maps))
    else {
        return;
    };
    if let Err(errno) = drop_pages(&program) {
        tracing::debug!("ignoring that the program's pages stay mapped: {errno}");
    }
}

/// Keeps the C library from giving each thread a heap of its own, as far as two: what the threads of
/// the pool free would stay with heaps that nobody else takes from. After ten thousand commands this
/// was a megabyte. Call before the first thread is made.
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: two numbers; no other thread allocates yet.
        let done = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
        if done != 1 {
            tracing::debug!("ignoring that the number of heaps cannot be bounded");
        }
    }
}

/// The mapping of executable code that this function lies in.
fn code(maps: &str) -> Option<Range<usize>> {
    let here = code as *const () as usize;
    maps.lines().find_map(|line| mapping(line).filter(|range| range.contains(&here)))
}

/// The addresses of a line of proc_pid_maps(5), if it is code that a file holds and nobody may write.
fn mapping(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp";
    let inode = words.nth(2)?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    (is_code && inode != "0").then_some(address(from)?..address(to)?)
}

fn drop_pages(program: &Range<usize>) -> Result<(), Errno> {
    let start = std::ptr::with_exposed_provenance_mut(program.start);
    // SAFETY: the range is one whole mapping, private, of a file, and never written (r-xp), so that its
    // pages hold what the file holds, and one that is dropped is read from there again when it is touched.
    unsafe { madvise(start, program.len(), Advice::LinuxDontNeed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_a_file_is_taken() {
        let cases = [
            ("7f00-8000 r-xp 00001000 fe:00 42 /bin/x y", Some(0x7f00..0x8000)),
            ("7f00-8000 r--p 00001000 fe:00 42 /bin/x", None),
            ("7f00-8000 rwxp 00001000 fe:00 42 /bin/x", None),
            ("7f00-8000 r-xp 00000000 00:00 0 [vdso]", None),
            ("7f00 r-xp 0 00:00 0", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(mapping(line), expected, "{line}");
        }
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let program = code(&maps).unwrap();
        assert!(program.len() > 4096, "{program:?}");
        drop_pages(&program).unwrap();
        give_back();
        assert_eq!(code(&maps), Some(program));
    }
}
