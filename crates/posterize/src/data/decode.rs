//! From a file's bytes to red, green and blue, as Pillow's `Image.open(…).convert("RGB")` does it.

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

/// The most pixels that a picture may have: the size from which Pillow refuses one as a
/// decompression bomb (`2 * Image.MAX_IMAGE_PIXELS`).
pub const MAX_PIXELS: u64 = 2 * (1024 * 1024 * 1024 / 4 / 3);

/// The longest file that is read: no picture within [`MAX_PIXELS`] needs more.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// What a JPEG's Huffman-coded scans may number; more is a file made to waste time.
const MAX_JPEG_SCANS: usize = 500;

impl Picture {
    /// Reads and decodes a file. The format is told by the content, not by the name.
    ///
    /// JPEG (baseline, progressive, grey, CMYK, YCCK), PNG, BMP, PNM and WebP are understood. Alpha
    /// is dropped and the EXIF orientation ignored, as Pillow's `convert("RGB")` does.
    ///
    /// # Errors
    /// The file cannot be read, is none of these formats, is truncated or corrupt, or has more than
    /// [`MAX_PIXELS`] pixels.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        decode(path, &read(path)?)
    }

    /// Decodes a file's content, as [`Picture::open`] does; `name` stands in error messages.
    ///
    /// # Errors
    /// As [`Picture::open`].
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
        return Err(problem("a folder, where a picture was expected".into()));
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(MAX_FILE_BYTES) as usize + 1);
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(problem(format!(
            "longer than {MAX_FILE_BYTES} bytes, the limit for a picture"
        )));
    }
    Ok(bytes)
}

fn decode(name: &Path, bytes: &[u8]) -> Result<Picture> {
    // A decoder that panics has met a file it cannot decode; that is no reason to end the program.
    catch_unwind(|| decode_format(bytes))
        .unwrap_or_else(
            |_| Err("the decoder failed on it; the file is probably corrupt".to_owned()),
        )
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
            format!("not a picture: it begins with {start:?}; {EXPECTED}")
        }
    }
}

fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("a picture of {width} x {height} pixels"));
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(()),
        _ => Err(format!(
            "{width} x {height} pixels are more than the limit of {MAX_PIXELS}; \
             shrink the picture if it is meant to be this large"
        )),
    }
}

fn picture(width: usize, height: usize, data: Vec<u8>) -> Result<Picture, String> {
    Picture::new(width, height, data).map_err(|error| error.to_string())
}

/// libjpeg-turbo's arithmetic (the slow integer IDCT, triangle-filtered chroma) to the bit, in Rust.
fn jpeg(bytes: &[u8]) -> Result<Picture, String> {
    const TRUNCATED: &str = "truncated or corrupt JPEG: it ends before the picture is complete";
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
            "a JPEG of {} bits per sample; only 8 are supported",
            header.precision
        ));
    }
    let components = header.components.len();
    let format = match components {
        1 => PixelFormat::Grayscale,
        3 => PixelFormat::Rgb,
        4 => PixelFormat::Cmyk,
        _ => return Err(format!("a JPEG of {components} components; 1, 3 or 4 are expected")),
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

/// Accepts the arrangements that real files have: the first component in full, each other one in
/// full, halved or quartered along either axis. The decoder is not to be trusted with others.
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
    Err(format!("a JPEG with the sampling factors {} is not supported", found.join(", ")))
}

/// Whether the last scan is followed by the marker that ends a JPEG. Pillow too refuses a file
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

/// Pillow's conversion: each colour is the light that black leaves, less the ink's share of it.
/// Samples are the absence of ink, as Adobe stores them; Pillow takes all files to be so.
fn cmyk_to_rgb(samples: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(samples.len() / 4 * 3);
    for &[c, m, y, light] in samples.as_chunks().0 {
        rgb.extend([c, m, y].map(|absence| light - multiply(255 - absence, light)));
    }
    rgb
}

/// `a * b / 255`, rounded.
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
    // The limit of the crate would speak of bytes; the header is enough to speak of pixels.
    if let Some(&[w0, w1, w2, w3, h0, h1, h2, h3]) = bytes.get(16..).and_then(|b| b.first_chunk()) {
        let side = |bytes| u64::from(u32::from_be_bytes(bytes));
        check_size(side([w0, w1, w2, w3]), side([h0, h1, h2, h3]))?;
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(described).and_then(rgb)
}

/// Any picture of the `image` crate as red, green and blue.
fn rgb(decoder: impl ImageDecoder) -> Result<Picture, String> {
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let color = decoder.color_type();
    let mut data = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut data).map_err(described)?;
    let wide = |data: &[u8]| -> Vec<u16> {
        data.as_chunks().0.iter().map(|&bytes| u16::from_ne_bytes(bytes)).collect()
    };
    let upper = |data: &[u8]| -> Vec<u8> { wide(data).iter().map(|v| (v >> 8) as u8).collect() };
    let rgb = match color {
        ColorType::L8 => grey_to_rgb(data),
        ColorType::La8 => grey_to_rgb(every_first(&data)),
        ColorType::Rgb8 => data,
        ColorType::Rgba8 => without_alpha(&data),
        // Pillow keeps 16-bit grey as it is and then clamps, where it halves all other depths.
        ColorType::L16 => grey_to_rgb(wide(&data).iter().map(|&v| v.min(255) as u8).collect()),
        ColorType::La16 => grey_to_rgb(every_first(&upper(&data))),
        ColorType::Rgb16 => upper(&data),
        ColorType::Rgba16 => without_alpha(&upper(&data)),
        other => return Err(format!("pixels of {other:?} are not supported")),
    };
    picture(width as usize, height as usize, rgb)
}

fn every_first(grey_alpha: &[u8]) -> Vec<u8> {
    grey_alpha.iter().step_by(2).copied().collect()
}

fn without_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()
}
