//! The orientation that a camera wrote in a picture, read and applied as Pillow's `ImageOps.exif_transpose`
//! does.
//!
//! EXIF is a TIFF file of its own in a segment of the picture (CIPA DC-008), of which this reads one tag,
//! 0x0112 of the first directory. Pillow takes `tiff:Orientation` of XMP where EXIF has no such tag. Damaged
//! EXIF is ignored, because the picture is whole without it.

use super::Picture;
use super::ifd::{Directory, integer};
use super::limits::memory::zeros;

/// Whether decoding turns a picture upright by the orientation that a camera wrote in it.
///
/// Cameras and phones save pictures as the sensor sees them, and write into them (EXIF, tag
/// `Orientation`) how to turn them. torchvision's `ImageFolder` ignores this; programs that show
/// pictures do not.
///
/// ```
/// # #[cfg(feature = "pnm")] {
/// use posterize::data::{ExifOrientation, Picture};
///
/// assert_eq!(ExifOrientation::default(), ExifOrientation::Ignored);
/// // PPM has no EXIF, so both give the same picture.
/// let file = b"P6 2 1 255 \xff\x00\x00\x00\x00\xff";
/// let upright = Picture::decode_with("two.ppm", file, ExifOrientation::Applied)?;
/// assert_eq!(upright, Picture::decode("two.ppm", file)?);
/// # }
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExifOrientation {
    /// The picture stays as it is in the file, as with Pillow's `Image.open`. That turns TIFF
    /// nevertheless, and so does this.
    #[default]
    Ignored,
    /// The picture is turned or mirrored, as by Pillow's `ImageOps.exif_transpose`. JPEG, PNG, WebP
    /// and TIFF can have an orientation.
    Applied,
}

/// How to turn a picture upright: rows and columns are exchanged, then the order of the columns and of the
/// rows is reversed in the picture of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation {
    transposed: bool,
    flips_columns: bool,
    flips_rows: bool,
}

impl Orientation {
    /// Returns the orientation in a file, or `None` if it has none or is upright.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let metadata = match bytes {
            [0xFF, 0xD8, ..] => Metadata::of_jpeg(bytes),
            [0x89, b'P', b'N', b'G', ..] => Metadata::of_png(bytes),
            [b'R', b'I', b'F', b'F', ..] => Metadata::of_webp(bytes),
            [b'I', b'I', ..] | [b'M', b'M', ..] => Metadata::of_tiff(bytes),
            _ => Metadata::default(),
        };
        let (transposed, flips_columns, flips_rows) = match metadata.orientation()? {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, false, true),
            7 => (true, true, true),
            8 => (true, true, false),
            _ => return None,
        };
        Some(Self { transposed, flips_columns, flips_rows })
    }

    /// Returns the bytes that turning a picture takes beside it.
    pub(super) fn memory(self, picture: &Picture) -> u64 {
        if self.transposed { picture.data().len() as u64 } else { 0 }
    }

    /// Turns a picture upright.
    ///
    /// # Errors
    /// Returns a sentence if there is not enough memory.
    pub(super) fn apply(self, picture: Picture) -> Result<Picture, String> {
        let (width, height) = (picture.width(), picture.height());
        if !self.transposed {
            let mut data = picture.into_data();
            if self.flips_rows {
                data.as_chunks_mut::<3>().0.reverse();
            }
            // Reversing all pixels has flipped the columns as well.
            if self.flips_rows != self.flips_columns {
                for row in data.chunks_exact_mut(width * 3) {
                    row.as_chunks_mut::<3>().0.reverse();
                }
            }
            return Picture::new(width, height, data).map_err(|error| error.to_string());
        }
        let source = picture.data().as_chunks::<3>().0;
        let mut data = zeros(picture.data().len())?;
        // A few rows of the result at a time, so that what is read lies together.
        for (block, rows) in data.chunks_mut(ROWS * height * 3).enumerate() {
            let rows = rows.as_chunks_mut::<3>().0;
            let count = rows.len() / height;
            for column in 0..height {
                let y = if self.flips_rows { height - 1 - column } else { column };
                for row in 0..count {
                    let x = block * ROWS + row;
                    let x = if self.flips_columns { width - 1 - x } else { x };
                    rows[row * height + column] = source[y * width + x];
                }
            }
        }
        Picture::new(height, width, data).map_err(|error| error.to_string())
    }
}

/// Number of rows of the result that are written together.
const ROWS: usize = 32;

/// The parts of a file that can have an orientation.
#[derive(Debug, Default)]
struct Metadata<'a> {
    /// EXIF, in as many parts as the file has.
    exif: Vec<&'a [u8]>,
    /// The directory of a TIFF file, which has the tags of EXIF.
    tiff: Option<Directory<'a>>,
    xmp: Option<&'a [u8]>,
}

const EXIF: &[u8] = b"Exif\0\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

impl<'a> Metadata<'a> {
    /// Finds the segments APP1 before the first scan.
    fn of_jpeg(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut rest = &bytes[2..];
        while let [0xFF, marker, behind @ ..] = rest {
            match marker {
                // Any number of bytes may fill the space before a marker.
                0xFF => {
                    rest = &rest[1..];
                    continue;
                }
                0xDA | 0xD9 => break,
                _ => {}
            }
            let [high, low, ..] = behind else { break };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(payload) = behind.get(2..length) else { break };
            if *marker == 0xE1 {
                if let Some(exif) = payload.strip_prefix(EXIF) {
                    found.exif.push(exif);
                } else if let Some(xmp) = payload.strip_prefix(XMP) {
                    found.xmp = Some(xmp);
                }
            }
            rest = &behind[length..];
        }
        found
    }

