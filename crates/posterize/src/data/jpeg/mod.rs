//! JPEG as Pillow decodes it, to the bit.
//!
//! `libjpeg-turbo-rs` decodes what cameras and programs write; what it is known to decode
//! otherwise than libjpeg-turbo (see [`is_common`]) goes through the decoder of this folder, which
//! is slower.

mod color;
mod encode;
mod huffman;
mod idct;
mod scans;
mod segments;
mod upsample;

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

use super::cmyk::cmyk_to_rgb;
use super::limits::memory::{no_memory, reserved, zeros};
use super::limits::{Decoded, admit};

use self::color::ColorSpace;
use self::scans::planes;
use self::segments::{End, Segments, TRUNCATED, corrupt};
use self::upsample::Upsampling;

/// Decodes a JPEG and returns width, height, RGB, and the memory that it counts for.
///
/// # Errors
/// Returns a sentence if the file is corrupt, truncated or of a kind that is not supported, or if
/// there is not enough memory.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let segments = segments::read(bytes)?;
    let frame = &segments.frame;
    let taken = admit(frame.width as u64, frame.height as u64, memory(&segments, bytes.len()))?;
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
            let mut ended = reserved(end + 2)?;
            ended.extend_from_slice(&bytes[..end]);
            ended.extend([0xFF, 0xD9]);
            common(&ended, space)?
        }
        _ => any(&segments, space)?,
    };
    Ok((frame.width, frame.height, rgb, taken))
}

/// The bytes that decoding takes at most, beside the file.
fn memory(segments: &Segments<'_>, length: usize) -> u64 {
    let frame = &segments.frame;
    let pixels = frame.width as u64 * frame.height as u64;
    let components = frame.components.len() as u64;
    // The planes, the pixels, and their conversion to RGB.
    let converted = pixels * if components == 3 { 3 } else { components + 3 };
    // The coefficients of a progressive file are two bytes each, beside the planes.
    let coefficients = if frame.progressive { 3 * frame.samples() } else { 0 };
    let copied = if matches!(segments.end, End::Other(_)) { length as u64 } else { 0 };
    copied + coefficients.max(frame.samples() + converted)
}

/// Whether libjpeg-turbo-rs decodes such a file to the pixels of libjpeg-turbo: it does not
/// upsample four components like it, and refuses or confuses rare samplings and scans of some of
/// the components. Where a restart marker is missing, it goes on as if none were.
fn is_common(segments: &Segments<'_>) -> bool {
    let frame = &segments.frame;
    let (h_max, v_max) = frame.sampling();
    let sampling = frame.components.iter().enumerate().all(|(index, c)| {
        let usual = |factor, max: usize| {
            (factor == 1 || factor == max) && max != 3 && (index > 0 || factor == max)
        };
        usual(c.horizontal, h_max) && usual(c.vertical, v_max)
    });
    let scans = segments.scans.iter().all(|scan| {
        let count = scan.components.len();
        let is_usual = frame.progressive || count == 1 || count == frame.components.len();
        is_usual && scan.has_its_restarts
    });
    sampling && scans && (frame.components.len() < 4 || (h_max, v_max) == (1, 1))
}

fn common(bytes: &[u8], space: ColorSpace) -> Result<Vec<u8>, String> {
    let described = |error: JpegError| match error {
        JpegError::UnexpectedEof => TRUNCATED.to_owned(),
        JpegError::AllocationFailed { bytes, .. } => no_memory(bytes),
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
        if !segments.scans.iter().all(|scan| scan.has_its_restarts) {
            return Err(corrupt("a restart marker is missing or out of order"));
        }
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
             supported; convert the picture",
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
        let folders = ["decode/pictures", "preprocess/pictures"];
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

    #[test]
    fn damaged_bytes_are_errors_or_pixels() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |end: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % end
        };
        let rounds = std::env::var("POSTERIZE_TEST_ROUNDS").map_or(40, |n| n.parse().unwrap());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decode/pictures");
        let (mut errors, mut pictures) = (0, 0);
        for entry in std::fs::read_dir(folder).unwrap() {
            let whole = std::fs::read(entry.unwrap().path()).unwrap();
            if !whole.starts_with(&[0xFF, 0xD8]) {
                continue;
            }
            for _ in 0..rounds {
                let mut damaged = whole.clone();
                for _ in 0..=random(3) {
                    let at = 2 + random(damaged.len() - 2);
                    damaged[at] =
                        [0, 0xFF, damaged[at] ^ 1 << random(8), random(256) as u8][random(4)];
                }
                let decoded = segments::read(&damaged).and_then(|segments| {
                    let frame = &segments.frame;
                    let (pixels, space) = (frame.width * frame.height, ColorSpace::of(&segments));
                    match space {
                        Some(space) if (1..100_000).contains(&pixels) => {
                            let rgb = any(&segments, space)?;
                            assert_eq!(rgb.len(), 3 * pixels);
                            Ok(())
                        }
                        _ => Err("not decoded".to_owned()),
                    }
                });
                if decoded.is_ok() { pictures += 1 } else { errors += 1 }
            }
        }
        assert!(pictures > rounds && errors > rounds, "{pictures} pictures, {errors} errors");
    }
}
