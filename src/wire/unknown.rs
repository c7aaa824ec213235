//! Fields that clients send and the protos do not have.
//!
//! prost drops them without a word, and a client that relies on one then gets something else
//! than it asked for. So each message that arrives is walked against the descriptors, nested
//! messages too: the first of each (message, number) is logged, all are counted. The walk reads
//! keys and lengths only, so a large bytes field costs as much as a small one. It never refuses
//! anything: bytes that make no sense are prost's to refuse.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use parking_lot::Mutex;
use prost::{
    Message, Name,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type as FieldType};

use super::DESCRIPTORS;
use crate::core::limits::{MESSAGE_DEPTH_MAX, UNKNOWN_FIELDS_KEPT};

/// The fields that one message type has.
#[derive(Debug)]
pub struct Shape {
    /// The full name, as in `modal.client.PTYInfo`.
    name: String,
    /// The known numbers, each with the message type that it holds, if it is one to walk into.
    fields: BTreeMap<u32, Option<String>>,
}

/// A field number that was seen and is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The full name of the message.
    pub message: &'static str,
    /// The field's number.
    pub number: u32,
    /// How often it came.
    pub count: u64,
}

/// Counts what was seen. It keeps at most [`UNKNOWN_FIELDS_KEPT`] different fields: a stranger
/// can make up half a billion numbers.
#[derive(Debug, Default)]
struct Table {
    fields: BTreeMap<(&'static str, u32), u64>,
    /// Occurrences of fields that found no place.
    others: u64,
}

/// Whether a sighting is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
enum Sighting {
    First,
    FirstWithoutPlace,
    Repeat,
}

/// Guards the counts of the whole process, which has one log to warn in.
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
static SHAPES: LazyLock<HashMap<String, Shape>> = LazyLock::new(|| shapes(DESCRIPTORS));

/// The shape of a generated message type, where the descriptors have it.
pub fn shape<M: Name>() -> Option<&'static Shape> {
    SHAPES.get(&M::full_name())
}

/// Reports the unknown fields of one encoded message.
pub fn scan(shape: &'static Shape, message: &[u8]) {
    walk(shape, message, MESSAGE_DEPTH_MAX, &mut |shape, number| {
        let sighting = TABLE.lock().count(&shape.name, number);
        match sighting {
            Sighting::First => tracing::warn!(
                message = shape.name.as_str(),
                number,
                "ignoring a field that is not in the protos; more of the same are only counted"
            ),
            Sighting::FirstWithoutPlace => tracing::warn!(
                "ignoring further fields that are not in the protos: too many different ones"
            ),
            Sighting::Repeat => {}
        }
    });
}

/// What was seen since the process began, and how often fields came that found no place.
pub fn seen() -> (Vec<Seen>, u64) {
    let table = TABLE.lock();
    let fields = table.fields.iter();
    let fields = fields.map(|(&(message, number), &count)| Seen { message, number, count });
    (fields.collect(), table.others)
}

/// Calls `report` for each unknown field of `bytes`, and stops at the first nonsense.
fn walk(
    shape: &'static Shape,
    mut bytes: &[u8],
    depth: usize,
    report: &mut dyn FnMut(&'static Shape, u32),
) {
    // Fields inside an (obsolete) group belong to the group's own type.
    let mut groups = 0u32;
    while !bytes.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut bytes) else { return };
        let known = shape.fields.get(&number);
        if groups == 0 && known.is_none() && wire_type != WireType::EndGroup {
            report(shape, number);
        }
        let length = match wire_type {
            WireType::Varint => {
                let Ok(_) = decode_varint(&mut bytes) else { return };
                0
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => {
                let Ok(length) = decode_varint(&mut bytes) else { return };
                length
            }
            WireType::StartGroup => {
                groups += 1;
                0
            }
            WireType::EndGroup => {
                let Some(outer) = groups.checked_sub(1) else { return };
                groups = outer;
                0
            }
        };
        let split = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
        let Some((value, rest)) = split else { return };
        bytes = rest;
        if let (Some(Some(inner)), 0, 1.., WireType::LengthDelimited) =
            (known, groups, depth, wire_type)
            && let Some(inner) = SHAPES.get(inner)
        {
            walk(inner, value, depth - 1, report);
        }
    }
}

impl Table {
    fn count(&mut self, message: &'static str, number: u32) -> Sighting {
        if let Some(count) = self.fields.get_mut(&(message, number)) {
            *count += 1;
            return Sighting::Repeat;
        }
        if self.fields.len() < UNKNOWN_FIELDS_KEPT {
            self.fields.insert((message, number), 1);
            return Sighting::First;
        }
        self.others += 1;
        if self.others == 1 { Sighting::FirstWithoutPlace } else { Sighting::Repeat }
    }
}

fn shapes(descriptors: &[u8]) -> HashMap<String, Shape> {
    let files = FileDescriptorSet::decode(descriptors)
        .expect("build.rs encoded the descriptors, and tests decode them");
    let mut shapes = HashMap::new();
    for file in &files.file {
        for message in &file.message_type {
            add(&mut shapes, file.package(), message);
        }
    }
    shapes
}

