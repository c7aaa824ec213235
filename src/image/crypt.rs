//! Sealed blobs: layers and configurations that only the caller's key opens.
//!
//! A blob is sealed with ChaCha20-Poly1305 in the STREAM construction (Hoang, Reyhanitabar, Rogaway
//! and Vizár, 2015): segments of 64 KiB, each authenticated together with its place and with whether
//! it is the last. So a stream that was cut, or whose segments were exchanged, does not open; what
//! was given out before the damage was right.
//!
//! Each blob has a random salt beside it, and its key is HKDF-SHA256 of the caller's key with that
//! salt and what the blob is for. A key therefore seals one stream, and a layer does not open as a
//! configuration. Which layers belong to an image says its configuration, by their diff_ids.
//!
//! The caller's key is never written down. Whoever loses it has lost the image.

use std::{
    fmt,
    io::{self, Read, Write},
    str::FromStr,
};

use aead_stream::{DecryptorBE32, EncryptorBE32};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::Zeroizing;

use crate::core::limits::{IMAGE_KEY_BYTES_MAX, IMAGE_KEY_BYTES_MIN, SEALED_SEGMENT_BYTES};

/// What a caller gave to seal and open with: 16 to 512 bytes, wiped when this is dropped.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

/// What makes the key of one blob different from all others. No secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; SALT_BYTES]);

/// What a blob is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A layer, compressed or not.
    Layer,
    /// An image's configuration.
    Config,
}

/// Why a text is no salt, or bytes are no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// A key is too short or too long.
    Length {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A salt is not 32 bytes in base64.
    Salt,
}

/// Why something sealed does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// The first segment does not open: it was sealed with another key, or is damaged. Who has
    /// checked the blob's digest before knows that it is the key.
    Key,
    /// A later segment does not open, or the last one is missing.
    Damaged {
        /// The segment, from 0.
        segment: u64,
    },
}

const SALT_BYTES: usize = 32;
/// What Poly1305 adds to a segment.
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// A nonce's 12 bytes without the segment's number and the mark of the last one.
const NONCE_BYTES: usize = 7;

impl Key {
    /// Takes a key as a caller sent it.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        match (IMAGE_KEY_BYTES_MIN..=IMAGE_KEY_BYTES_MAX).contains(&bytes.len()) {
            true => Ok(Self(Zeroizing::new(bytes.to_vec()))),
            false => Err(KeyError::Length { bytes: bytes.len() }),
        }
    }

    /// The key of one blob and the begin of its nonces.
    fn derive(&self, salt: &Salt, purpose: Purpose) -> Zeroizing<[u8; KEY_BYTES + NONCE_BYTES]> {
        let info: &[&[u8]] = match purpose {
            Purpose::Layer => &[b"doorward image v1 layer"],
            Purpose::Config => &[b"doorward image v1 config"],
        };
        let mut derived = Zeroizing::new([0; KEY_BYTES + NONCE_BYTES]);
        ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &salt.0)
            .extract(&self.0)
            .expand(info, Derived)
            .and_then(|derivation| derivation.fill(&mut derived[..]))
            .expect("HKDF gives up to 8160 bytes");
        derived
    }
}

/// How much is derived.
struct Derived;

impl ring::hkdf::KeyType for Derived {
    fn len(&self) -> usize {
        KEY_BYTES + NONCE_BYTES
    }
}

impl Salt {
    /// One that was never used.
    pub fn random() -> io::Result<Self> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(salt))
    }
}

impl FromStr for Salt {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = BASE64.decode(text).map_err(|_| KeyError::Salt)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Salt)
    }
}

/// Seals what is written to it. Without [`finish`](Self::finish) the result does not open.
pub struct Sealer<W> {
    out: W,
    encryptor: EncryptorBE32<ChaCha20Poly1305>,
    /// What is not sealed yet: up to a whole segment, because whether it is the last is not known.
    segment: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Seals into `out`.
    pub fn new(out: W, key: &Key, salt: &Salt, purpose: Purpose) -> Self {
        let derived = key.derive(salt, purpose);
        let (key, nonce) = split(&derived);
        let encryptor = EncryptorBE32::new(&key.into(), &nonce.into());
        Self { out, encryptor, segment: Vec::with_capacity(SEALED_SEGMENT_BYTES + TAG_BYTES) }
    }

