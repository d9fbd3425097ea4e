//! A bound on the memory that the messages of a file take.
//!
//! An empty message takes two bytes in a file and hundreds in memory, so a file is scanned before it is
//! decoded.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The largest number of messages in a file.
const MAX_MESSAGES: usize = 1 << 20;

/// The kinds of messages that contain others, many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    /// Of which the number of its parts is counted, but not what is in them.
    Other,
}

impl Message {
    /// Returns the kind of message in a field, by the numbers in ONNX's schema; `None` for other fields.
    fn field(self, tag: u32) -> Option<Self> {
        Some(match (self, tag) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Model, 8 | 14 | 20 | 26)
            | (Self::Graph, 5 | 11..=16)
            | (Self::Node, 9 | 10)
            | (Self::Attribute, 5 | 10 | 14 | 15 | 22 | 23)
            | (Self::Function, 9 | 12 | 14)
            // Dimensions and entries: of any number that a message may have.
            | (Self::Other, 1 | 2 | 13 | 16) => Self::Other,
            _ => return None,
        })
    }
}

/// Checks that a file has no more messages than are allowed.
///
/// # Errors
/// Returns an error if there are more, or if the file is damaged.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    let mut messages = 0;
    walk(Message::Model, file, 0, &mut messages)
}

fn walk(
    message: Message,
    mut bytes: &[u8],
    depth: usize,
    messages: &mut usize,
) -> Result<(), String> {
    // Deeper ones are refused when they are decoded.
    const MAX_DEPTH: usize = 100;
    *messages += 1;
    if *messages > MAX_MESSAGES {
        return Err(format!("it has more than {MAX_MESSAGES} nodes, tensors and attributes"));
    }
    while bytes.has_remaining() && depth < MAX_DEPTH {
        let (tag, wire_type) = decode_key(&mut bytes).map_err(|error| error.to_string())?;
        match message.field(tag) {
            Some(inner) if wire_type == WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).map_err(|error| error.to_string())?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let Some((part, rest)) = bytes.split_at_checked(length) else {
                    return Err("a message is longer than the file".into());
                };
                // What is no message, such as the bytes of a tensor, ends the scan of that part alone.
                match walk(inner, part, depth + 1, messages) {
                    Err(problem) if inner != Message::Other || *messages > MAX_MESSAGES => {
                        return Err(problem);
                    }
                    _ => bytes = rest,
                }
            }
            _ => skip_field(wire_type, tag, &mut bytes, DecodeContext::default())
                .map_err(|error| error.to_string())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of a message with these bytes.
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![tag << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        field.extend(bytes);
        field
    }

    #[test]
    fn many_empty_messages_are_refused() {
        // Two bytes for each node, and for each attribute of one node.
        let nodes = field(1, &[]).repeat(MAX_MESSAGES);
        assert!(check(&field(7, &nodes)).unwrap_err().contains("more than"));
        let attributes = field(5, &[]).repeat(MAX_MESSAGES);
        assert!(check(&field(7, &field(1, &attributes))).unwrap_err().contains("more than"));
        let few = field(1, &[]).repeat(100);
        assert_eq!(check(&field(7, &few)), Ok(()));
        assert!(check(&field(7, &few)[..50]).is_err());
    }
}
