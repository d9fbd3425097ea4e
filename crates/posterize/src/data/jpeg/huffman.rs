//! Bits and Huffman codes of entropy-coded data (ITU-T T.81, annex F).

use super::segments::{Huffman, TRUNCATED, corrupt};

/// The bits of a scan, most significant first.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next `count` bits, at the upper end; zeros follow.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.data.get(self.at) else { return };
            if byte == 0xFF {
                // A stuffed zero follows every FF that is data; anything else is a marker.
                if self.data.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, with zeros behind the end.
    fn peek(&mut self) -> usize {
        if self.count < 16 {
            self.fill();
        }
        (self.buffer >> 48) as usize
    }

    fn skip(&mut self, count: u32) -> Result<(), String> {
        if count > self.count {
            return Err(TRUNCATED.into());
        }
        self.buffer <<= count;
        self.count -= count;
        Ok(())
    }

    /// The next `count` bits, at most 16.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, String> {
        let bits = self.peek() as u32;
        self.skip(count)?;
        Ok(bits >> (16 - count))
    }

    /// The next `count` bits as a coefficient (T.81, F.2.2.1: EXTEND).
    pub(super) fn value(&mut self, count: u32) -> Result<i32, String> {
        if count == 0 {
            return Ok(0);
        }
        let bits = self.take(count)? as i32;
        Ok(if bits < 1 << (count - 1) { bits - (1 << count) + 1 } else { bits })
    }

    /// Goes behind the restart marker of this number.
    pub(super) fn restart(&mut self, number: usize) -> Result<(), String> {
        // Fewer than 8 bits fill the last byte; more are data that belong to nothing.
        self.fill();
        if self.count >= 8 {
            return Err(corrupt("a restart marker is not where it should be"));
        }
        (self.buffer, self.count) = (0, 0);
        let rest = &self.data[self.at..];
        let filled = rest.iter().take_while(|byte| **byte == 0xFF).count();
        if filled == 0 || rest.get(filled) != Some(&(0xD0 + (number % 8) as u8)) {
            return Err(corrupt("a restart marker is missing"));
        }
        self.at += filled + 1;
        Ok(())
    }

    /// How many bytes of the data no bit was taken from.
    pub(super) fn left(&self) -> usize {
        self.data.len() - self.at + (self.count / 8) as usize
    }
}

/// A Huffman table made to look codes up.
pub(super) struct Decoder {
    /// By the next 9 bits: the length of the code, 0 for a longer one, and what it stands for.
    short: Box<[(u8, u8); 512]>,
    /// By length: the codes' end (16 bits, left-aligned), and where to find the symbol of a code.
    ends: [usize; 17],
    offsets: [isize; 17],
    symbols: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(table: Huffman<'_>) -> Result<Self, String> {
        let mut short = Box::new([(0, 0); 512]);
        let (mut ends, mut offsets) = ([0; 17], [0; 17]);
        let (mut code, mut at) = (0_usize, 0_usize);
        for length in 1..=16_usize {
            offsets[length] = at as isize - code as isize;
            for _ in 0..table.counts[length - 1] {
                if code >= 1 << length {
                    return Err(corrupt("a Huffman table has too many codes"));
                }
                if length <= 9 {
                    let first = code << (9 - length);
                    short[first..first + (1 << (9 - length))]
                        .fill((length as u8, table.symbols[at]));
                }
                code += 1;
                at += 1;
            }
            ends[length] = code << (16 - length);
            code <<= 1;
        }
        Ok(Self { short, ends, offsets, symbols: table.symbols.to_vec() })
    }

    /// The next symbol.
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Result<u8, String> {
        let next = bits.peek();
        let (length, symbol) = self.short[next >> 7];
        if length != 0 {
            bits.skip(length.into())?;
            return Ok(symbol);
        }
        let length = (10..=16_usize)
            .find(|length| next < self.ends[*length])
            .ok_or_else(|| corrupt("a Huffman code is in no table"))?;
        bits.skip(length as u32)?;
        let index = (next >> (16 - length)) as isize + self.offsets[length];
        self.symbols
            .get(index as usize)
            .copied()
            .ok_or_else(|| corrupt("a Huffman code is in no table"))
    }
}