    /// Writes the last segment and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.encryptor.encrypt_last_in_place(b"", &mut self.segment).map_err(too_long)?;
        self.out.write_all(&self.segment)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.segment.len() == SEALED_SEGMENT_BYTES {
            self.encryptor.encrypt_next_in_place(b"", &mut self.segment).map_err(too_long)?;
            self.out.write_all(&self.segment)?;
            self.segment.clear();
        }
        let count = buffer.len().min(SEALED_SEGMENT_BYTES - self.segment.len());
        self.segment.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// What is not a whole segment yet stays.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// After 256 TiB the segments' numbers are used up.
fn too_long(_: aead_stream::aead::Error) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "more than 256 TiB cannot be sealed")
}

/// Opens what it reads. End of file means that nothing is missing; an error that is [`OpenError`]
/// inside says what is wrong.
pub struct Opener<R> {
    inner: R,
    /// `None` after the last segment or an error.
    decryptor: Option<DecryptorBE32<ChaCha20Poly1305>>,
    /// The number of the segment that comes next.
    number: u64,
    /// The begin of the next segment: one byte says that there is one.
    ahead: Vec<u8>,
    opened: Vec<u8>,
    given: usize,
}

impl<R: Read> Opener<R> {
    /// Opens what `inner` gives.
    pub fn new(inner: R, key: &Key, salt: &Salt, purpose: Purpose) -> Self {
        let derived = key.derive(salt, purpose);
        let (key, nonce) = split(&derived);
        let decryptor = Some(DecryptorBE32::new(&key.into(), &nonce.into()));
        let (ahead, opened) = (Vec::new(), Vec::new());
        Self { inner, decryptor, number: 0, ahead, opened, given: 0 }
    }

    /// Opens the next segment into `opened`.
    fn next_segment(&mut self) -> io::Result<()> {
        let Some(mut decryptor) = self.decryptor.take() else { return Ok(()) };
        self.opened.clear();
        self.given = 0;
        self.opened.append(&mut self.ahead);
        self.fill(SEALED_SEGMENT_BYTES + TAG_BYTES)?;
        if self.opened.len() == SEALED_SEGMENT_BYTES + TAG_BYTES {
            (&mut self.inner).take(1).read_to_end(&mut self.ahead)?;
        }
        let opened = if self.ahead.is_empty() {
            decryptor.decrypt_last_in_place(b"", &mut self.opened)
        } else {
            let opened = decryptor.decrypt_next_in_place(b"", &mut self.opened);
            self.decryptor = Some(decryptor);
            opened
        };
        if opened.is_err() {
            self.decryptor = None;
            // Nothing that is not authentic is given out.
            self.opened.clear();
            let error = match self.number {
                0 => OpenError::Key,
                segment => OpenError::Damaged { segment },
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        self.number += 1;
        Ok(())
    }

    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let missing = bytes.saturating_sub(self.opened.len());
        let missing = u64::try_from(missing).expect("a segment's size fits");
        (&mut self.inner).take(missing).read_to_end(&mut self.opened).map(drop)
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.opened.len() {
            self.next_segment()?;
        }
        let count = (&self.opened[self.given..]).read(buffer)?;
        self.given += count;
        Ok(count)
    }
}

fn split(derived: &[u8; KEY_BYTES + NONCE_BYTES]) -> ([u8; KEY_BYTES], [u8; NONCE_BYTES]) {
    let (mut key, mut nonce) = ([0; KEY_BYTES], [0; NONCE_BYTES]);
    key.copy_from_slice(&derived[..KEY_BYTES]);
    nonce.copy_from_slice(&derived[KEY_BYTES..]);
    (key, nonce)
}

/// Seals a configuration.
pub fn seal(bytes: &[u8], key: &Key, salt: &Salt, purpose: Purpose) -> Vec<u8> {
    let mut sealer = Sealer::new(Vec::new(), key, salt, purpose);
    let sealed = sealer.write_all(bytes).and_then(|()| sealer.finish());
    sealed.expect("memory takes what is written, and it is no 256 TiB")
}

/// Opens a configuration.
pub fn open(bytes: &[u8], key: &Key, salt: &Salt, purpose: Purpose) -> Result<Vec<u8>, OpenError> {
    let mut opened = Vec::new();
    match Opener::new(bytes, key, salt, purpose).read_to_end(&mut opened) {
        Ok(_) => Ok(opened),
        Err(error) => Err(OpenError::of(&error).expect("memory gives no other error")),
    }
}

impl OpenError {
    /// What is wrong, if an error of a reader came from an [`Opener`].
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes } => write!(
                f,
                "the key has {bytes} bytes, {IMAGE_KEY_BYTES_MIN} to {IMAGE_KEY_BYTES_MAX} are \
                 allowed"
            ),
            Self::Salt => f.write_str("the salt of a sealed blob is not 32 bytes in base64"),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("it was sealed with another key"),
            Self::Damaged { segment } => {
                write!(f, "it is damaged or cut at its segment {segment}")
            }
        }
    }
}

