//! Builders of checkpoints that ask for far more work or memory than their size.

use std::borrow::Cow;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// The instructions of a pickle, without the last one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pickle(Vec<u8>);

impl Pickle {
    pub(crate) fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    /// Adds instructions as they are in the file.
    pub(crate) fn raw(mut self, instructions: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(instructions.as_ref());
        self
    }

    /// Adds the same instructions many times.
    pub(crate) fn repeated(mut self, instructions: &[u8], times: usize) -> Self {
        for _ in 0..times {
            self.0.extend_from_slice(instructions);
        }
        self
    }

    /// Pushes a string.
    pub(crate) fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        self.raw("X").raw(length).raw(text)
    }

    /// Pushes an integer.
    pub(crate) fn int(self, value: i32) -> Self {
        self.raw("J").raw(value.to_le_bytes())
    }

    /// Stores the top of the stack in the memo.
    pub(crate) fn store(self, index: u8) -> Self {
        self.raw([b'q', index])
    }

    /// Pushes a value of the memo.
    pub(crate) fn recall(self, index: u8) -> Self {
        self.raw([b'h', index])
    }

    /// Drops the top of the stack.
    pub(crate) fn drop_top(self) -> Self {
        self.raw("0")
    }

    /// Pushes the storage with that key, of `count` f32 values.
    pub(crate) fn storage(self, key: &str, count: i32) -> Self {
        self.raw("(")
            .text("storage")
            .raw("ctorch\nFloatStorage\n")
            .text(key)
            .text("cpu")
            .int(count)
            .raw("tQ")
    }

    /// Turns a storage on the stack into a tensor of all its first `count` values.
    pub(crate) fn tensor(self, key: &str, count: i32, shape: &[i32], strides: &[i32]) -> Self {
        let tuple = |pickle: Self, values: &[i32]| {
            values.iter().fold(pickle.raw("("), |pickle, &value| pickle.int(value)).raw("t")
        };
        let start = self.raw("ctorch._utils\n_rebuild_tensor_v2\n(").storage(key, count).int(0);
        tuple(tuple(start, shape), strides).raw(b"\x89}tR")
    }

    /// Returns the bytes of the pickle.
    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(".").0
    }
}

/// Returns a file in PyTorch's legacy format. `keys` is the pickle of the list of storages.
pub(crate) fn legacy(object: &[u8], keys: &[u8], storages: &[u8]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    for part in [object, keys, storages] {
        file.extend(part);
    }
    file
}

/// An entry of a zip archive.
pub(crate) struct Entry<'a> {
    name: &'a str,
    packed: Cow<'a, [u8]>,
    /// The size after decompression, if the entry is deflated.
    unpacked: Option<usize>,
}

impl<'a> Entry<'a> {
    pub(crate) fn stored(name: &'a str, data: &'a [u8]) -> Self {
        Self { name, packed: data.into(), unpacked: None }
    }

    pub(crate) fn deflated(name: &'a str, data: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        Self { name, packed: encoder.finish().unwrap().into(), unpacked: Some(data.len()) }
    }

    /// An entry of this deflate stream, which decompresses to `size` bytes.
    pub(crate) fn stream(name: &'a str, stream: Vec<u8>, size: usize) -> Self {
        Self { name, packed: stream.into(), unpacked: Some(size) }
    }
}

