//! Decodes the formats of the crate `image`: BMP, WebP and PNM.

use std::io::Cursor;

use image::{ColorType, ImageDecoder, ImageError};

use super::limits::memory::{reserved, zeros};
use super::limits::{Decoded, admit};
use super::pixels::{Depth, Layout};

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
pub(super) fn bmp(bytes: &[u8]) -> Result<Decoded, String> {
    use image::codecs::bmp::BmpDecoder;
    rgb(BmpDecoder::new(Cursor::new(bytes)).map_err(described)?, 0)
}

#[cfg(feature = "webp")]
pub(super) fn webp(bytes: &[u8]) -> Result<Decoded, String> {
    use image::codecs::webp::WebPDecoder;
    // The decoder has the pixels once more, or the planes of YCbCr and alpha.
    rgb(WebPDecoder::new(Cursor::new(bytes)).map_err(described)?, 5)
}

#[cfg(feature = "pnm")]
pub(super) fn pnm(bytes: &[u8]) -> Result<Decoded, String> {
    use image::codecs::pnm::PnmDecoder;
    rgb(PnmDecoder::new(Cursor::new(bytes)).map_err(described)?, 0)
}

/// Decodes a picture of the `image` crate. `inside` is what the decoder takes for a pixel, in bytes.
fn rgb(decoder: impl ImageDecoder, inside: u64) -> Result<Decoded, String> {
    let (width, height) = decoder.dimensions();
    let (channels, depth) = match decoder.color_type() {
        ColorType::L8 => (1, Depth::Eight),
        ColorType::La8 => (2, Depth::Eight),
        ColorType::Rgb8 => (3, Depth::Eight),
        ColorType::Rgba8 => (4, Depth::Eight),
        // Pillow clamps 16-bit grey to 255, but takes the high byte of other 16-bit pixels.
        ColorType::L16 => (1, Depth::Clamped),
        ColorType::La16 => (2, Depth::High),
        ColorType::Rgb16 => (3, Depth::High),
        ColorType::Rgba16 => (4, Depth::High),
        other => return Err(format!("pixels of {other:?} are not supported; convert the picture")),
    };
    let layout = Layout { channels, depth, is_big_endian: cfg!(target_endian = "big") };
    let grows = layout.bytes() < 3;
    let bytes = inside + layout.bytes() as u64 + if grows { 3 } else { 0 };
    let pixels = u64::from(width).saturating_mul(height.into());
    let taken = admit(width.into(), height.into(), pixels.saturating_mul(bytes))?;
    let mut data = zeros(decoder.total_bytes() as usize)?;
    // The decoder aborts the program if it does not get its own memory, so this asks for it first.
    drop(reserved::<u8>((inside * pixels) as usize)?);
    decoder.read_image(&mut data).map_err(described)?;
    if grows {
        let mut rgb = zeros(pixels as usize * 3)?;
        layout.convert(&data, &mut rgb);
        data = rgb;
    } else {
        layout.convert_in_place(&mut data);
    }
    Ok((width as usize, height as usize, data, taken))
}
