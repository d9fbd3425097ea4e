//! Decodes the first picture of a TIFF as Pillow does.
//!
//! The format is Adobe's "TIFF, Revision 6.0", and BigTIFF. What Pillow and libtiff decode in a way
//! that a file does not tell is an error here.

mod chunks;
mod compression;
mod samples;
mod tags;

use self::chunks::Chunks;
use self::compression::Coding;
use self::samples::Samples;
use self::tags::{Tags, unsupported};
use super::limits::memory::{reserved, zeros};
use super::limits::{Decoded, admit, check_size};

/// Decodes a TIFF and returns width, height, RGB, and the memory that it counts for.
///
/// # Errors
/// Returns a sentence if the file is truncated, corrupt or of a kind that is not supported, or if
/// there is not enough memory.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let tags = Tags::of(bytes)?;
    let width = tags.required_integer(tags::IMAGE_WIDTH)?;
    let height = tags.required_integer(tags::IMAGE_LENGTH)?;
    check_size(width, height)?;
    // Whoever applies the orientation ignores damaged ones.
    tags.integer(tags::ORIENTATION)?;
    let coding = Coding::of(&tags)?;
    let samples = Samples::of(&tags, coding)?;
    let undo = match tags.integer(tags::PREDICTOR)? {
        Some(2) if coding.has_predictor() => Some(samples.predictor()?),
        Some(other) if coding.has_predictor() && other != 1 => {
            return Err(unsupported(&format!("the predictor {other}")));
        }
        _ => None,
    };
    let chunks = Chunks::of(&tags, width, height, &samples, coding)?;

    // A strip or tile, one of each plane together, and one as it is in the file.
    let row_bytes = samples.row_bytes(chunks.width);
    let chunk = row_bytes.saturating_mul(chunks.height);
    let planes = samples.used_planes();
    let joined = if planes > 1 { planes as u64 * chunks.width.min(width) } else { 0 };
    let joined = joined * chunks.height.min(height);
    let reversed = coding.memory(chunk, bytes.len() as u64);
    let memory = chunk.saturating_add(joined).saturating_add(reversed);
    let taken = admit(width, height, memory.saturating_add(3 * width * height))?;

    let stride = 3 * width as usize;
    let mut rgb: Vec<u8> = zeros(stride * height as usize)?;
    let mut decoded: Vec<u8> = zeros(chunk as usize)?;
    let mut pixels: Vec<u8> = zeros(joined as usize)?;
    let mut reversed: Vec<u8> = reserved(reversed as usize)?;
    let (row_bytes, interleaved) = (row_bytes as usize, samples.clone().interleaved());
    for part in chunks.parts() {
        let across = part.width as usize;
        for plane in 0..planes {
            let (number, data) = chunks.data(bytes, &part, plane as u64)?;
            let failed = |problem: &str| {
                format!("truncated or corrupt: {problem} in {} {number}", chunks.name())
            };
            // Pillow reads uncompressed pixels only as far as they are in the picture.
            let length = if coding.is_plain() {
                row_bytes * (part.height as usize - 1) + samples.row_bytes(part.width) as usize
            } else {
                row_bytes * chunks.stored_rows(&part) as usize
            };
            let decoded = &mut decoded[..length];
            coding.decode(data, decoded, &mut reversed).map_err(failed)?;
            if let Some(undo) = &undo {
                decoded.chunks_exact_mut(row_bytes).for_each(undo);
            }
            if planes > 1 {
                let rows = pixels.chunks_exact_mut(across * planes);
                for (row, pixels) in decoded.chunks(row_bytes).zip(rows).take(part.height as usize)
                {
                    samples.interleave(plane, row, pixels);
                }
            }
        }
        let top = part.top as usize;
        for (number, line) in
            rgb.chunks_exact_mut(stride).skip(top).take(part.height as usize).enumerate()
        {
            let row = if planes > 1 {
                &pixels[number * across * planes..]
            } else {
                &decoded[number * row_bytes..]
            };
            interleaved.convert(row, &mut line[3 * part.left as usize..][..3 * across]);
        }
    }
    Ok((width as usize, height as usize, rgb, taken))
}