/// Returns an archive. `aliases` are further names in the directory for the last
/// entry.
pub(crate) fn zip(entries: &[Entry<'_>], aliases: &[String]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    let mut count = 0u16;
    let mut describe = |name: &str, entry: &Entry<'_>, at: u32| {
        let packed = u32::try_from(entry.packed.len()).unwrap();
        let size = entry.unpacked.map_or(packed, |size| u32::try_from(size).unwrap());
        let method = if entry.unpacked.is_some() { 8 } else { 0 };
        // A checksum of 0 is not checked.
        let checksum = entry.unpacked.map_or_else(|| crc32fast::hash(&entry.packed), |_| 0);
        let mut fields = vec![20, 0, 0, 0, method, 0, 0, 0, 0, 0];
        fields.extend(checksum.to_le_bytes());
        fields.extend(packed.to_le_bytes());
        fields.extend(size.to_le_bytes());
        fields.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        fields.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
        count += 1;
        fields
    };
    for (index, entry) in entries.iter().enumerate() {
        let at = u32::try_from(file.len()).unwrap();
        let fields = describe(entry.name, entry, at);
        if index + 1 == entries.len() {
            for alias in aliases {
                describe(alias, entry, at);
            }
        }
        file.extend(b"PK\x03\x04");
        file.extend(fields);
        file.extend(entry.name.as_bytes());
        file.extend(&*entry.packed);
    }
    let start = u32::try_from(file.len()).unwrap();
    let size = u32::try_from(directory.len()).unwrap();
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(count.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend(size.to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

/// Returns a checkpoint in PyTorch's zip format whose storage `0` has one value.
pub(crate) fn torch(object: &[u8]) -> Vec<u8> {
    zip(&[Entry::stored("a/data.pkl", object), Entry::stored("a/data/0", &[0; 4])], &[])
}

/// Returns a safetensors file with this header and zeros as data.
pub(crate) fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

/// A tensor of one value, in storage `0`.
fn one(pickle: Pickle) -> Pickle {
    pickle.tensor("0", 1, &[], &[])
}

/// Returns the name of the kind and a file of about `size` bytes, for each kind of file.
pub(crate) fn all(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let half = size / 2;
    let start = Pickle::new;
    let memo = |pickle: Pickle| pickle.store(0).drop_top();
    let tuple = |items: usize| memo(start().raw("(").repeated(b"N", items).raw("t"));
    let calls = |callable: &str, call: &[u8]| {
        let tuple = tuple(half).raw(callable).store(1).drop_top();
        torch(&tuple.repeated(call, half / call.len()).raw("}").end())
    };
    let mut files = vec![
        ("reduce_set", calls("cbuiltins\nset\n", b"h\x01h\0R0")),
        ("reduce_device", calls("ctorch\ndevice\n", b"h\x01h\0R0")),
        ("newobj_encode", calls("c_codecs\nencode\n", b"h\x01h\0\x810")),
        ("newobj_ex_set", calls("cbuiltins\nfrozenset\n", b"h\x01h\0}\x920")),
        ("reduce_size", calls("ctorch\nSize\n", b"h\x01h\0\x85R0")),
        ("reduce_parameter", calls("ctorch._utils\n_rebuild_parameter\n", b"h\x01h\0R0")),
    ];
    // A dictionary that is copied.
    let pairs = memo(start().raw("}(").repeated(b"NN", half / 2).raw("u"));
    let pairs = pairs.raw("ccollections\nOrderedDict\n").store(1).drop_top();
    files.push(("reduce_dict", torch(&pairs.repeated(b"h\x01h\0\x85R0", half / 7).raw("}").end())));
    let pairs = memo(start().raw("(").repeated(b"NN\x86", half / 3).raw("l"));
    let pairs = pairs.raw("ccollections\nOrderedDict\n").store(1).drop_top();
    files
        .push(("reduce_pairs", torch(&pairs.repeated(b"h\x01h\0\x85R0", half / 7).raw("}").end())));
    let shape = memo(start().raw("(").repeated(b"K\x01", half / 2).raw("t"));
    let shape = shape.storage("0", 1).store(2).drop_top();
    let shape = shape.raw("ctorch._utils\n_rebuild_tensor_v2\n").store(1).drop_top();
    let call = b"h\x01(h\x02K\0h\0h\0NNtR0";
    files.push(("reduce_shape", torch(&shape.repeated(call, half / call.len()).raw("}").end())));

    // One long name again and again.
    let key = "k".repeat(half);
    let long = |tensor: Pickle| tensor.text(&key).store(1).drop_top();
    let tensor = || one(start()).store(0).drop_top();
    files.push((
        "long_key",
        torch(&long(tensor()).raw("}(").repeated(b"h\x01h\0", half / 4).raw("u").end()),
    ));
    files.push((
        "long_key_setitem",
        torch(&long(tensor()).raw("}").repeated(b"h\x01h\0s", half / 5).end()),
    ));
    files.push((
        "long_key_and_many",
        torch(
            &(0..half / 24)
                .fold(long(tensor()).raw("}("), |p, i| {
                    p.raw("h\x01h\0").text(&format!("{i}")).recall(0)
                })
                .raw("u")
                .end(),
        ),
    ));
    // One long key of a storage, which many tensors have.
    let storages = |key: &str, size: usize| {
        let id = start().raw("(").text("storage").raw("ctorch\nFloatStorage\n").text(key);
        let id = id.text("cpu").int(1).raw("t").store(0).drop_top();
        let id = id.raw("ctorch._utils\n_rebuild_tensor_v2\n").store(1).drop_top();
        (0..size / 24)
            .fold(id.raw("}("), |p, i| {
                p.raw("U\x06").raw(format!("{i:06}")).raw("h\x01(h\0QK\0))NNtR")
            })
            .raw("u")
            .end()
    };
    let long = "k".repeat(half.min(65_000));
    let pickle = storages(&long, size - 3 * long.len().min(size / 4));
    files.push((
        "long_storage_key",
        zip(
            &[
                Entry::stored("a/data.pkl", &pickle),
                Entry::stored(&format!("a/data/{long}"), &[0; 4]),
            ],
            &[],
        ),
    ));
    let key = "k".repeat(half / 2);
    let pickle = storages(&key, half);
    let data = [&1i64.to_le_bytes()[..], &[0; 4]].concat();
    let once = start().raw("]").text(&key).raw("a").end();
    files.push(("long_storage_key_legacy", legacy(&pickle, &once, &data)));
    let many = start().raw("]").text(&key).store(0).raw("a").repeated(b"h\0a", half / 18).end();
    files.push((
        "long_storage_key_listed",
        legacy(&storages(&key, 100), &many, &data.repeat(half / 18 + 1)),
    ));

    // Dictionaries under every key that may hold the state dict, four deep.
    let wrappers = [
        "state_dict",
        "model_state_dict",
        "model_state",
        "model",
        "module",
        "net",
        "network",
        "net_state_dict",
        "weights",
        "params",
        "state_dict_ema",
        "ema_state_dict",
        "model_ema",
        "ema_model",
        "model_ema_state_dict",
        "params_ema",
        "ema",
    ];
    let mut nested = memo(start().raw("}(").repeated(b"NN", half.min(450_000)).raw("u"));
    for _ in 0..4 {
        nested = nested.raw("}(");
        for wrapper in wrappers {
            nested = nested.text(wrapper).recall(0);
        }
        nested = nested.raw("u").store(0).drop_top();
    }
    files.push(("wrappers", torch(&nested.recall(0).end())));
    // The same with copies, so that no dictionary is found twice.
    let leaf = half.min(450_000) / 17 / 17;
    let mut tree = start().raw("}(");
    for outer in wrappers {
        tree = tree.text(outer).raw("}(");
        for inner in wrappers {
            tree = tree.text(inner).raw("}(").repeated(b"NN", leaf).raw("u");
        }
        tree = tree.raw("u");
    }
    files.push(("wrapper_tree", torch(&tree.raw("u").end())));
    // A dictionary in itself.
    let mut cycle = start().raw("}").store(0).raw("(").repeated(b"NN", half.min(450_000));
    for wrapper in wrappers {
        cycle = cycle.text(wrapper).recall(0);
    }
    files.push(("wrapper_cycle", torch(&cycle.raw("u").end())));

    // Prefixes of wrapper modules in one long name, in two, and in many.
    let prefix = "module.".repeat(size / 7);
    files.push(("prefix", torch(&one(start().raw("}").text(&prefix)).raw("s").end())));
    let prefix = "module._orig_mod.".repeat(half / 17);
    let pickle = one(start().raw("}(").text(&format!("{prefix}a"))).store(0);
    files.push((
        "prefix_of_two",
        torch(&pickle.text(&format!("{prefix}b")).recall(0).raw("u").end()),
    ));
    let prefix = "module.".repeat(100);
    let many =
        (0..size / 720).fold(tensor().raw("}("), |p, i| p.text(&format!("{prefix}{i}")).recall(0));
    files.push(("prefix_of_many", torch(&many.raw("u").end())));
    let prefix = "module.".repeat(size / 7);
    let fields = r#""dtype":"F32","shape":[],"data_offsets":[0,4]"#;
    files.push(("prefix_safetensors", safetensors(&format!("{{\"{prefix}\":{{{fields}}}}}"), 4)));
    let prefix = "model.".repeat(size / 6);
    files.push(("other_prefix", torch(&one(start().raw("}").text(&prefix)).raw("s").end())));

    // One entry of the archive under many names.
    let aliases: Vec<String> =
        (0..(half / 150).min(60_000)).map(|i| format!("a/data/{i:05}")).collect();
    let pickle = start().raw("ctorch._utils\n_rebuild_tensor_v2\n").store(1).drop_top();
    let pickle = pickle
        .text("storage")
        .store(2)
        .drop_top()
        .raw("ctorch\nFloatStorage\n")
        .store(3)
        .drop_top();
    let pickle = (0..aliases.len()).fold(pickle.raw("}("), |p, i| {
        p.raw("U\x05").raw(format!("{i:05}")).store(0).raw("h\x01((h\x02h\x03h\0NK\x01tQK\0))NNtR")
    });
    let data = vec![1; half];
    files.push((
        "aliases",
        zip(
            &[
                Entry::stored("a/data.pkl", &pickle.raw("u").end()),
                Entry::stored("a/data/x", &data),
            ],
            &aliases,
        ),
    ));

    // Pickles that are a thousandth of their size in the file.
    let deflated = |pickle: Pickle| {
        zip(
            &[Entry::deflated("a/data.pkl", &pickle.end()), Entry::stored("a/data/0", &[0; 4])],
            &[],
        )
    };
    let unpacked = 60 << 20;
    let prefix = "module.".repeat(unpacked / 7);
    files.push(("deflated_prefix", deflated(one(start().raw("}").text(&prefix)).raw("s"))));
    let key = "k".repeat(unpacked / 2);
    let long = tensor().text(&key).store(1).drop_top().raw("}(");
    files.push(("deflated_long_key", deflated(long.repeated(b"h\x01h\0", 400_000).raw("u"))));
    let many = (0..400_000).fold(tensor().raw("}("), |p, i| p.text(&format!("{i:0140}")).recall(0));
    files.push(("deflated_names", deflated(many.raw("u"))));
    // Deflate streams of blocks without content: of 10 bits each with the fixed codes, and stored.
    let pickle = one(start().raw("}").text("w")).raw("s").end();
    let stream = |blocks: Vec<u8>, last: &[u8]| {
        let stream = [&blocks, last].concat();
        zip(&[Entry::stored("a/data.pkl", &pickle), Entry::stream("a/data/0", stream, 4)], &[])
    };
    let last = [1, 4, 0, 0xfb, 0xff, 0, 0, 0, 0];
    files.push(("fixed_blocks", stream([0x02, 0x08, 0x20, 0x80, 0x00].repeat(size / 5), &last)));
    files.push(("stored_blocks", stream([0, 0, 0, 0xff, 0xff].repeat(size / 5), &last)));
    files.push(("dynamic_blocks", stream(dynamic_blocks(size), &last)));

    // Many tensors of one value and 64 dimensions.
    let shape = memo(start().raw("(").repeated(b"K\x01", 64).raw("t"));
    let dims = shape.storage("0", 1).store(2).drop_top();
    let dims = dims.raw("ctorch._utils\n_rebuild_tensor_v2\n").store(1).drop_top();
    let dims = dims.raw("h\x01(h\x02K\0h\0h\0NNtR").store(3).drop_top();
    let many =
        (0..size / 10).fold(dims.raw("}("), |p, i| p.raw("U\x06").raw(format!("{i:06}")).recall(3));
    files.push(("many_dimensions", torch(&many.raw("u").end())));
    let many = (0..size / 10)
        .fold(tensor().raw("}("), |p, i| p.raw("U\x06").raw(format!("{i:06}")).recall(0));
    files.push(("many_scalars", torch(&many.raw("u").end())));
    let many = (0..size / 10).fold(tensor().raw("}(").text("x").recall(0), |p, i| {
        p.raw("U\x06").raw(format!("{i:06}")).raw("K\x01")
    });
    files.push(("many_integers", torch(&many.raw("u").end())));
    files.push(("many_values", torch(&start().repeated(b"Nq\0", size / 3).end())));
    files.push(("many_dicts", torch(&start().repeated(b"}", size).end())));
    files.push(("many_marks", torch(&start().repeated(b"(t", half).end())));
    files.push(("frames", torch(&start().repeated(b"\x95\0\0\0\0\0\0\0\0", size / 9).end())));
    // A tensor whose values are read in an order that defeats the cache.
    let count = i32::try_from(half / 4).unwrap();
    let pickle =
        start().raw("}").text("w").tensor("0", count, &[40, 1024, count / 1024], &[0, 1, 1024]);
    let data = vec![0; half];
    files.push((
        "strided",
        zip(
            &[
                Entry::stored("a/data.pkl", &pickle.raw("s").end()),
                Entry::stored("a/data/0", &data),
            ],
            &[],
        ),
    ));
    // Safetensors headers.
    let ones = vec!["1"; half].join(",");
    files.push((
        "shape_safetensors",
        safetensors(
            &format!(r#"{{"w":{{"dtype":"F32","shape":[{ones}],"data_offsets":[0,4]}}}}"#),
            4,
        ),
    ));
    let huge = vec!["4294967296"; size / 11].join(",");
    files.push((
        "huge_shape_safetensors",
        safetensors(
            &format!(r#"{{"w":{{"dtype":"F32","shape":[{huge}],"data_offsets":[0,4]}}}}"#),
            4,
        ),
    ));
    let many: Vec<String> = (0..size / 60)
        .map(|i| format!(r#""{i:06}":{{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    files.push(("many_safetensors", safetensors(&format!("{{{}}}", many.join(",")), 0)));
    let name = "k".repeat(size);
    files.push((
        "long_name_safetensors",
        safetensors(
            &format!(r#"{{"{name}":{{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}}}"#),
            4,
        ),
    ));
    files.push((
        "long_dtype_safetensors",
        safetensors(
            &format!(r#"{{"w":{{"dtype":"{name}","shape":[2],"data_offsets":[0,4]}}}}"#),
            4,
        ),
    ));
    files
}

/// Returns deflate blocks with dynamic Huffman codes and no content, up to a whole number of bytes.
///
/// A block has the code lengths of 257 literals, of which only the end of the block has one, and of
/// one distance. The lengths are written with three code-length codes: 18 (a run of zeros), 0 and 1.
fn dynamic_blocks(size: usize) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut number =
        |value: u32, length: u32| bits.extend((0..length).map(|i| value >> i & 1 != 0));
    for _ in 0..8 {
        // Not the last block; dynamic codes; 257 literals, 1 distance and 18 code lengths.
        number(0, 1);
        number(2, 2);
        number(0, 5);
        number(0, 5);
        number(14, 4);
        // In the order 16, 17, 18, 0, 8, 7, ..., 1: code 18 has 1 bit, codes 0 and 1 have 2.
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
            number(
                match symbol {
                    18 => 1,
                    0 | 1 => 2,
                    _ => 0,
                },
                3,
            );
        }
        // 138 and 118 zeros, 1 for the end of the block, and 1 for the distance.
        number(0, 1);
        number(127, 7);
        number(0, 1);
        number(107, 7);
        number(3, 2);
        number(3, 2);
        // The end of the block.
        number(0, 1);
    }
    let block: Vec<u8> = bits
        .chunks(8)
        .map(|byte| byte.iter().rev().fold(0, |value, &bit| value << 1 | u8::from(bit)))
        .collect();
    block.repeat(size / block.len())
}
