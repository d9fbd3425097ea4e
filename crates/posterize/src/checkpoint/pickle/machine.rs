//! The stack machine that executes a pickle's instructions, with marks and a memo.
//!
//! The instructions are documented in CPython's `Lib/pickletools.py`.

use std::collections::HashMap;

use super::allowance::Allowance;
use super::call::{self, Outcome};
use super::callable::{self, Callable};
use super::value::{Handle, Object, Pickle, Storage, Value};
use crate::checkpoint::{Parsed, printable};

/// Reads the pickle at the start of `bytes`, which may be longer. `name` is the pickle's name and
/// `base` its position in the file, for messages.
pub(in crate::checkpoint) fn read<'a>(
    bytes: &'a [u8],
    name: &str,
    base: usize,
) -> Parsed<Pickle<'a>> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        objects: Vec::new(),
        allowance: Allowance::new(),
    };
    loop {
        let start = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => {
                return Ok(Pickle { root, length: machine.at, objects: machine.objects });
            }
            Err(problem) => return Err(format!("{problem} (byte {} of {name})", base + start)),
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// The stack heights of the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Vec<Object<'a>>,
    allowance: Allowance,
}

impl<'a> Machine<'a> {
    /// Executes one instruction. Returns the result after the last one.
    fn step(&mut self) -> Parsed<Option<Value<'a>>> {
        let [code] = self.array()?;
        match code {
            // Framing.
            0x80 => {
                let [protocol] = self.array()?;
                if protocol > 5 {
                    return Err(format!("a pickle of protocol {protocol}; expected 0 to 5"));
                }
            }
            0x95 => {
                self.take(8)?;
            }
            b'.' => return self.pop().map(Some),
            // The stack.
            b'(' => {
                self.allowance.spend(1)?;
                self.marks.push(self.stack.len());
            }
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            // The memo.
            b'g' => {
                let index = self.decimal_index()?;
                self.recall(index)?;
            }
            b'h' => {
                let [index] = self.array()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)?;
            }
            b'p' => {
                let index = self.decimal_index()?;
                self.memorize(index)?;
            }
            b'q' => {
                let [index] = self.array()?;
                self.memorize(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.memorize(index)?;
            }
            0x94 => {
                let index = self.memo.len() as u32;
                self.memorize(index)?;
            }
            // Scalars.
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'K' => {
                let [value] = self.array()?;
                self.push(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            0x8a => {
                let [length] = self.array()?;
                self.push_long(length.into())?;
            }
            0x8b => {
                let length = self.length4()?;
                self.push_long(length)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(value))?;
            }
            b'I' => match self.line()? {
                b"00" => self.push(Value::Bool(false))?,
                b"01" => self.push(Value::Bool(true))?,
                line => {
                    let value = parse_text(line, "an integer")?;
                    self.push(Value::Int(value))?;
                }
            },
            b'L' => {
                let line = self.line()?;
                let value = parse_text(line.strip_suffix(b"L").unwrap_or(line), "an integer")?;
                self.push(Value::Int(value))?;
            }
            b'F' => {
                let line = self.line()?;
                let value = parse_text(line, "a float")?;
                self.push(Value::Float(value))?;
            }
            // Strings. Those of Python 2 may be any bytes.
            b'S' => {
                let line = self.line()?;
                let quoted = line.len() >= 2 && matches!(line[0], b'\'' | b'"');
                self.push(text(if quoted { &line[1..line.len() - 1] } else { line }))?;
            }
            b'V' => {
                let line = self.line()?;
                self.push(text(line))?;
            }
            b'T' | b'X' => {
                let length = self.length4()?;
                let bytes = self.take(length)?;
                self.push(text(bytes))?;
            }
            b'U' | 0x8c => {
                let [length] = self.array()?;
                let bytes = self.take(length.into())?;
                self.push(text(bytes))?;
            }
            0x8d => {
                let length = self.length8()?;
                let bytes = self.take(length)?;
                self.push(text(bytes))?;
            }
            b'B' => {
                let length = self.length4()?;
                self.take(length)?;
                self.push(Value::Bytes)?;
            }
            b'C' => {
                let [length] = self.array()?;
                self.take(length.into())?;
                self.push(Value::Bytes)?;
            }
            0x8e | 0x96 => {
                let length = self.length8()?;
                self.take(length)?;
                self.push(Value::Bytes)?;
            }
            // Containers.
            b')' => self.push_object(Object::Tuple(Vec::new()))?,
            b']' => self.push_object(Object::List(Vec::new()))?,
            b'}' => self.push_object(Object::Dict(Vec::new()))?,
            0x8f => self.push_object(Object::Other("set"))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_object(Object::Tuple(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                self.above_mark(count)?;
                let items = self.stack.split_off(self.stack.len() - count);
                self.push_object(Object::Tuple(items))?;
            }
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push_object(Object::List(items))?;
            }
            b'd' => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.push_object(Object::Dict(entries))?;
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push_object(Object::Other("set"))?;
            }
            0x90 => {
                self.pop_to_mark()?;
                self.top()?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(&[item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend_list(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_dict(&[(key, value)])?;
            }
            b'u' => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.extend_dict(&entries)?;
            }
            // Names and calls.
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push_callable(module, name)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                match (module, name) {
                    (Value::Str(module), Value::Str(name)) => {
                        self.push_callable(module.as_bytes(), name.as_bytes())?;
                    }
                    _ => return Err("a callable whose name is not a string".into()),
                }
            }
            b'i' => {
                let module = self.line()?;
                let name = self.line()?;
                let callable = self.find_callable(module, name)?;
                let arguments = self.pop_to_mark()?;
                self.call(Value::Callable(callable), Arguments::Values(&arguments))?;
            }
            b'o' => {
                let mut arguments = self.pop_to_mark()?.into_iter();
                let callable = arguments.next().ok_or("a call without a callable")?;
                self.call(callable, Arguments::Values(arguments.as_slice()))?;
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, Arguments::Tuple(arguments))?;
            }
            0x92 => {
                let _keywords = self.pop()?;
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, Arguments::Tuple(arguments))?;
            }
            b'b' => {
                // Attributes, such as `_metadata` of a state dict, are not needed.
                let _state = self.pop()?;
                let target = self.top()?;
                if !matches!(
                    object(&self.objects, target),
                    Some(Object::Dict(_) | Object::Tensor(_) | Object::Other(_))
                ) {
                    return Err("attributes are set on an object that has none".into());
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push_object(Object::Storage(storage))?;
            }
            b'P' => return Err("a persistent id as text, which torch.save never writes".into()),
            0x82..=0x84 => {
                return Err("refused, because it would run code: it calls a function of Python's \
                            extension registry"
                    .into());
            }
            0x97 | 0x98 => return Err("a pickle with out-of-band buffers is not supported".into()),
            other => {
                return Err(format!(
                    "0x{other:02x} is not a pickle instruction: the file is damaged"
                ));
            }
        }
        Ok(None)
    }

    // Bytes of the file.

    fn take(&mut self, length: usize) -> Parsed<&'a [u8]> {
        let taken = self.bytes[self.at..].get(..length).ok_or_else(|| {
            format!(
                "the pickle ends in the middle of an instruction: {length} more bytes are needed \
                 at {} of {}. The file is truncated or damaged",
                self.at,
                self.bytes.len()
            )
        })?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let taken = self.take(N)?;
        Ok(std::array::from_fn(|i| taken[i]))
    }

    fn length4(&mut self) -> Parsed<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length8(&mut self) -> Parsed<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|error| error.to_string())
    }

    fn line(&mut self) -> Parsed<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or("the pickle ends in the middle of a line: the file is truncated or damaged")?;
        self.at += length + 1;
        let line = &rest[..length];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn decimal_index(&mut self) -> Parsed<u32> {
        let line = self.line()?;
        parse_text(line, "a memo index")
    }

    // The stack, the memo and the arena.

    fn push(&mut self, value: Value<'a>) -> Parsed<()> {
        self.allowance.spend(1)?;
        self.stack.push(value);
        Ok(())
    }

    fn push_object(&mut self, object: Object<'a>) -> Parsed<()> {
        let handle = Handle(u32::try_from(self.objects.len()).map_err(|error| error.to_string())?);
        self.push(Value::Object(handle))?;
        self.objects.push(object);
        Ok(())
    }

    fn push_long(&mut self, length: usize) -> Parsed<()> {
        let bytes = self.take(length)?;
        let value = if length <= 8 {
            let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut extended = [if negative { 0xff } else { 0 }; 8];
            extended[..length].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(extended))
        } else {
            Value::Long(bytes)
        };
        self.push(value)
    }

    /// Checks that there are at least `count` values above the last mark.
    fn above_mark(&self, count: usize) -> Parsed<()> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() < bottom + count {
            return Err(
                "the pickle takes more values than are on the stack: the file is damaged".into()
            );
        }
        Ok(())
    }

    fn pop(&mut self) -> Parsed<Value<'a>> {
        self.above_mark(1)?;
        self.stack.pop().ok_or_else(|| "the pickle's stack is empty".into())
    }

    fn top(&self) -> Parsed<Value<'a>> {
        self.above_mark(1)?;
        self.stack.last().copied().ok_or_else(|| "the pickle's stack is empty".into())
    }

    fn pop_to_mark(&mut self) -> Parsed<Vec<Value<'a>>> {
        let mark = self
            .marks
            .pop()
            .filter(|&mark| mark <= self.stack.len())
            .ok_or("the pickle uses a mark that was not set: the file is damaged")?;
        Ok(self.stack.split_off(mark))
    }

    fn recall(&mut self, index: u32) -> Parsed<()> {
        let value = *self.memo.get(&index).ok_or_else(|| {
            format!("the pickle uses memo {index}, which was not set: the file is damaged")
        })?;
        self.push(value)
    }

    fn memorize(&mut self, index: u32) -> Parsed<()> {
        let top = self.top()?;
        self.allowance.spend(1)?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn top_object(&mut self) -> Parsed<Option<&mut Object<'a>>> {
        Ok(match self.top()? {
            Value::Object(Handle(index)) => self.objects.get_mut(index as usize),
            _ => None,
        })
    }

    fn extend_list(&mut self, items: &[Value<'a>]) -> Parsed<()> {
        self.allowance.spend(items.len())?;
        match self.top_object()? {
            Some(Object::List(list)) => list.extend_from_slice(items),
            _ => return Err("items are added to an object that is not a list".into()),
        }
        Ok(())
    }

    fn extend_dict(&mut self, entries: &[(Value<'a>, Value<'a>)]) -> Parsed<()> {
        self.allowance.spend(2 * entries.len())?;
        match self.top_object()? {
            Some(Object::Dict(dict)) => dict.extend_from_slice(entries),
            _ => return Err("entries are added to an object that is not a dictionary".into()),
        }
        Ok(())
    }

    // Names and calls.

    fn find_callable(&self, module: &[u8], name: &[u8]) -> Parsed<Callable> {
        std::str::from_utf8(module)
            .ok()
            .zip(std::str::from_utf8(name).ok())
            .and_then(|(module, name)| Callable::find(module, name))
            .ok_or_else(|| callable::refusal(module, name, &self.bytes[self.at..]))
    }

    fn push_callable(&mut self, module: &[u8], name: &[u8]) -> Parsed<()> {
        let callable = self.find_callable(module, name)?;
        self.push(Value::Callable(callable))
    }

    fn call(&mut self, callable: Value<'a>, arguments: Arguments<'_, 'a>) -> Parsed<()> {
        let arguments = match arguments {
            Arguments::Values(values) => values,
            Arguments::Tuple(value) => tuple(&self.objects, value)?,
        };
        let Value::Callable(callable) = callable else {
            return Err("a call of an object that is not callable".into());
        };
        match call::call(callable, arguments, &self.objects, &mut self.allowance)? {
            Outcome::Argument(value) => self.push(value),
            Outcome::New(object) => self.push_object(object),
        }
    }

    /// Returns the storage of a persistent id `("storage", class, key, location, count, view)`.
    ///
    /// `view` is `(key, offset, count)` in files of PyTorch before 0.4 and `None` in later legacy
    /// files. The zip format does not have it.
    fn storage(&self, id: Value<'a>) -> Parsed<Storage<'a>> {
        let items = tuple(&self.objects, id)?;
        if let Some(Value::Str("module")) = items.first() {
            return Err(
                "refused, because it contains a whole pickled model with its source code, as \
                        torch.save(model) writes it. Save only the weights: \
                        torch.save(model.state_dict(), \"weights.pth\")"
                    .into(),
            );
        }
        let (class, key, count, view) = match *items {
            [Value::Str("storage"), class, key, _location, count] => (class, key, count, None),
            [Value::Str("storage"), class, key, _location, count, view] => {
                (class, key, count, Some(view))
            }
            _ => return Err("a persistent id that is not that of a storage".into()),
        };
        let (Value::Callable(Callable::Storage(element)), Value::Str(key), Value::Int(count)) =
            (class, key, count)
        else {
            return Err("the id of a storage has no class, key or size".into());
        };
        let has =
            |count: String| format!("storage {} has {count} values", printable(key.as_bytes()));
        let count = usize::try_from(count).map_err(|_| has(count.to_string()))?;
        if count.checked_mul(element.size()).is_none() {
            return Err(has(count.to_string()));
        }
        let view_offset = match view {
            None | Some(Value::None) => 0,
            Some(view) => match *tuple(&self.objects, view)? {
                [_key, Value::Int(offset), Value::Int(_)] => {
                    usize::try_from(offset).map_err(|_| "the offset of a storage is negative")?
                }
                _ => return Err("the view in the id of a storage is malformed".into()),
            },
        };
        Ok(Storage { key, element, count, view_offset })
    }
}

/// The arguments of a call.
#[derive(Clone, Copy)]
enum Arguments<'s, 'a> {
    Values(&'s [Value<'a>]),
    /// A tuple of the arena. It is not copied.
    Tuple(Value<'a>),
}

fn object<'s, 'a>(objects: &'s [Object<'a>], value: Value<'a>) -> Option<&'s Object<'a>> {
    match value {
        Value::Object(Handle(index)) => objects.get(index as usize),
        _ => None,
    }
}

fn tuple<'s, 'a>(objects: &'s [Object<'a>], value: Value<'a>) -> Parsed<&'s [Value<'a>]> {
    match object(objects, value) {
        Some(Object::Tuple(items)) => Ok(items),
        _ => Err("expected a tuple, such as the arguments of a call, found another value".into()),
    }
}

/// Returns a string, or bytes if they are not UTF-8.
fn text(bytes: &[u8]) -> Value<'_> {
    std::str::from_utf8(bytes).map_or(Value::Bytes, Value::Str)
}

fn parse_text<T: std::str::FromStr>(line: &[u8], what: &str) -> Parsed<T> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| format!("expected {what}, found `{}`", printable(line)))
}

fn pairs<'a>(items: &[Value<'a>]) -> Parsed<Vec<(Value<'a>, Value<'a>)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a dictionary has a key without a value".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}
