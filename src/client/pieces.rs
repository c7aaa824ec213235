//! Takes the payload out of a stream of gRPC messages as it arrives, without joining anything.
//!
//! Output is addressed by byte, so borders of messages mean nothing to a reader: a piece of a
//! message is as good as a whole one, and what came before a break is kept. Of each message
//! field 1 (bytes) is the payload; other fields are passed over.

use bytes::{Buf, Bytes};

/// A parser; feed it what the body brings.
#[derive(Debug)]
pub(super) struct Pieces(State);

/// Where in the stream of bytes we are. `left` counts the bytes of the message that follow.
#[derive(Debug, Clone, Copy)]
enum State {
    /// In the prefix: a flag for compression, four bytes of length.
    Prefix { have: u8, flag: u8, length: u32 },
    /// In a field's key.
    Key { left: u32, key: Varint },
    /// In the length of a field that has one.
    Length { left: u32, of: Field, length: Varint },
    /// In a varint that nobody wants.
    Number { left: u32 },
    /// In the bytes of a field.
    Bytes { left: u32, of: Field, bytes: u32 },
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Payload,
    Other,
}

#[derive(Debug, Clone, Copy, Default)]
struct Varint {
    value: u64,
    shift: u32,
}

/// Bytes that are no stream of messages, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

const START: State = State::Prefix { have: 0, flag: 0, length: 0 };
const BEYOND: Malformed = Malformed("a field reaches beyond its message");

impl Pieces {
    pub(super) fn new() -> Self {
        Self(START)
    }

    /// Takes from `data` up to and with the next piece of payload. `None`: `data` is used up.
    pub(super) fn next(&mut self, data: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        while !data.is_empty() {
            self.0 = match self.0 {
                State::Prefix { have, flag, length } => prefix(have, flag, length, data.get_u8())?,
                State::Key { left, mut key } => {
                    let left = spend(left, 1)?;
                    match key.push(data.get_u8())? {
                        Some(key) => after_key(left, key)?,
                        None => State::Key { left, key },
                    }
                }
                State::Length { left, of, mut length } => {
                    let left = spend(left, 1)?;
                    match length.push(data.get_u8())? {
                        Some(bytes) => {
                            let bytes = u32::try_from(bytes).map_err(|_| BEYOND)?;
                            within(spend(left, bytes)?, of, bytes)
                        }
                        None => State::Length { left, of, length },
                    }
                }
                State::Number { left } => {
                    let left = spend(left, 1)?;
                    let more = data.get_u8() & 0x80 != 0;
                    if more { State::Number { left } } else { field(left) }
                }
                State::Bytes { left, of, bytes } => {
                    let taken = u32::try_from(data.len()).map_or(bytes, |there| there.min(bytes));
                    let piece = data.split_to(taken as usize);
                    self.0 = within(left, of, bytes - taken);
                    match of {
                        Field::Payload => return Ok(Some(piece)),
                        Field::Other => self.0,
                    }
                }
            };
        }
        Ok(None)
    }

    /// Whether the last message is whole, so that the stream may end here.
    pub(super) fn between_messages(&self) -> bool {
        matches!(self.0, State::Prefix { have: 0, .. })
    }
}

fn prefix(have: u8, flag: u8, length: u32, byte: u8) -> Result<State, Malformed> {
    if have == 0 {
        return Ok(State::Prefix { have: 1, flag: byte, length });
    }
    let length = length << 8 | u32::from(byte);
    if have < 4 {
        return Ok(State::Prefix { have: have + 1, flag, length });
    }
    match flag {
        0 => Ok(field(length)),
        _ => Err(Malformed("a message is compressed, and nobody asked for that")),
    }
}

fn after_key(left: u32, key: u64) -> Result<State, Malformed> {
    const VARINT: u64 = 0;
    const SIXTY_FOUR_BITS: u64 = 1;
    const LENGTH: u64 = 2;
    const THIRTY_TWO_BITS: u64 = 5;
    let of = if key >> 3 == 1 { Field::Payload } else { Field::Other };
    match key & 7 {
        VARINT => Ok(State::Number { left }),
        SIXTY_FOUR_BITS => Ok(within(spend(left, 8)?, Field::Other, 8)),
        LENGTH => Ok(State::Length { left, of, length: Varint::default() }),
        THIRTY_TWO_BITS => Ok(within(spend(left, 4)?, Field::Other, 4)),
        _ => Err(Malformed("a field has a wire type that proto3 has not")),
    }
}

/// The next field, or the next message.
fn field(left: u32) -> State {
    if left == 0 { START } else { State::Key { left, key: Varint::default() } }
}

/// In the bytes of a field, or past it.
fn within(left: u32, of: Field, bytes: u32) -> State {
    if bytes == 0 { field(left) } else { State::Bytes { left, of, bytes } }
}

fn spend(left: u32, bytes: u32) -> Result<u32, Malformed> {
    left.checked_sub(bytes).ok_or(BEYOND)
}

impl Varint {
    fn push(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        if self.shift > 63 {
            return Err(Malformed("a number has more than 64 bits"));
        }
        self.value |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::wire::modal::task_command_router::SandboxStdioReadV2Response;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[0][..], &length.to_be_bytes(), message].concat()
    }

    /// Feeds `stream` in the given cuts and joins the pieces.
    fn joined(stream: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool), Malformed> {
        let (mut pieces, mut out, mut rest) = (Pieces::new(), Vec::new(), stream);
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let cut = (*cuts.next().unwrap()).clamp(1, rest.len());
            let mut data = Bytes::copy_from_slice(&rest[..cut]);
            rest = &rest[cut..];
            while let Some(piece) = pieces.next(&mut data)? {
                assert!(!piece.is_empty());
                out.extend_from_slice(&piece);
            }
        }
        Ok((out, pieces.between_messages()))
    }

    #[test]
    fn other_fields_are_passed_over() {
        // 3: a string, 4: 32 bits, 5: 64 bits, 1: the payload, 2: a number.
        let message = b"\x1a\x02hi\x25aaaa\x29bbbbbbbb\x0a\x03xyz\x10\x96\x01";
        assert_eq!(joined(&framed(message), &[1]), Ok((b"xyz".to_vec(), true)));
        assert_eq!(joined(&framed(b""), &[9]), Ok((vec![], true)));
        assert!(!joined(&framed(message)[..20], &[9]).unwrap().1);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(joined(&[1, 0, 0, 0, 0], &[1]).is_err());
        assert_eq!(joined(&framed(b"\x0a\x05abc"), &[1]), Err(BEYOND));
        assert!(joined(&framed(b"\x0b"), &[1]).is_err());
        assert!(joined(&framed(&[0xff; 11]), &[1]).is_err());
        assert_eq!(joined(&framed(b"\x25a"), &[1]), Err(BEYOND));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_payload(
            payloads in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..300), any::<u64>()), 0..8),
            cuts in proptest::collection::vec(1usize..40, 1..8),
        ) {
            let mut stream = Vec::new();
            for (data, starting_offset) in payloads.clone() {
                let message = SandboxStdioReadV2Response { data: data.into(), starting_offset };
                stream.extend(framed(&message.encode_to_vec()));
            }
            let all: Vec<u8> = payloads.into_iter().flat_map(|(data, _)| data).collect();
            prop_assert_eq!(joined(&stream, &cuts), Ok((all, true)));
        }

        #[test]
        fn no_bytes_make_it_panic(
            stream in proptest::collection::vec(any::<u8>(), 0..100), cut in 1usize..20
        ) {
            let _ = joined(&stream, &[cut]);
        }
    }
}