fn add(shapes: &mut HashMap<String, Shape>, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        add(shapes, &name, nested);
    }
    let fields = message.field.iter().map(|field| {
        let number = u32::try_from(field.number()).expect("field numbers are positive");
        let inner = field.type_name().trim_start_matches('.');
        // Map entries have two fields for ever; walking them would cost time for nothing.
        let entry = message.nested_type.iter().any(|nested| {
            nested.options.as_ref().is_some_and(|options| options.map_entry())
                && inner.strip_prefix(&name) == Some(&format!(".{}", nested.name()))
        });
        let walked = field.r#type() == FieldType::Message && !entry;
        (number, walked.then(|| inner.to_string()))
    });
    let shape = Shape { name: name.clone(), fields: fields.collect() };
    shapes.insert(name, shape);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::encoding::{encode_key, encode_varint};

    use super::*;
    use crate::wire::modal::{
        client::{PtyInfo, SecretSource, StringMap, secret_source},
        task_command_router::{TaskExecStartRequest, TaskExecStdinWriteRequest},
    };

    fn found<M: Name>(bytes: &[u8]) -> Vec<(&'static str, u32)> {
        let mut found = Vec::new();
        let shape = shape::<M>().unwrap();
        walk(shape, bytes, MESSAGE_DEPTH_MAX, &mut |shape, n| found.push((&*shape.name, n)));
        found
    }

    fn start() -> TaskExecStartRequest {
        let env = StringMap { contents: [("A".to_string(), "b".to_string())].into() };
        let source = SecretSource { source: Some(secret_source::Source::Env(env)) };
        TaskExecStartRequest {
            task_id: "t".into(),
            command_args: vec!["echo".into(), String::new()],
            timeout_secs: Some(0),
            pty_info: Some(PtyInfo { winsz_rows: 24, ..PtyInfo::default() }),
            env: [("K".to_string(), "v".to_string())].into(),
            secret_sources: vec![source],
            ..TaskExecStartRequest::default()
        }
    }

    fn field(number: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_key(number, WireType::LengthDelimited, &mut bytes);
        encode_varint(value.len() as u64, &mut bytes);
        bytes.extend_from_slice(value);
        bytes
    }

    #[test]
    fn every_known_field_is_known() {
        assert_eq!(found::<TaskExecStartRequest>(&start().encode_to_vec()), []);
        assert!(shape::<()>().is_some(), "google.protobuf.Empty has a shape too");
    }

    #[test]
    fn unknown_fields_are_found_at_every_depth_and_in_every_wire_type() {
        let name = "modal.task_command_router.TaskExecStartRequest";
        let mut bytes = start().encode_to_vec();
        bytes.extend(field(99, b"x"));
        bytes.extend([0x98, 0x06, 0x05]); // 99, varint
        bytes.extend([0xa5, 0x06, 1, 2, 3, 4]); // 100, 32 bits
        bytes.extend([0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8]); // 101, 64 bits
        bytes.extend([0xb3, 0x06, 0x08, 0x01, 0xb4, 0x06]); // 102, a group with a field 1
        bytes.extend(field(9, &[0x98, 0x06, 0x05]));
        bytes.extend(field(13, &field(2, &field(7, b"y"))));
        assert_eq!(
            found::<TaskExecStartRequest>(&bytes),
            [
                (name, 99),
                (name, 99),
                (name, 100),
                (name, 101),
                (name, 102),
                ("modal.client.PTYInfo", 99),
                ("modal.client.StringMap", 7),
            ]
        );
    }

    #[test]
    fn the_table_is_bounded_and_each_first_is_told_once() {
        let mut table = Table::default();
        for number in 0..UNKNOWN_FIELDS_KEPT as u32 {
            assert_eq!(table.count("m", number), Sighting::First);
            assert_eq!(table.count("m", number), Sighting::Repeat);
        }
        assert_eq!(table.count("n", 1), Sighting::FirstWithoutPlace);
        assert_eq!(table.count("n", 2), Sighting::Repeat);
        assert_eq!((table.fields.len(), table.others), (UNKNOWN_FIELDS_KEPT, 2));
    }

    #[test]
    fn what_was_seen_can_be_asked_for() {
        let shape = shape::<TaskExecStdinWriteRequest>().unwrap();
        let data = Bytes::from(vec![7; 1 << 20]);
        let mut bytes = TaskExecStdinWriteRequest { data, ..TaskExecStdinWriteRequest::default() }
            .encode_to_vec();
        bytes.extend(field(1234, b""));
        scan(shape, &bytes);
        scan(shape, &bytes);
        let seen = seen().0.into_iter().find(|seen| seen.number == 1234);
        let message = "modal.task_command_router.TaskExecStdinWriteRequest";
        assert_eq!(seen, Some(Seen { message, number: 1234, count: 2 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            found::<TaskExecStartRequest>(&bytes);
        }
    }
}