impl std::error::Error for KeyError {}
impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: usize = SEALED_SEGMENT_BYTES;

    fn key(text: &str) -> Key {
        Key::parse(text.repeat(16).as_bytes()).unwrap()
    }

    fn salt(byte: u8) -> Salt {
        Salt([byte; SALT_BYTES])
    }

    fn sealed(bytes: &[u8]) -> Vec<u8> {
        seal(bytes, &key("k"), &salt(1), Purpose::Layer)
    }

    fn opened(bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        open(bytes, &key("k"), &salt(1), Purpose::Layer)
    }

    /// Bytes that are not the same in any two segments.
    fn plain(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at / SEGMENT * 31 + at) as u8).collect()
    }

    #[test]
    fn sizes_around_the_edges_of_segments() {
        for (bytes, segments) in [
            (0, 1),
            (1, 1),
            (SEGMENT - 1, 1),
            (SEGMENT, 1),
            (SEGMENT + 1, 2),
            (2 * SEGMENT, 2),
            (2 * SEGMENT + 1, 3),
        ] {
            let sealed = sealed(&plain(bytes));
            assert_eq!(sealed.len(), bytes + segments * TAG_BYTES, "{bytes}");
            assert_eq!(opened(&sealed), Ok(plain(bytes)), "{bytes}");
        }
    }

    #[test]
    fn only_the_same_key_salt_and_purpose_open() {
        let sealed = sealed(b"secret");
        let open = |key, salt, purpose| open(&sealed, &key, &salt, purpose);
        assert_eq!(open(key("k"), salt(1), Purpose::Layer), Ok(b"secret".to_vec()));
        assert_eq!(open(key("l"), salt(1), Purpose::Layer), Err(OpenError::Key));
        assert_eq!(open(key("k"), salt(2), Purpose::Layer), Err(OpenError::Key));
        assert_eq!(open(key("k"), salt(1), Purpose::Config), Err(OpenError::Key));
    }

    #[test]
    fn what_is_cut_anywhere_does_not_open() {
        let whole = sealed(&plain(3 * SEGMENT));
        let segment = SEGMENT + TAG_BYTES;
        for (length, error) in [
            (0, OpenError::Key),
            (TAG_BYTES - 1, OpenError::Key),
            (segment, OpenError::Key),
            (segment + 1, OpenError::Damaged { segment: 1 }),
            (2 * segment, OpenError::Damaged { segment: 1 }),
            (2 * segment + TAG_BYTES, OpenError::Damaged { segment: 2 }),
            (3 * segment - 1, OpenError::Damaged { segment: 2 }),
        ] {
            assert_eq!(opened(&whole[..length]), Err(error), "{length}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(opened(&longer), Err(OpenError::Damaged { segment: 2 }));
    }

    #[test]
    fn segments_that_change_places_do_not_open() {
        let whole = sealed(&plain(3 * SEGMENT));
        let parts: Vec<&[u8]> = whole.chunks(SEGMENT + TAG_BYTES).collect();
        for (order, error) in [
            (&[1, 0, 2][..], OpenError::Key),
            (&[0, 2, 1], OpenError::Damaged { segment: 1 }),
            (&[0, 0, 1, 2], OpenError::Damaged { segment: 1 }),
            (&[0, 2], OpenError::Damaged { segment: 1 }),
            (&[0, 1, 2, 2], OpenError::Damaged { segment: 2 }),
        ] {
            let other: Vec<u8> = order.iter().flat_map(|at| parts[*at]).copied().collect();
            assert_eq!(opened(&other), Err(error), "{order:?}");
        }
    }

    #[test]
    fn what_comes_before_the_damage_is_right_and_nothing_comes_after() {
        let mut whole = sealed(&plain(3 * SEGMENT));
        whole[SEGMENT + TAG_BYTES + 5] ^= 1;
        let mut opener = Opener::new(&whole[..], &key("k"), &salt(1), Purpose::Layer);
        let mut read = Vec::new();
        let error = opener.read_to_end(&mut read).unwrap_err();
        assert_eq!(OpenError::of(&error), Some(OpenError::Damaged { segment: 1 }));
        assert_eq!(read, plain(SEGMENT));
        assert_eq!(opener.read_to_end(&mut read).unwrap(), 0);
    }

    #[test]
    fn keys_and_salts_at_and_beyond_each_edge() {
        for (bytes, good) in [(15, false), (16, true), (512, true), (513, false)] {
            assert_eq!(Key::parse(&vec![1; bytes]).is_ok(), good, "{bytes}");
        }
        let one = Salt::random().unwrap();
        assert_ne!(one, Salt::random().unwrap());
        assert_eq!(one.to_string().parse(), Ok(one));
        for bad in ["", "é", "AAAA", &BASE64.encode([0; 33])] {
            assert_eq!(bad.parse::<Salt>(), Err(KeyError::Salt), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", key("secret")), "Key");
    }

    #[test]
    fn the_derivation_does_not_change() {
        // What was sealed by an older version must open: computed apart from this code, with
        // HKDF and ChaCha20-Poly1305 of Python's `cryptography`.
        let known = "YJiLyo9VfdqomOSnkoi2C9up6XzANw==";
        assert_eq!(BASE64.encode(sealed(b"secret")), known);
    }

    proptest! {
        // Unoptimized, the cipher does a few megabytes a second.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_was_sealed_opens_however_it_is_written_and_read(
            bytes in 0_usize..200_000, write in 1_usize..100_000, read in 1_usize..100_000,
        ) {
            let plain = plain(bytes);
            let mut sealer = Sealer::new(Vec::new(), &key("k"), &salt(1), Purpose::Layer);
            for piece in plain.chunks(write) {
                sealer.write_all(piece).unwrap();
            }
            let sealed = sealer.finish().unwrap();
            let mut opener = Opener::new(&sealed[..], &key("k"), &salt(1), Purpose::Layer);
            let (mut opened, mut buffer) = (Vec::new(), vec![0; read]);
            while let count @ 1.. = opener.read(&mut buffer).unwrap() {
                opened.extend_from_slice(&buffer[..count]);
            }
            prop_assert_eq!(opened, plain);
        }

        #[test]
        fn no_changed_bit_opens(
            bytes in 0_usize..70_000, at_byte: prop::sample::Index, bit in 0_u8..8,
        ) {
            let mut sealed = sealed(&plain(bytes));
            let place = at_byte.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert!(opened(&sealed).is_err());
        }
    }
}
