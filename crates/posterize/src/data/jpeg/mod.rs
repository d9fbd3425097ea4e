//! JPEG as Pillow decodes it, to the bit.
//!
//! `libjpeg-turbo-rs` decodes what cameras and programs write; what it is known to decode
//! otherwise than libjpeg-turbo (see [`is_common`]) goes through the decoder of this folder, which
//! is slower.

mod color;
mod huffman;
mod idct;
mod scans;
mod segments;
mod upsample;

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

use self::color::{ColorSpace, cmyk_to_rgb};
use self::scans::{planes, zeros};
use self::segments::{End, Segments, TRUNCATED};
use self::upsample::Upsampling;

/// Width, height, and red, green and blue of each pixel. `check_size` may refuse a size.
///
/// # Errors
/// The file is corrupt, truncated or of a kind that is not supported, or memory is short.
pub(super) fn decode(
    bytes: &[u8],
    check_size: impl Fn(u64, u64) -> Result<(), String>,
) -> Result<(usize, usize, Vec<u8>), String> {
    let segments = segments::read(bytes)?;
    let frame = &segments.frame;
    check_size(frame.width as u64, frame.height as u64)?;
    if frame.precision != 8 {
        return Err(format!(
            "a JPEG of {} bits per sample is not supported; expected 8 bits",
            frame.precision
        ));
    }
    let components = frame.components.len();
    let space = ColorSpace::of(&segments).ok_or_else(|| {
        format!("a JPEG of {components} components is not supported; expected 1, 3 or 4")
    })?;
    let rgb = match segments.end {
        End::Marker(end) if is_common(&segments) => common(&bytes[..end], space)?,
        End::Other(end) if is_common(&segments) => {
            common(&[&bytes[..end], &[0xFF, 0xD9]].concat(), space)?
        }
        _ => any(&segments, space)?,
    };
    Ok((frame.width, frame.height, rgb))
}

/// Whether libjpeg-turbo-rs decodes such a file to the pixels of libjpeg-turbo: it does not
/// upsample four components like it, and refuses or confuses rare samplings and scans of some of
/// the components.
fn is_common(segments: &Segments<'_>) -> bool {
    let frame = &segments.frame;
    let (h_max, v_max) = frame.sampling();
    let sampling = frame.components.iter().enumerate().all(|(index, c)| {
        let usual = |factor, max: usize| {
            (factor == 1 || factor == max) && max != 3 && (index > 0 || factor == max)
        };
        usual(c.horizontal, h_max) && usual(c.vertical, v_max)
    });
    let scans = frame.progressive
        || segments.scans.iter().all(|scan| {
            scan.components.len() == 1 || scan.components.len() == frame.components.len()
        });
    sampling && scans && (frame.components.len() < 4 || (h_max, v_max) == (1, 1))
}

fn common(bytes: &[u8], space: ColorSpace) -> Result<Vec<u8>, String> {
    let described = |error: JpegError| match error {
        JpegError::UnexpectedEof => TRUNCATED.to_owned(),
        other => format!("corrupt JPEG: {other}"),
    };
    let mut decoder =
        Decoder::new_with_limits(bytes, DecodeLimits::default()).map_err(described)?;
    decoder.set_block_smoothing(true);
    decoder.set_output_format(match space {
        ColorSpace::Grey => PixelFormat::Grayscale,
        ColorSpace::YCbCr | ColorSpace::Rgb => PixelFormat::Rgb,
        ColorSpace::Cmyk | ColorSpace::Ycck => PixelFormat::Cmyk,
    });
    let samples = decoder.decode_image().map_err(described)?.data;
    let pixels = |count: usize| samples.len() / count;
    Ok(match space {
        ColorSpace::Grey => {
            let mut rgb = zeros(pixels(1) * 3)?;
            for (rgb, value) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(&samples) {
                *rgb = [*value; 3];
            }
            rgb
        }
        ColorSpace::YCbCr | ColorSpace::Rgb => samples,
        ColorSpace::Cmyk | ColorSpace::Ycck => {
            let mut rgb = zeros(pixels(4) * 3)?;
            for (rgb, pixel) in
                rgb.as_chunks_mut::<3>().0.iter_mut().zip(samples.as_chunks::<4>().0)
            {
                *rgb = cmyk_to_rgb(*pixel);
            }
            rgb
        }
    })
}

/// Any Huffman-coded JPEG, at a moderate speed.
fn any(segments: &Segments<'_>, space: ColorSpace) -> Result<Vec<u8>, String> {
    let frame = &segments.frame;
    if frame.arithmetic {
        return Err(format!(
            "a JPEG with arithmetic coding and {} is not supported; convert the picture",
            if segments.end == End::File {
                "without the marker that ends it".into()
            } else {
                format!("the sampling factors {}", frame.factors())
            }
        ));
    }
    if segments.is_unrefined() {
        return Err(format!(
            "a progressive JPEG without its last scans and with the sampling factors {} is not \
             supported",
            frame.factors()
        ));
    }
    let planes = planes(segments)?;
    let mut rows = Vec::with_capacity(planes.len());
    for (index, plane) in planes.iter().enumerate() {
        let upsampling = Upsampling::new(frame, index, plane)?;
        rows.push((upsampling, zeros::<u8>(plane.stride * frame.sampling().0)?));
    }
    let mut rgb = zeros(frame.width * frame.height * 3)?;
    for (y, line) in rgb.chunks_exact_mut(frame.width * 3).enumerate() {
        for ((upsampling, row), plane) in rows.iter_mut().zip(&planes) {
            upsampling.row(plane, y, row);
        }
        for (x, pixel) in line.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let mut samples = [0; 4];
            for (sample, (_, row)) in samples.iter_mut().zip(&rows) {
                *sample = row[x];
            }
            *pixel = space.rgb(samples);
        }
    }
    Ok(rgb)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn both_decoders_give_the_same_pixels() {
        let folders = ["jpeg/pictures", "preprocess/pictures"];
        let mut compared = 0;
        for folder in folders {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(folder);
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                let Some(segments) =
                    segments::read(&bytes).ok().filter(|s| is_common(s) && s.frame.precision == 8)
                else {
                    continue;
                };
                let (Some(space), End::Marker(end)) = (ColorSpace::of(&segments), segments.end)
                else {
                    continue;
                };
                if segments.frame.arithmetic || segments.is_unrefined() {
                    continue;
                }
                let found = (any(&segments, space), common(&bytes[..end], space));
                match found {
                    (Ok(any), Ok(common)) => assert!(any == common, "{}", path.display()),
                    // A scan that ends too early has other words in each.
                    (any, common) => assert!(any.is_err() && common.is_err(), "{}", path.display()),
                }
                compared += 1;
            }
        }
        assert!(compared > 30, "{compared}");
    }
}
