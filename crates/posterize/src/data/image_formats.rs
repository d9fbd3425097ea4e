//! Decodes the formats of the crate `image`: PNG, BMP, WebP and PNM.

use std::io::Cursor;

use image::{ColorType, ImageDecoder, ImageError};

use super::Picture;
use super::limits::check_size;

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

#[cfg(feature = "bmp")]
pub(super) fn bmp(bytes: &[u8]) -> Result<Picture, String> {
    use image::codecs::bmp::BmpDecoder;
    BmpDecoder::new(Cursor::new(bytes)).map_err(described).and_then(rgb)
}

#[cfg(feature = "webp")]
pub(super) fn webp(bytes: &[u8]) -> Result<Picture, String> {
    use image::codecs::webp::WebPDecoder;
    WebPDecoder::new(Cursor::new(bytes)).map_err(described).and_then(rgb)
}

#[cfg(feature = "pnm")]
pub(super) fn pnm(bytes: &[u8]) -> Result<Picture, String> {
    use image::codecs::pnm::PnmDecoder;
    PnmDecoder::new(Cursor::new(bytes)).map_err(described).and_then(rgb)
}

#[cfg(feature = "png")]
pub(super) fn png(bytes: &[u8]) -> Result<Picture, String> {
    use image::codecs::png::PngDecoder;
    // The decoder's own limit is in bytes. Reading the size here gives an error in pixels.
    if let Some(&[w0, w1, w2, w3, h0, h1, h2, h3]) = bytes.get(16..).and_then(|b| b.first_chunk()) {
        let side = |bytes| u64::from(u32::from_be_bytes(bytes));
        check_size(side([w0, w1, w2, w3]), side([h0, h1, h2, h3]))?;
    }
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(super::limits::MAX_PIXELS * 8);
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
    Picture::new(width as usize, height as usize, rgb).map_err(|error| error.to_string())
}

fn grey_to_rgb(grey: Vec<u8>) -> Vec<u8> {
    grey.into_iter().flat_map(|value| [value; 3]).collect()
}

fn every_first(grey_alpha: &[u8]) -> Vec<u8> {
    grey_alpha.iter().step_by(2).copied().collect()
}

fn without_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()
}
