//! A tree like a Python site-packages: many small sources, some compiled files, a few large libraries
//! and data files. It compresses to about a third, as such trees do.

use std::{fs, path::Path};

/// Makes a tree of so many files in `top`; the same one at each call. Returns its bytes.
pub(super) fn make(top: &Path, files: usize) -> u64 {
    let mut chance = Chance(1);
    let letters = |chance: &mut Chance, _| {
        let length = 3 + chance.below(8);
        (0..length).map(|_| b'a' + chance.below(26) as u8).collect()
    };
    let any = |chance: &mut Chance, _| {
        let length = 3 + chance.below(10);
        (0..length).map(|_| chance.next() as u8).collect()
    };
    let words: Vec<Vec<u8>> = (0..4000).map(|n| letters(&mut chance, n)).collect();
    let instructions: Vec<Vec<u8>> = (0..6000).map(|n| any(&mut chance, n)).collect();
    let mut bytes = 0;
    for number in 0..files {
        let package = top.join(format!("package_{}", number / 250));
        let directory = package.join(format!("module_{}", number / 25 % 10));
        if number % 25 == 0 {
            fs::create_dir_all(&directory).expect("target/ can be written");
        }
        let (name, data) = match number % 100 {
            // Half of the bytes are in one file of a hundred.
            0 => (format!("lib_{number}.so"), code(&mut chance, &instructions, 1_400_000)),
            1..=30 => (format!("cache_{number}.pyc"), code(&mut chance, &instructions, 9000)),
            31 => (format!("table_{number}.bin"), noise(&mut chance, 200_000)),
            _ => (format!("source_{number}.py"), text(&mut chance, &words)),
        };
        bytes += data.len() as u64;
        fs::write(directory.join(name), data).expect("target/ can be written");
    }
    bytes
}

/// Numbers that look like chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of them; the first ones come much more often.
    fn choose<'a>(&mut self, among: &'a [Vec<u8>]) -> &'a [u8] {
        let part = self.below(1024);
        let at = (part.pow(4) * among.len() as u64) >> 40;
        &among[at as usize]
    }
}

/// Lines of words, indented.
fn text(chance: &mut Chance, words: &[Vec<u8>]) -> Vec<u8> {
    let size = 500 + chance.below(20_000) as usize;
    let mut text = Vec::with_capacity(size + 100);
    while text.len() < size {
        let indent = chance.below(4) as usize * 4;
        text.extend_from_slice(&b"            "[..indent]);
        for _ in 0..2 + chance.below(6) {
            text.extend_from_slice(chance.choose(words));
            text.extend_from_slice(
                [&b" "[..], b"(", b")", b" = ", b".", b"_"][chance.below(6) as usize],
            );
        }
        text.push(b'\n');
    }
    text
}

/// Short pieces, and now and then numbers.
fn code(chance: &mut Chance, instructions: &[Vec<u8>], most: u64) -> Vec<u8> {
    let size = (most / 2 + chance.below(most)) as usize;
    let mut code = Vec::with_capacity(size + 64);
    while code.len() < size {
        for _ in 0..4 {
            code.extend_from_slice(chance.choose(instructions));
        }
        code.extend_from_slice(&[chance.next() as u8, 0, 0, 0]);
        if chance.below(64) == 0 {
            code.resize(code.len().next_multiple_of(64), 0x90);
        }
    }
    code
}

/// What nothing makes smaller.
fn noise(chance: &mut Chance, size: usize) -> Vec<u8> {
    std::iter::repeat_with(|| chance.next() as u8).take(size).collect()
}
