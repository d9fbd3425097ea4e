//! Decodes PNG as Pillow does, a row at a time.

use std::io::{Cursor, ErrorKind};

use png::{BitDepth, ColorType, Decoder, DecodingError, InterlaceInfo, Limits, Transformations};

use super::limits::memory::zeros;
use super::limits::{Decoded, admit, check_size};
use super::pixels::{Depth, Layout};

/// Decodes a PNG and returns width, height, RGB, and the memory that it counts for.
///
/// # Errors
/// Returns a sentence if the file is truncated or corrupt, or if there is not enough memory.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    // The decoder's words for a size of zero are less clear.
    if let Some(&[w0, w1, w2, w3, h0, h1, h2, h3]) = bytes.get(16..).and_then(|b| b.first_chunk()) {
        let side = |bytes| u64::from(u32::from_be_bytes(bytes));
        check_size(side([w0, w1, w2, w3]), side([h0, h1, h2, h3]))?;
    }
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: usize::MAX });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes to RGB, fewer than 8 bits to 8.
    decoder.set_transformations(Transformations::EXPAND);
    let header = decoder.read_header_info().map_err(described)?;
    let (width, height) = header.size();
    let is_wide_grey =
        header.color_type == ColorType::Grayscale && header.bit_depth == BitDepth::Sixteen;
    // Two rows of at most 8 bytes a pixel, before and after the filter and once more expanded.
    let rows = 4 * 8 * u64::from(width);
    let taken =
        admit(width.into(), height.into(), 3 * u64::from(width) * u64::from(height) + rows)?;
    let mut reader = decoder.read_info().map_err(described)?;
    let (color, depth) = reader.output_color_type();
    let layout = Layout {
        channels: color.samples(),
        depth: match depth {
            BitDepth::Sixteen if is_wide_grey => Depth::Clamped,
            BitDepth::Sixteen => Depth::High,
            _ => Depth::Eight,
        },
        is_big_endian: true,
    };
    let (width, height) = (width as usize, height as usize);
    let stride = 3 * width;
    let mut rgb = zeros(stride * height)?;
    if reader.info().interlaced {
        let mut line = zeros(stride)?;
        while let Some(row) = reader.next_interlaced_row().map_err(described)? {
            let InterlaceInfo::Adam7(pass) = row.interlace() else { continue };
            layout.convert(row.data(), &mut line);
            let length = row.data().len() / layout.bytes() * 3;
            png::expand_interlaced_row(&mut rgb, stride, &line[..length], pass, 24);
        }
    } else {
        let mut rows = rgb.chunks_exact_mut(stride);
        while let Some(row) = reader.next_row().map_err(described)? {
            let Some(line) = rows.next() else { break };
            layout.convert(row.data(), line);
        }
    }
    Ok((width, height, rgb, taken))
}

fn described(error: DecodingError) -> String {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "truncated: the file ends too early".to_owned()
        }
        other => format!("corrupt or unsupported: {other}"),
    }
}
