//! Decodes picture files to RGB, as Pillow's `Image.open(…).convert("RGB")` does.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::exif::{ExifOrientation, Orientation};
#[cfg(feature = "gif")]
use super::gif;
#[cfg(any(feature = "webp", feature = "bmp", feature = "pnm"))]
use super::image_formats;
#[cfg(feature = "jpeg")]
use super::jpeg;
use super::limits::memory::{Memory, reserved};
use super::limits::{Decoded, Taken};
#[cfg(feature = "png")]
use super::png;
#[cfg(feature = "tiff")]
use super::tiff;
use super::{MAX_PIXELS, Picture, quiet};
use crate::error::{Error, Result};

/// The largest file that is read, in bytes. A picture of [`MAX_PIXELS`](super::MAX_PIXELS) pixels is
/// smaller.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The memory for files. It is taken before the memory for decoding, so that no two threads wait
/// for one another.
static FILES: Memory = Memory::new(MAX_FILE_BYTES + 1);

/// The memory for turned pictures beside those that were decoded. It is taken last, and given back
/// before any other.
static TURNED: Memory = Memory::new(3 * MAX_PIXELS);

impl Picture {
    /// Reads and decodes a file.
    ///
    /// The formats are JPEG (baseline, progressive, grey, CMYK, YCCK), PNG, BMP, PNM, WebP, GIF and
    /// TIFF, each with the Cargo feature of its name. The format is recognized by the content, not by
    /// the file name. As in Pillow's `convert("RGB")`, alpha is dropped and the EXIF orientation is
    /// ignored except in TIFF; [`Picture::open_with`] can apply it. Of several pictures in a file this
    /// is the first one.
    ///
    /// TIFF can be grey (1, 2, 4, 8 or 16 bits), RGB, with a palette or CMYK, in strips, tiles and
    /// planes, uncompressed or compressed with LZW, Deflate or PackBits.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, has another format, is truncated or corrupt, or
    /// has more than [`MAX_PIXELS`](super::MAX_PIXELS) pixels, or if there is not enough memory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, ExifOrientation::Ignored)
    }

    /// Reads and decodes a file as [`Picture::open`] does, and turns it upright with
    /// [`ExifOrientation::Applied`].
    ///
    /// ```no_run
    /// use posterize::data::{ExifOrientation, Picture};
    ///
    /// let photo = Picture::open_with("phone.jpg", ExifOrientation::Applied)?;
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`Picture::open`].
    pub fn open_with(path: impl AsRef<Path>, exif: ExifOrientation) -> Result<Self> {
        open(path.as_ref(), exif).map(|(picture, _)| picture)
    }

    /// Decodes a file in memory, as [`Picture::open`] does. `name` is the file's name in errors.
    ///
    /// # Errors
    /// Returns the same errors as [`Picture::open`].
    pub fn decode(name: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        Self::decode_with(name, bytes, ExifOrientation::Ignored)
    }

    /// Decodes a file in memory, as [`Picture::open_with`] does. `name` is the file's name in errors.
    ///
    /// # Errors
    /// Returns the same errors as [`Picture::open`].
    pub fn decode_with(
        name: impl AsRef<Path>,
        bytes: &[u8],
        exif: ExifOrientation,
    ) -> Result<Self> {
        decode(name.as_ref(), bytes, exif).map(|(picture, _)| picture)
    }
}

/// Reads and decodes a file. The memory of the picture counts as taken until the second value is
/// dropped.
pub(super) fn open(path: &Path, exif: ExifOrientation) -> Result<(Picture, Taken)> {
    let failed = || Error::io(path, "read");
    let problem = |problem: String| Error::Image { path: path.to_path_buf(), problem };
    let file = File::open(path).map_err(failed())?;
    let metadata = file.metadata().map_err(failed())?;
    if metadata.is_dir() {
        return Err(problem("expected a picture, found a folder".into()));
    }
    // A pipe has no length.
    let known = Some(metadata.len()).filter(|length| *length > 0 && metadata.is_file());
    let limit = known.unwrap_or(MAX_FILE_BYTES).min(MAX_FILE_BYTES) + 1;
    let _taken = FILES.take(limit).map_err(problem)?;
    let mut bytes = reserved(known.map_or(0, |_| limit as usize)).map_err(problem)?;
    file.take(limit).read_to_end(&mut bytes).map_err(failed())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(problem(format!(
            "expected a picture of at most {MAX_FILE_BYTES} bytes, found a larger file"
        )));
    }
    decode(path, &bytes, exif)
}

