//! Mutations that know the layout of posterize's files: safetensors whose JSON is compressed, which random
//! changes of bytes never get through.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use libfuzzer_sys::fuzzer_mutate;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use serde_json::{Map, Value, json};

/// The end of the names of tensors that are compressed JSON.
const COMPRESSED: &str = ".json.zlib";
/// Room for what a mutation adds, in bytes.
const ROOM: usize = 256;

/// Changes one tensor of a file, or its bytes anywhere. Returns the new size; see
/// [`libfuzzer_sys::fuzz_mutator`].
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed.into());
    if random.random_ratio(1, 8) {
        return fuzzer_mutate(data, size, max_size);
    }
    match changed(&data[..size], &mut random) {
        Some(file) if file.len() <= max_size => {
            data[..file.len()].copy_from_slice(&file);
            file.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
}

/// Returns the file with another tensor; `None` if the file is too damaged for that.
fn changed(file: &[u8], random: &mut ChaCha8Rng) -> Option<Vec<u8>> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (header, values) = rest.split_at_checked(u64::from_le_bytes(*length).try_into().ok()?)?;
    let mut header: Map<String, Value> = serde_json::from_slice(header).ok()?;
    let metadata = header.remove("__metadata__");
    let names: Vec<String> = header.keys().cloned().collect();
    let compressed: Vec<&String> = names.iter().filter(|name| name.ends_with(COMPRESSED)).collect();
    let pick = |among: &[&String], random: &mut ChaCha8Rng| {
        (!among.is_empty()).then(|| among[random.random_range(0..among.len())].clone())
    };
    let chosen = if random.random_ratio(3, 4) {
        pick(&compressed, random)?
    } else {
        pick(&names.iter().collect::<Vec<_>>(), random)?
    };

    let mut all = Map::new();
    let mut content = Vec::new();
    for (name, mut info) in header {
        let place: [usize; 2] = serde_json::from_value(info["data_offsets"].clone()).ok()?;
        let mut bytes = values.get(place[0]..place[1])?.to_vec();
        if name == chosen && name.ends_with(COMPRESSED) {
            bytes = deflated(&changed_json(&inflated(&bytes)?, random))?;
            info["shape"] = json!([bytes.len()]);
        } else if name == chosen {
            // Of the same size, since the shape is checked first.
            let length = bytes.len();
            fuzzer_mutate(&mut bytes, length, length);
        }
        info["data_offsets"] = json!([content.len(), content.len() + bytes.len()]);
        content.extend(bytes);
        all.insert(name, info);
    }
    if let Some(metadata) = metadata {
        all.insert("__metadata__".to_owned(), metadata);
    }
    let mut header = serde_json::to_vec(&all).ok()?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(content);
    Some(file)
}

fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut json = Vec::new();
    ZlibDecoder::new(bytes).take(1 << 20).read_to_end(&mut json).ok()?;
    Some(json)
}

fn deflated(json: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(json).ok()?;
    encoder.finish().ok()
}

/// Returns JSON with one value changed, or with random bytes changed.
fn changed_json(bytes: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    if let Ok(mut json) = serde_json::from_slice::<Value>(bytes)
        && random.random_ratio(7, 8)
    {
        for _ in 0..random.random_range(1..=3) {
            let place = random.random_range(0..count(&json));
            change(&mut json, &mut { place }, random);
        }
        return serde_json::to_vec(&json).expect("a value is written as JSON");
    }
    let mut json = bytes.to_vec();
    json.resize(bytes.len() + ROOM, 0);
    let capacity = json.len();
    let size = fuzzer_mutate(&mut json, bytes.len(), capacity);
    json.truncate(size);
    json
}

/// Returns the number of values in a value, itself included.
fn count(json: &Value) -> usize {
    1 + match json {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(items) => items.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes the value that comes after `place` others.
fn change(json: &mut Value, place: &mut usize, random: &mut ChaCha8Rng) {
    if *place > 0 {
        *place -= 1;
        let inner: Vec<&mut Value> = match json {
            Value::Array(items) => items.iter_mut().collect(),
            Value::Object(items) => items.values_mut().collect(),
            _ => return,
        };
        for value in inner {
            let within = count(value);
            if *place < within {
                return change(value, place, random);
            }
            *place -= within;
        }
        return;
    }
    const INTEGERS: [i64; 22] = [
        -1,
        0,
        1,
        2,
        3,
        4,
        5,
        7,
        8,
        16,
        31,
        63,
        64,
        127,
        128,
        255,
        256,
        1024,
        65_535,
        1 << 24,
        1 << 31,
        i64::MAX,
    ];
    const FLOATS: [f64; 8] = [-1.0, 0.0, 1e-45, 1e-7, 0.5, 6.0, 1e30, 1e300];
    match json {
        Value::Number(number) if number.is_f64() => {
            *json = json!(FLOATS[random.random_range(0..FLOATS.len())]);
        }
        Value::Number(number) => {
            let near = number.as_i64().map(|value| value.wrapping_add(random.random_range(-2..=2)));
            let any = INTEGERS[random.random_range(0..INTEGERS.len())];
            *json = json!(near.filter(|_| random.random()).unwrap_or(any));
        }
        Value::Bool(value) => *value = !*value,
        Value::String(text) => {
            const OPERATORS: [&str; 16] = [
                "Conv2d",
                "Linear",
                "BatchNorm",
                "MaxPool2d",
                "AvgPool2d",
                "AdaptiveAvgPool2d",
                "Flatten",
                "Add",
                "Mul",
                "Cat",
                "Sub",
                "Slice",
                "ChannelShuffle",
                "Sigmoid",
                "Hardswish",
                "ReLU6",
            ];
            match random.random_range(0..4) {
                0 => text.clear(),
                1 => text.push('.'),
                _ => *text = OPERATORS[random.random_range(0..OPERATORS.len())].to_owned(),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let (one, other) =
                (random.random_range(0..items.len()), random.random_range(0..items.len()));
            match random.random_range(0..3) {
                0 => drop(items.remove(one)),
                1 => items.insert(one, items[other].clone()),
                _ => items.swap(one, other),
            }
        }
        Value::Object(items) if !items.is_empty() => {
            let keys: Vec<String> = items.keys().cloned().collect();
            let key = &keys[random.random_range(0..keys.len())];
            if random.random() {
                items.remove(key);
            } else {
                let other = items[&keys[random.random_range(0..keys.len())]].clone();
                items.insert(key.clone(), other);
            }
        }
        other => *other = if random.random() { json!(1) } else { Value::Null },
    }
}