    /// Finds the chunk eXIf.
    fn of_png(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut rest = bytes.get(8..).unwrap_or_default();
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((kind, after)) = after.split_first_chunk::<4>() else { break };
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            if kind == b"eXIf" {
                found.exif = vec![payload];
            }
            // The checksum.
            rest = after.get(4..).unwrap_or_default();
        }
        found
    }

    /// Finds the chunks EXIF and XMP.
    fn of_webp(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut rest = bytes.get(12..).unwrap_or_default();
        while let Some((kind, after)) = rest.split_first_chunk::<4>() {
            let Some((length, after)) = after.split_first_chunk() else { break };
            let length = u32::from_le_bytes(*length) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            match kind {
                b"EXIF" => found.exif = vec![payload],
                b"XMP " => found.xmp = Some(payload),
                _ => {}
            }
            // A chunk of an odd length is followed by a byte.
            rest = after.get(length % 2..).unwrap_or_default();
        }
        found
    }

    /// Finds the tag of XMP.
    fn of_tiff(bytes: &'a [u8]) -> Self {
        const XMP: u16 = 700;
        let Some(tiff) = Directory::first(bytes) else { return Self::default() };
        let xmp = tiff.entries().flatten().find(|entry| entry.tag == XMP);
        let xmp = xmp.and_then(|entry| tiff.value(&entry));
        Self { exif: Vec::new(), tiff: Some(tiff), xmp }
    }

    fn orientation(&self) -> Option<u32> {
        let tag = match &self.tiff {
            Some(directory) => in_directory(directory),
            None => in_exif(&self.exif.concat()),
        };
        tag.or_else(|| self.xmp.and_then(in_xmp))
    }
}

/// The tag of the orientation.
const ORIENTATION: u16 = 0x0112;

/// Returns the orientation in EXIF.
fn in_exif(bytes: &[u8]) -> Option<u32> {
    // PNG and WebP should not have this head, but some have.
    let head = |bytes| <[u8]>::strip_prefix(bytes, EXIF).unwrap_or(bytes);
    in_directory(&Directory::first(head(head(bytes)))?)
}

fn in_directory(directory: &Directory<'_>) -> Option<u32> {
    for entry in directory.entries() {
        let entry = entry?;
        let value = directory.value(&entry).unwrap_or_default();
        if entry.tag != ORIENTATION || value.is_empty() {
            continue;
        }
        let size = match entry.kind {
            3 | 8 => 2,
            4 | 9 => 4,
            // Not a number of this tag.
            _ => return Some(0),
        };
        return Some(integer(&value[..size], directory.is_big_endian()) as u32);
    }
    None
}

/// Returns the digit behind the first `tiff:Orientation="` or `tiff:Orientation>`.
fn in_xmp(xmp: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = xmp;
    while let Some(at) = rest.windows(NAME.len()).position(|window| window == NAME) {
        rest = &rest[at + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"));
        if let Some([digit @ b'0'..=b'9', ..]) = value {
            return Some(u32::from(digit - b'0'));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of 3 x 2 pixels, whose values count up, or one of the sizes of blocks.
    fn counting(width: usize, height: usize) -> Picture {
        let data = (0..width * height * 3).map(|value| (value % 251) as u8).collect();
        Picture::new(width, height, data).unwrap()
    }

    /// The source of each pixel by definition.
    fn expected(orientation: Orientation, picture: &Picture) -> Vec<u8> {
        let (width, height) = (picture.width(), picture.height());
        let sides = if orientation.transposed { (height, width) } else { (width, height) };
        let mut data = Vec::new();
        for row in 0..sides.1 {
            for column in 0..sides.0 {
                let (x, y) = if orientation.transposed { (row, column) } else { (column, row) };
                let x = if orientation.flips_columns { width - 1 - x } else { x };
                let y = if orientation.flips_rows { height - 1 - y } else { y };
                data.extend(&picture.data()[3 * (y * width + x)..][..3]);
            }
        }
        data
    }

    #[test]
    fn every_orientation_moves_every_pixel() {
        for (width, height) in [(3, 2), (1, 5), (5, 1), (ROWS + 1, 7), (70, 2 * ROWS + 3)] {
            let picture = counting(width, height);
            for bits in 0..8 {
                let [transposed, flips_columns, flips_rows] = [1, 2, 4].map(|bit| bits & bit != 0);
                let orientation = Orientation { transposed, flips_columns, flips_rows };
                let found = orientation.apply(picture.clone()).unwrap();
                assert_eq!(found.data(), expected(orientation, &picture), "{orientation:?}");
                let sides = if transposed { (height, width) } else { (width, height) };
                assert_eq!((found.width(), found.height()), sides);
            }
        }
    }

    #[test]
    fn damaged_metadata_has_no_orientation_and_does_no_harm() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/exif");
        let (mut with, mut without) = (0, 0);
        for name in
            ["jpeg_6.jpg", "big_endian_8.jpg", "xmp.jpg", "png_3.png", "webp_5.webp", "xmp.webp"]
        {
            let whole = std::fs::read(folder.join("pictures").join(name)).unwrap();
            assert!(Orientation::of(&whole).is_some(), "{name}");
            for end in 0..whole.len() {
                let cut = Orientation::of(&whole[..end]);
                if cut.is_some() { with += 1 } else { without += 1 }
            }
            for at in 2..whole.len().min(200) {
                for value in [0, 0x7F, 0xFF] {
                    let mut damaged = whole.clone();
                    damaged[at] = value;
                    Orientation::of(&damaged);
                }
            }
        }
        assert!(with > 0 && without > 0, "{with} {without}");
    }
}
