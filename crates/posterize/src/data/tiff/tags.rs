//! The tags that say how the pixels of a TIFF are stored.

use super::super::ifd::{Directory, Entry, integer};

/// A tag: its number and its name in TIFF 6.0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag(u16, &'static str);

pub(super) const IMAGE_WIDTH: Tag = Tag(256, "ImageWidth");
pub(super) const IMAGE_LENGTH: Tag = Tag(257, "ImageLength");
pub(super) const BITS_PER_SAMPLE: Tag = Tag(258, "BitsPerSample");
pub(super) const COMPRESSION: Tag = Tag(259, "Compression");
pub(super) const PHOTOMETRIC_INTERPRETATION: Tag = Tag(262, "PhotometricInterpretation");
pub(super) const FILL_ORDER: Tag = Tag(266, "FillOrder");
pub(super) const STRIP_OFFSETS: Tag = Tag(273, "StripOffsets");
pub(super) const ORIENTATION: Tag = Tag(274, "Orientation");
pub(super) const SAMPLES_PER_PIXEL: Tag = Tag(277, "SamplesPerPixel");
pub(super) const ROWS_PER_STRIP: Tag = Tag(278, "RowsPerStrip");
pub(super) const STRIP_BYTE_COUNTS: Tag = Tag(279, "StripByteCounts");
pub(super) const PLANAR_CONFIGURATION: Tag = Tag(284, "PlanarConfiguration");
pub(super) const PREDICTOR: Tag = Tag(317, "Predictor");
pub(super) const COLOR_MAP: Tag = Tag(320, "ColorMap");
pub(super) const TILE_WIDTH: Tag = Tag(322, "TileWidth");
pub(super) const TILE_LENGTH: Tag = Tag(323, "TileLength");
pub(super) const TILE_OFFSETS: Tag = Tag(324, "TileOffsets");
pub(super) const TILE_BYTE_COUNTS: Tag = Tag(325, "TileByteCounts");
pub(super) const EXTRA_SAMPLES: Tag = Tag(338, "ExtraSamples");
pub(super) const SAMPLE_FORMAT: Tag = Tag(339, "SampleFormat");

/// The greatest tag that changes a picture: XMP, which can have an orientation.
const LAST_TAG: u16 = 700;

/// The first directory of a TIFF, all of whose tags that matter are in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tags<'a> {
    directory: Directory<'a>,
}

impl<'a> Tags<'a> {
    /// # Errors
    /// Returns a sentence if the directory or the values of a tag are not in the file.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, String> {
        let directory = Directory::first(bytes)
            .ok_or("truncated or corrupt: its directory is not in the file")?;
        // What is behind a tag whose values are missing is unknown to Pillow.
        let mut missing = None;
        let mut total = 0_u64;
        for entry in directory.entries() {
            let entry = entry.ok_or("truncated: the file ends in its directory")?;
            if !entry.is_known() {
                continue;
            }
            let value = directory.value(&entry);
            total = total.saturating_add(value.map_or(u64::MAX, |value| value.len() as u64));
            if total > bytes.len() as u64 {
                missing = missing.or(Some(entry.tag));
            }
            if let Some(tag) = missing
                && entry.tag <= LAST_TAG
            {
                return Err(format!(
                    "truncated or corrupt: the values of its tag {tag} are not in the file"
                ));
            }
        }
        Ok(Self { directory })
    }

    pub(super) fn is_big_endian(&self) -> bool {
        self.directory.is_big_endian()
    }

    /// Returns the integers of a tag, or `None` if there is no such tag.
    ///
    /// # Errors
    /// Returns a sentence if the tag comes twice or has no integers.
    pub(super) fn integers(&self, tag: Tag) -> Result<Option<Integers<'a>>, String> {
        let Tag(number, name) = tag;
        let mut found = self.directory.entries().flatten().filter(|entry| entry.tag == number);
        let Some(entry) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(format!("corrupt: it has two tags {name}"));
        }
        Integers::of(&self.directory, &entry).map(Some).ok_or_else(|| {
            let Entry { kind, .. } = entry;
            format!(
                "corrupt or unsupported: its tag {name} has values of type {kind}, expected at \
                 least one SHORT or LONG"
            )
        })
    }

    /// Returns the only integer of a tag, or `None` if there is no such tag.
    ///
    /// # Errors
    /// Returns a sentence if the tag has another number of integers.
    pub(super) fn integer(&self, tag: Tag) -> Result<Option<u64>, String> {
        let Some(integers) = self.integers(tag)? else { return Ok(None) };
        match integers.len() {
            1 => Ok(integers.get(0)),
            count => Err(format!("corrupt: its tag {} has {count} values, expected 1", tag.1)),
        }
    }

    /// Returns the integers of a tag that must be there.
    ///
    /// # Errors
    /// Returns a sentence if there is no such tag.
    pub(super) fn required(&self, tag: Tag) -> Result<Integers<'a>, String> {
        self.integers(tag)?.ok_or_else(|| missing(tag))
    }

    /// Returns the only integer of a tag that must be there.
    ///
    /// # Errors
    /// Returns a sentence if there is no such tag.
    pub(super) fn required_integer(&self, tag: Tag) -> Result<u64, String> {
        self.integer(tag)?.ok_or_else(|| missing(tag))
    }
}

/// Integers of 2, 4 or 8 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Integers<'a> {
    bytes: &'a [u8],
    size: usize,
    is_big_endian: bool,
}

impl<'a> Integers<'a> {
    /// Returns `None` if an entry has no integers without a sign.
    fn of(directory: &Directory<'a>, entry: &Entry) -> Option<Self> {
        let size = match entry.kind {
            3 => 2,
            4 => 4,
            16 => 8,
            _ => return None,
        };
        let bytes = directory.value(entry).filter(|bytes| !bytes.is_empty())?;
        Some(Self { bytes, size, is_big_endian: directory.is_big_endian() })
    }

    pub(super) fn len(&self) -> u64 {
        (self.bytes.len() / self.size) as u64
    }

    pub(super) fn get(&self, index: u64) -> Option<u64> {
        let start = usize::try_from(index).ok()?.checked_mul(self.size)?;
        let bytes = self.bytes.get(start..)?.get(..self.size)?;
        Some(integer(bytes, self.is_big_endian))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.bytes.chunks_exact(self.size).map(|bytes| integer(bytes, self.is_big_endian))
    }
}

/// The error for a kind of TIFF.
pub(super) fn unsupported(what: &str) -> String {
    format!("a TIFF of {what} is not supported; convert the picture to PNG")
}

fn missing(tag: Tag) -> String {
    format!("corrupt: its tag {} is missing", tag.1)
}
