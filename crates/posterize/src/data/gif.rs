//! Decodes the first picture of a GIF as Pillow does.
//!
//! The format is CompuServe's "Graphics Interchange Format, Version 89a".

use super::limits::memory::zeros;
use super::limits::{Decoded, admit};
use super::lzw::{self, Codes, Fault};

const TRUNCATED: &str = "truncated: the file ends too early";

type Palette = [[u8; 3]; 256];

/// Decodes a GIF and returns width, height, RGB, and the memory that it counts for.
///
/// Around a picture that does not fill the screen is the transparent colour, or the first one if
/// there is none. A picture that reaches beyond the screen makes the screen larger.
///
/// # Errors
/// Returns a sentence if the file is truncated or corrupt, or if there is not enough memory.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let mut file = Reader { rest: bytes };
    let header: [u8; 13] = *file.array()?;
    if !matches!(&header[..6], b"GIF87a" | b"GIF89a") {
        return Err("expected the version 87a or 89a of GIF".to_owned());
    }
    let mut palette = if header[10] & 0x80 != 0 { file.palette(header[10])? } else { greys() };
    let mut transparent = 0;
    loop {
        match file.byte().ok() {
            None | Some(b';') => return Err("corrupt: it has no picture".to_owned()),
            Some(b',') => break,
            Some(b'!') => file.extension(&mut transparent)?,
            // Pillow looks for the next block.
            Some(_) => {}
        }
    }
    let frame: [u8; 9] = *file.array()?;
    let side = |at: usize| usize::from(u16::from_le_bytes([frame[at], frame[at + 1]]));
    let (left, top, width, height) = (side(0), side(2), side(4), side(6));
    if frame[8] & 0x80 != 0 {
        let local = file.palette(frame[8])?;
        // Pillow leaves grey palettes out, and so takes the one of the file.
        if local != greys() {
            palette = local;
        }
    }
    let bits = u32::from(file.byte()?);
    // Of more than 8 bits the lowest ones count.
    if bits > lzw::MAX_WIDTH {
        return Err(format!("corrupt: its pixels have {bits} bits, expected at most 8"));
    }
    let screen = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let (screen_width, screen_height) = (screen(6).max(left + width), screen(8).max(top + height));
    if width == 0 || height == 0 {
        return Err(format!("expected a picture with pixels, found {width} x {height}"));
    }

    let pixels = |width: usize, height: usize| width as u64 * height as u64;
    let memory = 3 * pixels(screen_width, screen_height) + pixels(width, height);
    let taken = admit(screen_width as u64, screen_height as u64, memory)?;
    let mut indices = zeros(width * height)?;
    let codes = Blocks { rest: file.rest, block: &[], bits: 0, count: 0 };
    lzw::decode(codes, bits, 0, &mut indices).map_err(|fault| match fault {
        Fault::TooShort => "truncated or corrupt: it has fewer pixels than its size says",
        Fault::UnknownCode => "corrupt: a code of its pixels is not in the table",
    })?;

    let mut rgb = zeros(screen_width * screen_height * 3)?;
    let background = palette[transparent];
    if background != [0; 3] {
        rgb.as_chunks_mut::<3>().0.fill(background);
    }
    let is_interlaced = frame[8] & 0x40 != 0;
    for (y, row) in rows(height, is_interlaced).zip(indices.chunks_exact(width)) {
        let line = &mut rgb[3 * ((top + y) * screen_width + left)..][..3 * width];
        for (rgb, &index) in line.as_chunks_mut::<3>().0.iter_mut().zip(row) {
            *rgb = palette[usize::from(index)];
        }
    }
    Ok((screen_width, screen_height, rgb, taken))
}

/// The colours of a picture without a palette.
fn greys() -> Palette {
    std::array::from_fn(|index| [index as u8; 3])
}

/// The order of the rows in the file.
fn rows(height: usize, is_interlaced: bool) -> impl Iterator<Item = usize> {
    const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];
    let passes = if is_interlaced { &PASSES[..] } else { &[(0, 1)] };
    passes.iter().flat_map(move |&(first, step)| (first..height).step_by(step))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], String> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|&[byte]| byte)
    }

    /// Reads a palette of the number of colours that the low bits of `flags` have. As in Pillow,
    /// other colours are black, or grey if the palette is.
    fn palette(&mut self, flags: u8) -> Result<Palette, String> {
        let mut palette = [[0; 3]; 256];
        let colors = &mut palette[..2 << (flags & 7)];
        for color in &mut *colors {
            *color = *self.array()?;
        }
        let greys = greys();
        Ok(if greys.starts_with(colors) { greys } else { palette })
    }

    /// Returns the next block of an extension, or `None` at its end.
    fn block(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte().ok()?);
        let (block, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        Some(block).filter(|block| !block.is_empty())
    }

    /// Reads an extension, which can name a transparent colour.
    fn extension(&mut self, transparent: &mut usize) -> Result<(), String> {
        let kind = self.byte()?;
        let mut block = self.block();
        match (kind, block) {
            (0xF9, Some([flags, _, _, index, ..])) if flags & 1 != 0 => {
                *transparent = usize::from(*index);
            }
            (0xF9, Some([flags, _, _, ..])) if flags & 1 == 0 => {}
            (0xF9, Some(_)) => return Err(TRUNCATED.to_owned()),
            // As in Pillow, an empty comment ends the extension, but the empty block of another one
            // does not.
            (0xFE, _) => {
                while block.is_some() {
                    block = self.block();
                }
                return Ok(());
            }
            (0xFF, Some(name)) if name.starts_with(b"NETSCAPE2.0") => {
                self.block();
            }
            _ => {}
        }
        while self.block().is_some() {}
        Ok(())
    }
}

/// The codes in blocks of up to 255 bytes. The lowest bits are first.
struct Blocks<'a> {
    rest: &'a [u8],
    block: &'a [u8],
    bits: u32,
    count: u32,
}

impl Codes for Blocks<'_> {
    fn next(&mut self, width: u32) -> Option<usize> {
        while self.count < width {
            let Some((&byte, block)) = self.block.split_first() else {
                let (&length, rest) = self.rest.split_first()?;
                // An empty block is the last one.
                (self.block, self.rest) = rest.split_at_checked(length.into())?;
                if length == 0 {
                    return None;
                }
                continue;
            };
            self.block = block;
            self.bits |= u32::from(byte) << self.count;
            self.count += 8;
        }
        let code = self.bits & ((1 << width) - 1);
        self.bits >>= width;
        self.count -= width;
        Some(code as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interlaced_rows_come_in_four_passes() {
        assert_eq!(rows(10, true).collect::<Vec<_>>(), [0, 8, 4, 2, 6, 1, 3, 5, 7, 9]);
        assert_eq!(rows(1, true).collect::<Vec<_>>(), [0]);
        assert_eq!(rows(3, false).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
