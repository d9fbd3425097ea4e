//! From a JPEG's scans to the samples of each component.

use super::super::limits::memory::{reserved, zeros};
use super::huffman::{Bits, Decoder};
use super::idct::inverse;
use super::segments::{End, Frame, NO_END, Scan, ScanComponent, Segments, corrupt};

/// The samples of one component.
pub(super) struct Plane {
    /// Samples in a row and rows, without those that only fill blocks.
    pub(super) width: usize,
    pub(super) height: usize,
    /// From one row to the next.
    pub(super) stride: usize,
    pub(super) samples: Vec<u8>,
}

/// The blocks of one component while its scans are read.
struct Blocks {
    /// Blocks in a row, with those that only fill units.
    columns: usize,
    steps: Option<[u16; 64]>,
    /// Coefficients in zigzag order, of a progressive JPEG.
    coefficients: Vec<[i16; 64]>,
    plane: Plane,
}

impl Blocks {
    fn new(frame: &Frame, index: usize) -> Result<Self, String> {
        let (h_max, v_max) = frame.sampling();
        let component = frame.components[index];
        let (h, v) = (component.horizontal, component.vertical);
        let width = (frame.width * h).div_ceil(h_max);
        let height = (frame.height * v).div_ceil(v_max);
        let columns = frame.width.div_ceil(8 * h_max) * h;
        let rows = frame.height.div_ceil(8 * v_max) * v;
        let blocks = columns * rows;
        let coefficients = Vec::new();
        let stride = columns * 8;
        let samples = if frame.progressive { Vec::new() } else { zeros(blocks * 64)? };
        let mut blocks_of = Self {
            columns,
            steps: None,
            coefficients,
            plane: Plane { width, height, stride, samples },
        };
        if frame.progressive {
            blocks_of.coefficients = reserved(blocks)?;
            blocks_of.coefficients.resize(blocks, [0; 64]);
        }
        Ok(blocks_of)
    }

    fn put(&mut self, row: usize, column: usize, coefficients: &[i16; 64], steps: &[u16; 64]) {
        let samples = inverse(coefficients, steps);
        let first = row * 8 * self.plane.stride + column * 8;
        for (y, row) in samples.as_chunks::<8>().0.iter().enumerate() {
            self.plane.samples[first + y * self.plane.stride..][..8].copy_from_slice(row);
        }
    }

    fn into_plane(mut self) -> Result<Plane, String> {
        let coefficients = std::mem::take(&mut self.coefficients);
        if !coefficients.is_empty() {
            self.plane.samples = zeros(coefficients.len() * 64)?;
            let steps = self.steps.ok_or_else(no_steps)?;
            for (at, block) in coefficients.iter().enumerate() {
                self.put(at / self.columns, at % self.columns, block, &steps);
            }
        }
        Ok(self.plane)
    }
}

fn no_steps() -> String {
    corrupt("a scan names a quantization table that is missing")
}

/// The samples of every component.
///
/// # Errors
/// A scan is corrupt or ends too early, or memory is short.
pub(super) fn planes(segments: &Segments<'_>) -> Result<Vec<Plane>, String> {
    let frame = &segments.frame;
    let mut blocks = Vec::with_capacity(frame.components.len());
    for index in 0..frame.components.len() {
        blocks.push(Blocks::new(frame, index)?);
    }
    for scan in &segments.scans {
        let left = decode(frame, scan, &mut blocks)?;
        // Cameras replace the end marker by data of their own; a file without either is cut.
        if segments.end == End::File && left < 2 {
            return Err(NO_END.into());
        }
    }
    blocks.into_iter().map(Blocks::into_plane).collect()
}

/// One component while a scan is read.
struct Coded {
    index: usize,
    horizontal: usize,
    vertical: usize,
    dc: Option<Decoder>,
    ac: Option<Decoder>,
    steps: Option<[u16; 64]>,
    /// The DC coefficient of the block before.
    before: i32,
}

impl Coded {
    fn new(frame: &Frame, scan: &Scan<'_>, component: &ScanComponent<'_>) -> Result<Self, String> {
        let is_alone = scan.components.len() == 1;
        let Some(shape) = frame.components.get(component.index) else {
            return Err(corrupt("a scan names no component"));
        };
        // Tables that a scan does not use may be missing.
        let sends_dc = !frame.progressive || scan.band.0 == 0 && scan.high == 0;
        let sends_ac = !frame.progressive || scan.band.0 > 0;
        let missing = || corrupt("a scan names a Huffman table that is missing");
        let dc = if sends_dc { Some(component.dc.ok_or_else(missing)?) } else { None };
        let ac = if sends_ac { Some(component.ac.ok_or_else(missing)?) } else { None };
        Ok(Self {
            index: component.index,
            horizontal: if is_alone { 1 } else { shape.horizontal },
            vertical: if is_alone { 1 } else { shape.vertical },
            dc: dc.map(Decoder::new).transpose()?,
            ac: ac.map(Decoder::new).transpose()?,
            steps: component.steps,
            before: 0,
        })
    }
}

