//! The samples of a TIFF's pixels, and their red, green and blue as Pillow converts them.

use super::super::cmyk::cmyk_to_rgb;
use super::super::ifd::integer;
use super::compression::Coding;
use super::tags::{
    BITS_PER_SAMPLE, COLOR_MAP, EXTRA_SAMPLES, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION,
    SAMPLE_FORMAT, SAMPLES_PER_PIXEL, Tags, unsupported,
};

/// What the samples of a pixel are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Colors {
    Grey,
    /// Grey, of which the greatest value is black.
    InvertedGrey,
    Palette(Vec<[u8; 3]>),
    Rgb,
    /// Red, green and blue that are multiplied with the alpha behind them.
    PremultipliedRgb,
    Cmyk,
}

/// How the pixels of a TIFF are stored.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    colors: Colors,
    /// Bits of a sample: 1, 2, 4, 8 or 16.
    bits: usize,
    /// Number of samples of a pixel, with those that are ignored.
    count: usize,
    is_big_endian: bool,
    /// Whether each sample of all pixels is stored apart.
    is_planar: bool,
}

/// Reads the number of bits of a sample.
fn equal_bits(tags: &Tags<'_>, count: u64) -> Result<usize, String> {
    let Some(bits) = tags.integers(BITS_PER_SAMPLE)? else { return Ok(1) };
    let first = bits.get(0).unwrap_or(1);
    // Some writers have more numbers than samples.
    if bits.len() < count && bits.len() != 1 {
        return Err(format!(
            "corrupt: its tag BitsPerSample has {} values for {count} samples of a pixel",
            bits.len()
        ));
    }
    if bits.iter().take(count as usize).any(|bits| bits != first) {
        return Err(unsupported("samples with different numbers of bits"));
    }
    match first {
        1 | 2 | 4 | 8 | 16 => Ok(first as usize),
        _ => Err(unsupported(&format!("samples of {first} bits"))),
    }
}

/// Reads the colours of a palette, of whose 16 bits the high byte counts.
fn palette(tags: &Tags<'_>, bits: usize) -> Result<Vec<[u8; 3]>, String> {
    let (values, colors) = (tags.required(COLOR_MAP)?, 1 << bits);
    if values.len() != 3 * colors {
        return Err(format!(
            "corrupt: its tag ColorMap has {} values, expected {} for {bits} bits",
            values.len(),
            3 * colors
        ));
    }
    // All red values come first.
    let high_byte = |at: u64| values.get(at).map_or(0, |value| (value >> 8) as u8);
    Ok((0..colors).map(|at| [at, colors + at, 2 * colors + at].map(high_byte)).collect())
}

impl Samples {
    /// Reads the tags.
    ///
    /// # Errors
    /// Returns a sentence if the tags contradict one another, or if the pixels are of a kind that
    /// Pillow does not read, or that it converts in a way that depends on how they are stored.
    pub(super) fn of(tags: &Tags<'_>, coding: Coding) -> Result<Self, String> {
        let photometric = tags.integer(PHOTOMETRIC_INTERPRETATION)?.unwrap_or(0);
        let count = tags.integer(SAMPLES_PER_PIXEL)?.unwrap_or(1);
        let bits = equal_bits(tags, count)?;
        let formats = tags.integers(SAMPLE_FORMAT)?;
        let is_unsigned = formats.is_none_or(|formats| formats.iter().all(|format| format == 1));
        if !is_unsigned {
            return Err(unsupported("samples that are not integers without a sign"));
        }
        let (name, colors) = match photometric {
            0 | 1 => ("grey", 1),
            2 => ("RGB", 3),
            3 => ("a palette", 1),
            5 => ("CMYK", 4),
            4 => return Err(unsupported("a transparency mask")),
            6 => return Err(unsupported("YCbCr")),
            8..=10 => return Err(unsupported("L*a*b*")),
            32803 => return Err(unsupported("a camera's raw samples")),
            _ => return Err(unsupported(&format!("the colour space {photometric}"))),
        };
        let extras: Vec<u64> = match tags.integers(EXTRA_SAMPLES)? {
            Some(extras) if extras.len() > 3 => {
                return Err(unsupported("more than three extra samples"));
            }
            Some(extras) => extras.iter().collect(),
            None => Vec::new(),
        };
        // RGBA without the tag is common.
        let lacks_tag = photometric == 2 && count == 4 && extras.is_empty();
        if count != colors + extras.len() as u64 && !lacks_tag {
            return Err(format!(
                "corrupt or unsupported: {name} with {} extra samples has {} samples for each pixel, found \
                 {count}",
                extras.len(),
                colors + extras.len() as u64
            ));
        }
        let described = || format!("{name} of {bits} bits with the extra samples {extras:?}");
        let has_more = extras.iter().skip(1).any(|&extra| extra != 0);
        let is_supported = matches!(
            (photometric, bits, &extras[..]),
            (0 | 3, 1 | 2 | 4 | 8, [])
                | (1, 1 | 2 | 4 | 8 | 16, [])
                | (1 | 3, 8, [0 | 2])
                | (2, 8, [] | [0..=2, ..] | [999])
                | (2, 16, [] | [0..=2])
                | (5, 8, [] | [0] | [0, 0])
                | (5, 16, [])
        );
        if !is_supported || has_more {
            return Err(unsupported(&described()));
        }
        let is_planar = match tags.integer(PLANAR_CONFIGURATION)? {
            None | Some(1) => false,
            // Pillow takes the alpha of compressed pixels for premultiplied.
            Some(2) if lacks_tag => return Err(unsupported("RGBA in planes without ExtraSamples")),
            // Pillow takes any sample of such planes for one of 8 bits, the highest first.
            Some(2)
                if coding.is_plain() && (bits != 8 || photometric == 0 || coding.is_reversed) =>
            {
                let order = if coding.is_reversed { " and FillOrder 2" } else { "" };
                let described = described();
                return Err(unsupported(&format!("uncompressed planes of {described}{order}")));
            }
            Some(2) => true,
            Some(other) => return Err(format!("corrupt: its PlanarConfiguration is {other}")),
        };
        let colors = match photometric {
            0 => Colors::InvertedGrey,
            1 => Colors::Grey,
            2 if extras.first() == Some(&1) => Colors::PremultipliedRgb,
            2 => Colors::Rgb,
            3 => Colors::Palette(palette(tags, bits)?),
            _ => Colors::Cmyk,
        };
        let count = count as usize;
        let is_planar = is_planar && count > 1;
        Ok(Self { colors, bits, count, is_big_endian: tags.is_big_endian(), is_planar })
    }

