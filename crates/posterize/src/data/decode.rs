//! Decodes picture files to RGB, as Pillow's `Image.open(…).convert("RGB")` does.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::catch_unwind;
use std::path::Path;

use image::codecs::{bmp::BmpDecoder, png::PngDecoder, pnm::PnmDecoder, webp::WebPDecoder};
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::{Picture, jpeg};
use crate::error::{Error, Result};

/// The largest number of pixels of a picture: `2 * Image.MAX_IMAGE_PIXELS`, above which Pillow
/// refuses a picture as a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * (1024 * 1024 * 1024 / 4 / 3);

/// The largest file that is read, in bytes. A picture of [`MAX_PIXELS`] pixels is smaller.
const MAX_FILE_BYTES: u64 = 1 << 30;

impl Picture {
    /// Reads and decodes a file.
    ///
    /// The formats are JPEG (baseline, progressive, grey, CMYK, YCCK), PNG, BMP, PNM and WebP. The
    /// format is recognized by the content, not by the file name. As in Pillow's `convert("RGB")`,
    /// alpha is dropped and the EXIF orientation is ignored.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, has another format, is truncated or corrupt, or
    /// has more than [`MAX_PIXELS`] pixels.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        decode(path, &read(path)?)
    }

    /// Decodes a file in memory, as [`Picture::open`] does. `name` is the file's name in errors.
    ///
    /// # Errors
    /// Returns the same errors as [`Picture::open`].
    pub fn decode(name: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        decode(name.as_ref(), bytes)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = || Error::io(path, "read");
    let file = File::open(path).map_err(failed())?;
    let metadata = file.metadata().map_err(failed())?;
    let problem = |problem: String| Error::Image { path: path.to_path_buf(), problem };
    if metadata.is_dir() {
        return Err(problem("expected a picture, found a folder".into()));
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(MAX_FILE_BYTES) as usize + 1);
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(problem(format!(
            "expected a picture of at most {MAX_FILE_BYTES} bytes, found a larger file"
        )));
    }
    Ok(bytes)
}

fn decode(name: &Path, bytes: &[u8]) -> Result<Picture> {
    // A decoder may panic on a corrupt file; only that file is an error.
    catch_unwind(|| decode_format(bytes))
        .unwrap_or_else(|_| Err("the decoder failed; the file is probably corrupt".to_owned()))
        .map_err(|problem| Error::Image { path: name.to_path_buf(), problem })
}

fn decode_format(bytes: &[u8]) -> Result<Picture, String> {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] => {
            let (width, height, rgb) = jpeg::decode(bytes, check_size)?;
            picture(width, height, rgb)
        }
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        [b'B', b'M', ..] => BmpDecoder::new(Cursor::new(bytes)).map_err(described).and_then(rgb),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            WebPDecoder::new(Cursor::new(bytes)).map_err(described).and_then(rgb)
        }
        [b'P', b'1'..=b'6', ..] => {
            PnmDecoder::new(Cursor::new(bytes)).map_err(described).and_then(rgb)
        }
        _ => Err(unknown(bytes)),
    }
}

fn unknown(bytes: &[u8]) -> String {
    const EXPECTED: &str = "expected JPEG, PNG, BMP, PNM or WebP";
    match bytes {
        [] => format!("the file is empty; {EXPECTED}"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => {
            format!("TIFF is not supported; {EXPECTED}: convert the picture")
        }
        [b'G', b'I', b'F', b'8', ..] => {
            format!("GIF is not supported; {EXPECTED}: convert the picture")
        }
        _ => {
            let start: String = bytes.iter().take(8).map(|&b| char::from(b)).collect();
            format!("{EXPECTED}, found a file that begins with {start:?}")
        }
    }
}

fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("expected a picture with pixels, found {width} x {height}"));
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(()),
        _ => Err(format!(
            "expected at most {MAX_PIXELS} pixels, found {width} x {height}; make the picture \
             smaller"
        )),
    }
}

fn picture(width: usize, height: usize, data: Vec<u8>) -> Result<Picture, String> {
    Picture::new(width, height, data).map_err(|error| error.to_string())
}

fn grey_to_rgb(grey: Vec<u8>) -> Vec<u8> {
    grey.into_iter().flat_map(|value| [value; 3]).collect()
}

fn described(error: ImageError) -> String {
    use std::io::ErrorKind;
    match error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "truncated: the file ends too early".to_owned()
        }
        ImageError::Limits(error) => format!("too large: {error}"),
        other => format!("corrupt or unsupported: {other}"),
    }
}

fn png(bytes: &[u8]) -> Result<Picture, String> {
    // The decoder's own limit is in bytes. Reading the size here gives an error in pixels.
    if let Some(&[w0, w1, w2, w3, h0, h1, h2, h3]) = bytes.get(16..).and_then(|b| b.first_chunk()) {
        let side = |bytes| u64::from(u32::from_be_bytes(bytes));
        check_size(side([w0, w1, w2, w3]), side([h0, h1, h2, h3]))?;
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(described).and_then(rgb)
}

/// Decodes a picture of the `image` crate to RGB.
fn rgb(decoder: impl ImageDecoder) -> Result<Picture, String> {
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let color = decoder.color_type();
    let mut data = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut data).map_err(described)?;
    let wide = |data: &[u8]| -> Vec<u16> {
        data.as_chunks().0.iter().map(|&bytes| u16::from_ne_bytes(bytes)).collect()
    };
    let high_bytes =
        |data: &[u8]| -> Vec<u8> { wide(data).iter().map(|v| (v >> 8) as u8).collect() };
    let rgb = match color {
        ColorType::L8 => grey_to_rgb(data),
        ColorType::La8 => grey_to_rgb(every_first(&data)),
        ColorType::Rgb8 => data,
        ColorType::Rgba8 => without_alpha(&data),
        // Pillow clamps 16-bit grey to 255, but takes the high byte of other 16-bit pixels.
        ColorType::L16 => grey_to_rgb(wide(&data).iter().map(|&v| v.min(255) as u8).collect()),
        ColorType::La16 => grey_to_rgb(every_first(&high_bytes(&data))),
        ColorType::Rgb16 => high_bytes(&data),
        ColorType::Rgba16 => without_alpha(&high_bytes(&data)),
        other => return Err(format!("pixels of {other:?} are not supported; convert the picture")),
    };
    picture(width as usize, height as usize, rgb)
}

fn every_first(grey_alpha: &[u8]) -> Vec<u8> {
    grey_alpha.iter().step_by(2).copied().collect()
}

fn without_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()
}
