//! The compressions of TIFF that need no decoder of another format.

use flate2::{Decompress, FlushDecompress};

use super::super::lzw::{self, Codes, Fault};
use super::tags::{COMPRESSION, FILL_ORDER, Tags};

/// How the bytes of strips and tiles are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coding {
    compression: Compression,
    /// Whether the first bit of a byte is the lowest.
    pub(super) is_reversed: bool,
}

impl Coding {
    /// # Errors
    /// Returns a sentence if the tags name something that is not supported.
    pub(super) fn of(tags: &Tags<'_>) -> Result<Self, String> {
        let compression = Compression::of(tags.integer(COMPRESSION)?.unwrap_or(1))?;
        let is_reversed = match tags.integer(FILL_ORDER)? {
            None | Some(1) => false,
            Some(2) => true,
            Some(other) => return Err(format!("corrupt: its FillOrder is {other}")),
        };
        Ok(Self { compression, is_reversed })
    }

    /// Whether nothing is compressed.
    pub(super) fn is_plain(self) -> bool {
        self.compression == Compression::None
    }

    /// Whether the tag `Predictor` counts.
    pub(super) fn has_predictor(self) -> bool {
        matches!(self.compression, Compression::Lzw | Compression::Deflate)
    }

    /// The bytes that [`decode`](Self::decode) takes to decode `length` bytes of a file of `file`
    /// bytes.
    pub(super) fn memory(self, length: u64, file: u64) -> u64 {
        if self.is_reversed { most_input(length).min(file) } else { 0 }
    }

    /// Fills `out` with the values of a strip or tile. What follows them in `data` is ignored.
    /// `reversed` is overwritten.
    ///
    /// # Errors
    /// Returns half a sentence if `data` is too short or corrupt.
    pub(super) fn decode(
        self,
        data: &[u8],
        out: &mut [u8],
        reversed: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        let data = &data[..data.len().min(most_input(out.len() as u64) as usize)];
        if !self.is_reversed {
            return self.compression.decode(data, out);
        }
        reversed.clear();
        reversed.extend(data.iter().map(|byte| byte.reverse_bits()));
        self.compression.decode(reversed, out)
    }
}

/// The most bytes of a strip or tile that are read to decode `length` bytes, so that data without
/// values takes no time. libtiff has such a limit, too.
fn most_input(length: u64) -> u64 {
    length.saturating_mul(10).saturating_add(4096)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
}

const TOO_SHORT: &str = "it has too little data";
const CORRUPT: &str = "its data is corrupt";

impl Compression {
    fn of(number: u64) -> Result<Self, String> {
        let name = match number {
            1 => return Ok(Self::None),
            5 => return Ok(Self::Lzw),
            8 | 32946 => return Ok(Self::Deflate),
            32773 => return Ok(Self::PackBits),
            2 => "CCITT Huffman",
            3 => "CCITT Group 3",
            4 => "CCITT Group 4",
            6 | 7 => "JPEG",
            34712 => "JPEG 2000",
            34925 => "LZMA",
            50000 => "Zstandard",
            50001 => "WebP",
            _ => {
                return Err(format!(
                    "a TIFF with the compression {number} is not supported; expected none, LZW, \
                     Deflate or PackBits: convert the picture to PNG"
                ));
            }
        };
        Err(format!(
            "a TIFF compressed with {name} is not supported; expected none, LZW, Deflate or \
             PackBits: convert the picture to PNG"
        ))
    }

    fn decode(self, data: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
        match self {
            Self::None => {
                out.copy_from_slice(data.get(..out.len()).ok_or(TOO_SHORT)?);
                Ok(())
            }
            Self::Lzw => decode_lzw(data, out),
            Self::Deflate => {
                let mut decoder = Decompress::new(true);
                decoder.decompress(data, out, FlushDecompress::Finish).map_err(|_| CORRUPT)?;
                let is_whole = decoder.total_out() == out.len() as u64;
                is_whole.then_some(()).ok_or(TOO_SHORT)
            }
            Self::PackBits => decode_pack_bits(data, out),
        }
    }
}

fn decode_lzw(data: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    // The first code is the one that clears the table.
    if !matches!(data, [0x80, 0..=0x7F, ..]) {
        return Err("its data is corrupt, or LZW in the order of bits from before TIFF 5.0");
    }
    let codes = HighestFirst { bytes: data, bits: 0, count: 0 };
    lzw::decode(codes, 8, 1, out).map_err(|fault| match fault {
        Fault::TooShort => TOO_SHORT,
        Fault::UnknownCode => CORRUPT,
    })
}

/// The codes in bytes. The highest bits are first.
struct HighestFirst<'a> {
    bytes: &'a [u8],
    bits: u32,
    count: u32,
}