    /// Number of planes in the file.
    pub(super) fn planes(&self) -> usize {
        if self.is_planar { self.count } else { 1 }
    }

    /// Number of planes that make the colours.
    pub(super) fn used_planes(&self) -> usize {
        match self.colors {
            _ if !self.is_planar => 1,
            Colors::Grey | Colors::InvertedGrey | Colors::Palette(_) => 1,
            Colors::Rgb => 3,
            Colors::PremultipliedRgb | Colors::Cmyk => 4,
        }
    }

    /// Bytes of a row of `width` pixels in a plane.
    pub(super) fn row_bytes(&self, width: u64) -> u64 {
        width.saturating_mul((self.bits * self.count / self.planes()) as u64).div_ceil(8)
    }

    /// Undoes horizontal differencing in a row.
    ///
    /// # Errors
    /// Returns a sentence if samples have less than 8 bits.
    pub(super) fn predictor(&self) -> Result<impl Fn(&mut [u8]), String> {
        if self.bits < 8 {
            return Err(unsupported(&format!("differences of {} bits", self.bits)));
        }
        let (count, bytes, is_big) =
            (self.count / self.planes(), self.bits / 8, self.is_big_endian);
        Ok(move |row: &mut [u8]| super::compression::undo_predictor(row, count, bytes, is_big))
    }

    /// Copies the samples of a plane's row of pixels to where they would be among pixels of
    /// [`used_planes`](Self::used_planes) samples of 8 bits.
    pub(super) fn interleave(&self, plane: usize, row: &[u8], pixels: &mut [u8]) {
        let samples = row.chunks_exact(self.bits / 8);
        for (pixel, sample) in pixels.chunks_exact_mut(self.used_planes()).zip(samples) {
            pixel[plane] = self.high_byte(sample);
        }
    }

    /// Returns how pixels are after [`interleave`](Self::interleave).
    pub(super) fn interleaved(self) -> Self {
        let count = self.used_planes();
        if self.is_planar { Self { bits: 8, count, is_planar: false, ..self } } else { self }
    }

    /// Converts as many pixels of a row as `rgb` has.
    pub(super) fn convert(&self, row: &[u8], rgb: &mut [u8]) {
        let rgb = rgb.as_chunks_mut::<3>().0;
        if self.bits < 8 {
            let mask = (1 << self.bits) - 1;
            for (x, rgb) in rgb.iter_mut().enumerate() {
                let bit = x * self.bits;
                let value = row[bit / 8] >> (8 - self.bits - bit % 8) & mask;
                *rgb = match &self.colors {
                    Colors::Palette(palette) => palette[usize::from(value)],
                    Colors::InvertedGrey => [(mask - value) * (255 / mask); 3],
                    _ => [value * (255 / mask); 3],
                };
            }
            return;
        }
        let size = self.bits / 8;
        for (rgb, pixel) in rgb.iter_mut().zip(row.chunks_exact(size * self.count)) {
            let sample = |number: usize| self.high_byte(&pixel[number * size..][..size]);
            *rgb = match &self.colors {
                // As in PNG, wide grey is clamped.
                Colors::Grey if size == 2 => [integer(pixel, self.is_big_endian).min(255) as u8; 3],
                Colors::Grey => [sample(0); 3],
                Colors::InvertedGrey => [255 - sample(0); 3],
                Colors::Palette(palette) => palette[usize::from(sample(0))],
                Colors::Rgb => [sample(0), sample(1), sample(2)],
                Colors::PremultipliedRgb => {
                    let alpha = u16::from(sample(3));
                    [0, 1, 2].map(|number| {
                        let value = u16::from(sample(number)) * 255;
                        value.checked_div(alpha).unwrap_or(0).min(255) as u8
                    })
                }
                Colors::Cmyk => cmyk_to_rgb([0, 1, 2, 3].map(|number| 255 - sample(number))),
            };
        }
    }

    fn high_byte(&self, sample: &[u8]) -> u8 {
        if self.is_big_endian { sample[0] } else { sample[sample.len() - 1] }
    }
}