fn decode(name: &Path, bytes: &[u8], exif: ExifOrientation) -> Result<(Picture, Taken)> {
    // A decoder may panic on a corrupt file; only that file is an error.
    let decoded = quiet::catch(|| {
        let (width, height, data, mut taken) = decode_format(bytes)?;
        taken.keep(data.len() as u64);
        let picture = Picture::new(width, height, data).map_err(|error| error.to_string())?;
        let orientation = match (exif, bytes) {
            // Pillow turns TIFF as soon as it decodes it.
            (ExifOrientation::Applied, _) | (_, [b'I', b'I', ..] | [b'M', b'M', ..]) => {
                Orientation::of(bytes)
            }
            (ExifOrientation::Ignored, _) => None,
        };
        let Some(orientation) = orientation else { return Ok((picture, taken)) };
        let _turned = TURNED.take(orientation.memory(&picture))?;
        Ok((orientation.apply(picture)?, taken))
    });
    decoded
        .unwrap_or_else(|| Err("the decoder failed; the file is probably corrupt".to_owned()))
        .map_err(|problem| Error::Image { path: name.to_path_buf(), problem })
}

/// Decodes with the decoder of a Cargo feature. Without the feature it is an error that names it.
macro_rules! decoded {
    ($feature:literal, $format:literal, $decoded:expr) => {{
        #[cfg(feature = $feature)]
        let result = $decoded;
        #[cfg(not(feature = $feature))]
        let result = Err(concat!(
            "this build of posterize does not read ",
            $format,
            "; enable the Cargo feature `",
            $feature,
            "`, or convert the picture"
        )
        .to_owned());
        result
    }};
}

fn decode_format(bytes: &[u8]) -> Result<Decoded, String> {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] => decoded!("jpeg", "JPEG", jpeg::decode(bytes)),
        [0x89, b'P', b'N', b'G', ..] => decoded!("png", "PNG", png::decode(bytes)),
        [b'B', b'M', ..] => decoded!("bmp", "BMP", image_formats::bmp(bytes)),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            decoded!("webp", "WebP", image_formats::webp(bytes))
        }
        [b'P', b'1'..=b'6', ..] => decoded!("pnm", "PNM", image_formats::pnm(bytes)),
        [b'G', b'I', b'F', b'8', ..] => decoded!("gif", "GIF", gif::decode(bytes)),
        [b'I', b'I', 42 | 43, 0, ..]
        | [b'M', b'M', 0, 42 | 43, ..]
        | [b'I', b'I', 0, 42, ..]
        | [b'M', b'M', 42, 0, ..] => decoded!("tiff", "TIFF", tiff::decode(bytes)),
        _ => Err(unknown(bytes)),
    }
}

fn unknown(bytes: &[u8]) -> String {
    const EXPECTED: &str = "expected JPEG, PNG, BMP, PNM, WebP, GIF or TIFF";
    let format = match bytes {
        [] => return format!("the file is empty; {EXPECTED}"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => "AVIF",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..]
        | [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i' | b's', b'f', b'1', ..] => "HEIF",
        [0, 0, 0, 12, b'j', b'P', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => "JPEG 2000",
        [0, 0, 0, 12, b'J', b'X', b'L', ..] | [0xFF, 0x0A, ..] => "JPEG XL",
        [0, 0, 1, 0, ..] => "ICO",
        [b'8', b'B', b'P', b'S', ..] => "PSD",
        _ => {
            let start: String = bytes.iter().take(8).map(|&b| char::from(b)).collect();
            return format!("{EXPECTED}, found a file that begins with {start:?}");
        }
    };
    format!("{format} is not supported; {EXPECTED}: convert the picture to PNG")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_without_its_feature_is_an_error_that_names_the_feature() {
        let cases: [(&str, bool, &[u8]); 7] = [
            ("jpeg", cfg!(feature = "jpeg"), b"\xFF\xD8\xFF\xE0"),
            ("png", cfg!(feature = "png"), b"\x89PNG\r\n\x1a\n"),
            ("webp", cfg!(feature = "webp"), b"RIFF\0\0\0\0WEBPVP8 "),
            ("bmp", cfg!(feature = "bmp"), b"BM\0\0"),
            ("pnm", cfg!(feature = "pnm"), b"P6 1"),
            ("gif", cfg!(feature = "gif"), b"GIF89a"),
            ("tiff", cfg!(feature = "tiff"), b"II*\0"),
        ];
        for (feature, enabled, start) in cases {
            let error = Picture::decode("start", start).unwrap_err().to_string();
            let named = error.contains(&format!("enable the Cargo feature `{feature}`"));
            assert_eq!(named, !enabled, "{error}");
        }
    }
}