/// Decodes a scan; the number of its bytes that were not needed.
fn decode(frame: &Frame, scan: &Scan<'_>, blocks: &mut [Blocks]) -> Result<usize, String> {
    let coded: Result<Vec<_>, _> =
        scan.components.iter().map(|component| Coded::new(frame, scan, component)).collect();
    let mut coded = coded?;
    for component in &coded {
        // A component's first scan says which steps are meant.
        let steps = &mut blocks[component.index].steps;
        *steps = steps.or(component.steps);
    }
    let (columns, rows) = frame.units(coded.iter().map(|component| component.index));
    let mut bits = Bits::new(scan.data);
    let mut band = Band { first: scan.band.0, last: scan.band.1, low: scan.low, run: 0 };
    for unit in 0..columns * rows {
        if scan.restart_interval > 0 && unit > 0 && unit % scan.restart_interval == 0 {
            bits.restart(unit / scan.restart_interval - 1)?;
            for component in &mut coded {
                component.before = 0;
            }
            band.run = 0;
        }
        for component in &mut coded {
            let of = &mut blocks[component.index];
            for part in 0..component.horizontal * component.vertical {
                let row = unit / columns * component.vertical + part / component.horizontal;
                let column = unit % columns * component.horizontal + part % component.horizontal;
                if frame.progressive {
                    let block = &mut of.coefficients[row * of.columns + column];
                    match (band.first, scan.high) {
                        (0, 0) => block[0] = (dc(&mut bits, component)? << band.low) as i16,
                        (0, _) => block[0] |= (bits.take(1)? << band.low) as i16,
                        (_, 0) => band.first(&mut bits, component, block)?,
                        _ => band.refine(&mut bits, component, block)?,
                    }
                } else {
                    let steps = of.steps.ok_or_else(no_steps)?;
                    of.put(row, column, &sequential(&mut bits, component)?, &steps);
                }
            }
        }
    }
    Ok(bits.left())
}

fn dc(bits: &mut Bits<'_>, component: &mut Coded) -> Result<i32, String> {
    let Some(table) = &component.dc else { return Ok(0) };
    let size = table.symbol(bits)?;
    if size > 15 {
        return Err(corrupt("a coefficient has more than 15 bits"));
    }
    component.before = component.before.wrapping_add(bits.value(size.into())?);
    Ok(component.before)
}

/// A run of zeros and the size of the coefficient behind it.
fn run_and_size(bits: &mut Bits<'_>, component: &Coded) -> Result<(usize, u32), String> {
    let Some(table) = &component.ac else { return Ok((0, 0)) };
    let symbol = table.symbol(bits)?;
    Ok(((symbol >> 4).into(), (symbol & 15).into()))
}

fn beyond() -> String {
    corrupt("a block has more than 64 coefficients")
}

fn sequential(bits: &mut Bits<'_>, component: &mut Coded) -> Result<[i16; 64], String> {
    let mut block = [0; 64];
    block[0] = dc(bits, component)? as i16;
    let mut k = 1;
    while k < 64 {
        let (run, size) = run_and_size(bits, component)?;
        match (run, size) {
            (15, 0) => k += 16,
            (_, 0) => break,
            _ => {
                k += run;
                *block.get_mut(k).ok_or_else(beyond)? = bits.value(size)? as i16;
                k += 1;
            }
        }
    }
    Ok(block)
}

/// A band of AC coefficients of a progressive JPEG (ITU-T T.81, annex G).
struct Band {
    first: usize,
    last: usize,
    low: u32,
    /// How many more blocks have nothing new in the band.
    run: u32,
}

impl Band {
    /// Reads how many blocks end with the present one; this one is not counted.
    fn start_run(&mut self, bits: &mut Bits<'_>, length: usize) -> Result<(), String> {
        self.run = (1 << length) - 1 + bits.take(length as u32)?;
        Ok(())
    }

    fn first(
        &mut self,
        bits: &mut Bits<'_>,
        of: &Coded,
        block: &mut [i16; 64],
    ) -> Result<(), String> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let mut k = self.first;
        while k <= self.last {
            let (run, size) = run_and_size(bits, of)?;
            match (run, size) {
                (15, 0) => k += 16,
                (length, 0) => return self.start_run(bits, length),
                _ => {
                    k += run;
                    *block.get_mut(k).ok_or_else(beyond)? = (bits.value(size)? << self.low) as i16;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    fn refine(
        &mut self,
        bits: &mut Bits<'_>,
        of: &Coded,
        block: &mut [i16; 64],
    ) -> Result<(), String> {
        let mut k = self.first;
        if self.run == 0 {
            while k <= self.last {
                let (run, size) = run_and_size(bits, of)?;
                let new = match (run, size) {
                    (15, 0) => 0,
                    (length, 0) => {
                        self.start_run(bits, length)?;
                        // The correction of this block's coefficients follows.
                        self.run += 1;
                        break;
                    }
                    (_, 1) if bits.take(1)? == 1 => 1 << self.low,
                    (_, 1) => -1 << self.low,
                    _ => return Err(corrupt("a new coefficient has more than one bit")),
                };
                k = self.correct(bits, block, k, Some(run))?;
                if new != 0 {
                    *block.get_mut(k).filter(|_| k <= self.last).ok_or_else(beyond)? = new;
                }
                k += 1;
            }
        }
        if self.run > 0 {
            self.correct(bits, block, k, None)?;
            self.run -= 1;
        }
        Ok(())
    }

    /// Corrects the coefficients from `k` on that are not zero, up to the one behind `zeros` zeros,
    /// whose number it returns, or to the band's end.
    fn correct(
        &self,
        bits: &mut Bits<'_>,
        block: &mut [i16; 64],
        mut k: usize,
        mut zeros: Option<usize>,
    ) -> Result<usize, String> {
        while k <= self.last {
            let value = &mut block[k];
            if *value == 0 {
                match &mut zeros {
                    Some(0) => break,
                    Some(left) => *left -= 1,
                    None => {}
                }
            } else if bits.take(1)? == 1 && (*value >> self.low) & 1 == 0 {
                *value =
                    value.wrapping_add(if *value > 0 { 1 << self.low } else { -1 << self.low });
            }
            k += 1;
        }
        Ok(k)
    }
}
