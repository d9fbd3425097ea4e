//! Decodes picture files to RGB, as Pillow's `Image.open(…).convert("RGB")` does.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::catch_unwind;
use std::path::Path;

use image::codecs::{bmp::BmpDecoder, png::PngDecoder, pnm::PnmDecoder, webp::WebPDecoder};
use image::{ColorType, ImageDecoder, ImageError, Limits};
use libjpeg_turbo_rs::common::types::ComponentInfo;
use libjpeg_turbo_rs::{Decoder as JpegDecoder, JpegError, PixelFormat};

use super::Picture;
use crate::error::{Error, Result};

/// The largest number of pixels of a picture: `2 * Image.MAX_IMAGE_PIXELS`, above which Pillow
/// refuses a picture as a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * (1024 * 1024 * 1024 / 4 / 3);

/// The largest file that is read, in bytes. A picture of [`MAX_PIXELS`] pixels is smaller.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The largest number of scans in a JPEG. It bounds the time for files that are made to be slow.
const MAX_JPEG_SCANS: usize = 500;

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
        [0xFF, 0xD8, 0xFF, ..] => jpeg(bytes),
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

/// Decodes a JPEG to the same pixels as libjpeg-turbo with its default settings (the accurate
/// integer IDCT, smooth chroma upsampling).
fn jpeg(bytes: &[u8]) -> Result<Picture, String> {
    const TRUNCATED: &str =
        "truncated or corrupt JPEG: the file ends before the picture is complete";
    let described = |error: JpegError| match error {
        JpegError::UnexpectedEof => TRUNCATED.to_owned(),
        other => format!("corrupt JPEG: {other}"),
    };
    let limits = libjpeg_turbo_rs::DecodeLimits {
        max_pixels: MAX_PIXELS,
        max_scans: MAX_JPEG_SCANS,
        ..Default::default()
    };
    let mut decoder = JpegDecoder::new_with_limits(bytes, limits).map_err(described)?;
    let header = decoder.header();
    let (width, height) = (usize::from(header.width), usize::from(header.height));
    check_size(width as u64, height as u64)?;
    if header.precision != 8 {
        return Err(format!(
            "a JPEG of {} bits per sample is not supported; expected 8 bits",
            header.precision
        ));
    }
    let components = header.components.len();
    let format = match components {
        1 => PixelFormat::Grayscale,
        3 => PixelFormat::Rgb,
        4 => PixelFormat::Cmyk,
        _ => {
            return Err(format!(
                "a JPEG of {components} components is not supported; expected 1, 3 or 4"
            ));
        }
    };
    check_sampling(&header.components)?;
    decoder.set_output_format(format);
    let image = decoder.decode_image().map_err(described)?;
    if !has_end(bytes) {
        return Err(TRUNCATED.to_owned());
    }
    let data = match components {
        1 => grey_to_rgb(image.data),
        4 => cmyk_to_rgb(&image.data),
        _ => image.data,
    };
    picture(width, height, data)
}

/// Checks the sampling factors: the first component must have full resolution, the others full,
/// half or a quarter along each axis. Other factors do not occur in practice, and the decoder is
/// not tested with them.
fn check_sampling(components: &[ComponentInfo]) -> Result<(), String> {
    let usual = |axis: fn(&ComponentInfo) -> u8| {
        let full = components.first().map_or(1, axis);
        matches!(full, 1 | 2 | 4) && components.iter().all(|c| [1, full].contains(&axis(c)))
    };
    if usual(|c| c.horizontal_sampling) && usual(|c| c.vertical_sampling) {
        return Ok(());
    }
    let found: Vec<String> = components
        .iter()
        .map(|c| format!("{}x{}", c.horizontal_sampling, c.vertical_sampling))
        .collect();
    Err(format!(
        "a JPEG with the sampling factors {} is not supported; convert the picture",
        found.join(", ")
    ))
}

/// Returns whether the end-of-image marker follows the last scan. Pillow also refuses a file
/// without it.
fn has_end(jpeg: &[u8]) -> bool {
    const START_OF_SCAN: &[u8] = &[0xFF, 0xDA];
    const END_OF_IMAGE: &[u8] = &[0xFF, 0xD9];
    let mut pairs = jpeg.windows(2).rev();
    pairs.find(|pair| [START_OF_SCAN, END_OF_IMAGE].contains(pair)) == Some(END_OF_IMAGE)
}

fn grey_to_rgb(grey: Vec<u8>) -> Vec<u8> {
    grey.into_iter().flat_map(|value| [value; 3]).collect()
}

/// Converts CMYK to RGB as Pillow does: `K - (255 - C) · K / 255` for red, and so on.
///
/// The samples are inverted (255 is no ink), as Adobe writes them. Pillow assumes this for all
/// files.
fn cmyk_to_rgb(samples: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(samples.len() / 4 * 3);
    for &[c, m, y, k] in samples.as_chunks().0 {
        rgb.extend([c, m, y].map(|inverted| k - multiply(255 - inverted, k)));
    }
    rgb
}

/// Computes `a * b / 255`, rounded to nearest.
fn multiply(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
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
