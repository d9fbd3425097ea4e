//! The first directory of a TIFF file (TIFF 6.0, section 2, and BigTIFF). EXIF is such a file, too.

/// Where the tags of a TIFF file are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    /// Whether counts and offsets have 64 bits.
    is_big_tiff: bool,
    /// Where the first entry is.
    start: u64,
    length: u64,
}

/// A tag's entry in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) tag: u16,
    /// The type of the values.
    pub(super) kind: u16,
    /// Where the values are.
    at: u64,
    /// The length of the values in bytes, or `None` for an unknown type.
    length: Option<u64>,
}

impl<'a> Directory<'a> {
    /// Finds the first directory. Returns `None` if the file is no TIFF or ends before the directory.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let (is_big_endian, is_big_tiff) = match bytes.first_chunk()? {
            // Some writers have the number in the wrong order.
            b"II*\0" | b"II\0*" => (false, false),
            b"MM\0*" | b"MM*\0" => (true, false),
            b"II+\0" => (false, true),
            b"MM\0+" => (true, true),
            _ => return None,
        };
        let file = Self { bytes, is_big_endian, is_big_tiff, start: 0, length: 0 };
        let (at, head) = if is_big_tiff {
            // The size of an offset is always 8.
            (file.number(4, 2)? == 8).then_some(())?;
            (file.number(8, 8)?, 8)
        } else {
            (file.number(4, 4)?, 2)
        };
        Some(Self { start: at.checked_add(head)?, length: file.number(at, head as usize)?, ..file })
    }

    pub(super) fn is_big_endian(&self) -> bool {
        self.is_big_endian
    }

    /// Returns the entries in order. Where the file ends too early, the last one is `None`.
    pub(super) fn entries(&self) -> impl Iterator<Item = Option<Entry>> {
        let entries = (0..self.length).map(|number| self.entry(number));
        let mut is_whole = true;
        entries.take_while(move |entry| std::mem::replace(&mut is_whole, entry.is_some()))
    }

    fn entry(&self, number: u64) -> Option<Entry> {
        let (size, wide) = if self.is_big_tiff { (20, 8) } else { (12, 4) };
        let at = number.checked_mul(size)?.checked_add(self.start)?;
        // The last field is read first, because the entry is whole if it is.
        let value = self.number(at.checked_add(4 + wide)?, wide as usize)?;
        let (tag, kind) = (self.number(at, 2)?, self.number(at + 2, 2)?);
        let count = self.number(at + 4, wide as usize)?;
        // Bytes of one value, for the types of TIFF 6.0, the pointer to a directory and BigTIFF's
        // integer.
        let size = match kind {
            1 | 2 | 6 | 7 => Some(1),
            3 | 8 => Some(2),
            4 | 9 | 11 | 13 => Some(4),
            5 | 10 | 12 | 16 => Some(8),
            _ => None,
        };
        let length = size.map(|size| count.saturating_mul(size));
        // Values that do not fit into the entry are elsewhere.
        let at = if length.is_some_and(|length| length <= wide) { at + 4 + wide } else { value };
        Some(Entry { tag: tag as u16, kind: kind as u16, at, length })
    }

    /// Returns the bytes of an entry's values, or `None` if they are not in the file or have an
    /// unknown type.
    pub(super) fn value(&self, entry: &Entry) -> Option<&'a [u8]> {
        let start = usize::try_from(entry.at).ok()?;
        let length = usize::try_from(entry.length?).ok()?;
        self.bytes.get(start..)?.get(..length)
    }

    fn number(&self, at: u64, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?.get(..size)?;
        Some(integer(bytes, self.is_big_endian))
    }
}

#[cfg(feature = "tiff")]
impl Entry {
    /// Whether the type of the values is known.
    pub(super) fn is_known(&self) -> bool {
        self.length.is_some()
    }
}

/// The number of at most eight bytes.
pub(super) fn integer(bytes: &[u8], is_big_endian: bool) -> u64 {
    let join = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
    if is_big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
}