impl Codes for HighestFirst<'_> {
    fn next(&mut self, width: u32) -> Option<usize> {
        while self.count < width {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            self.bits = self.bits << 8 | u32::from(byte);
            self.count += 8;
        }
        self.count -= width;
        Some((self.bits >> self.count & ((1 << width) - 1)) as usize)
    }
}

/// TIFF 6.0, section 9. A run that is longer than the rest of `out` ends there.
fn decode_pack_bits(data: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    let (mut data, mut out) = (data, out);
    while !out.is_empty() {
        let (&head, rest) = data.split_first().ok_or(TOO_SHORT)?;
        let length = match head {
            0..=127 => usize::from(head) + 1,
            128 => {
                data = rest;
                continue;
            }
            129.. => 257 - usize::from(head),
        };
        let (run, behind) = out.split_at_mut(length.min(out.len()));
        if head < 128 {
            let (values, rest) = rest.split_at_checked(run.len()).ok_or(TOO_SHORT)?;
            run.copy_from_slice(values);
            data = rest;
        } else {
            let (&value, rest) = rest.split_first().ok_or(TOO_SHORT)?;
            run.fill(value);
            data = rest;
        }
        out = behind;
    }
    Ok(())
}

/// Undoes horizontal differencing (TIFF 6.0, section 14) in a row of samples of `bytes` bytes, of
/// which a pixel has `count`.
pub(super) fn undo_predictor(row: &mut [u8], count: usize, bytes: usize, is_big_endian: bool) {
    if bytes == 1 {
        for at in count..row.len() {
            row[at] = row[at].wrapping_add(row[at - count]);
        }
        return;
    }
    let row = row.as_chunks_mut::<2>().0;
    for at in count..row.len() {
        let (before, value) = (row[at - count], row[at]);
        row[at] = if is_big_endian {
            u16::from_be_bytes(value).wrapping_add(u16::from_be_bytes(before)).to_be_bytes()
        } else {
            u16::from_le_bytes(value).wrapping_add(u16::from_le_bytes(before)).to_le_bytes()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(compression: Compression, data: &[u8], length: usize) -> Result<Vec<u8>, &str> {
        let mut out = vec![0; length];
        compression.decode(data, &mut out).map(|()| out)
    }

    #[test]
    fn pack_bits_repeats_and_copies() {
        // The example of TIFF 6.0.
        let data = [
            0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x03, 0x80, 0x00, 0x2A, 0x22, 0xF7,
            0xAA,
        ];
        let whole = decoded(Compression::PackBits, &data, 24).unwrap();
        assert_eq!(whole[..8], [0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xAA, 0xAA]);
        assert_eq!(whole[14..], [0xAA; 10]);
        assert_eq!(decoded(Compression::PackBits, &data, 20).unwrap(), whole[..20]);
        assert_eq!(decoded(Compression::PackBits, &data, 25), Err(TOO_SHORT));
        assert_eq!(decoded(Compression::PackBits, &[128, 0, 7], 1).unwrap(), [7]);
        assert_eq!(decoded(Compression::PackBits, &[3, 7], 2), Err(TOO_SHORT));
    }

    #[test]
    fn lzw_begins_with_the_clear_code() {
        // The example of TIFF 6.0.
        let data = [0x80, 0x01, 0xE0, 0x40, 0x80, 0x44, 0x08, 0x0C, 0x06, 0x80, 0x80];
        let expected = [7, 7, 7, 8, 8, 7, 7, 6, 6];
        assert_eq!(decoded(Compression::Lzw, &data, 9).unwrap(), expected);
        assert_eq!(decoded(Compression::Lzw, &data, 10), Err(TOO_SHORT));
        let message = decoded(Compression::Lzw, &[0, 1, 2], 1).unwrap_err();
        assert!(message.contains("before TIFF 5.0"), "{message}");
    }

    #[test]
    fn deflate_ends_where_the_values_do() {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&[7; 300]).unwrap();
        let data = encoder.finish().unwrap();
        assert_eq!(decoded(Compression::Deflate, &data, 300).unwrap(), [7; 300]);
        assert_eq!(decoded(Compression::Deflate, &data, 200).unwrap(), [7; 200]);
        assert_eq!(decoded(Compression::Deflate, &data, 301), Err(TOO_SHORT));
        assert_eq!(decoded(Compression::Deflate, &[1, 2, 3], 1), Err(CORRUPT));
    }

    #[test]
    fn the_predictor_adds_the_pixel_before() {
        let mut row = [250, 1, 10, 2, 1, 3];
        undo_predictor(&mut row, 2, 1, false);
        assert_eq!(row, [250, 1, 4, 3, 5, 6]);
        let mut row = [0, 255, 0, 2];
        undo_predictor(&mut row, 1, 2, true);
        assert_eq!(row, [0, 255, 1, 1]);
        let mut row = [255, 0, 2, 0];
        undo_predictor(&mut row, 1, 2, false);
        assert_eq!(row, [255, 0, 1, 1]);
    }
}
