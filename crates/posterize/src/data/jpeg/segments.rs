//! What the marker segments of a JPEG say: its frame, its tables and its scans (ITU-T T.81, annex B).

use std::array::from_fn;

use memchr::memchr;

/// The most scans that are read; more is a file made to waste time.
const MAX_SCANS: usize = 500;

pub(super) const TRUNCATED: &str =
    "truncated or corrupt JPEG: the file ends before the picture is complete";
pub(super) const NO_END: &str = "truncated or corrupt JPEG: the marker that ends it is missing";

/// A JPEG's first frame with its scans, and where it ends.
pub(super) struct Segments<'a> {
    pub(super) frame: Frame,
    pub(super) scans: Vec<Scan<'a>>,
    /// Whether a JFIF segment stands before the first scan.
    pub(super) jfif: bool,
    /// The colour transform that an Adobe segment before the first scan names.
    pub(super) adobe: Option<u8>,
    pub(super) end: End,
}

/// What follows the last scan's data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The marker that ends a JPEG, which stands before this offset.
    Marker(usize),
    /// Another marker, which stands at this offset.
    Other(usize),
    /// The end of the file.
    File,
}

pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) precision: u8,
    pub(super) progressive: bool,
    pub(super) arithmetic: bool,
    pub(super) components: Vec<Component>,
}

#[derive(Clone, Copy)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Samples along each axis, relative to the other components.
    pub(super) horizontal: usize,
    pub(super) vertical: usize,
    /// The number of its quantization table.
    pub(super) quantization: usize,
}

/// One scan with the tables that are in force for it.
pub(super) struct Scan<'a> {
    pub(super) components: Vec<ScanComponent<'a>>,
    /// The first and the last coefficient, in zigzag order.
    pub(super) band: (usize, usize),
    /// The bit position that an earlier scan sent down to (0: none did), and that of this scan.
    pub(super) high: u32,
    pub(super) low: u32,
    /// Minimum coded units between restart markers; 0 for no restarts.
    pub(super) restart_interval: usize,
    /// The entropy-coded data, with stuffed bytes and restart markers.
    pub(super) data: &'a [u8],
    /// Whether the data have as many restart markers as the scan needs, in order.
    pub(super) has_its_restarts: bool,
}

#[derive(Clone, Copy)]
pub(super) struct ScanComponent<'a> {
    /// Its number in the frame.
    pub(super) index: usize,
    pub(super) dc: Option<Huffman<'a>>,
    pub(super) ac: Option<Huffman<'a>>,
    /// The steps of its quantization, in zigzag order.
    pub(super) steps: Option<[u16; 64]>,
}

/// A Huffman table as a file defines it.
#[derive(Clone, Copy)]
pub(super) struct Huffman<'a> {
    /// How many codes have a length of 1 to 16 bits.
    pub(super) counts: &'a [u8; 16],
    /// What the codes stand for, the shortest first.
    pub(super) symbols: &'a [u8],
}

impl Frame {
    /// The greatest sampling factors, horizontal and vertical.
    pub(super) fn sampling(&self) -> (usize, usize) {
        let greatest = |axis: fn(&Component) -> usize| self.components.iter().map(axis).max();
        (greatest(|c| c.horizontal).unwrap_or(1), greatest(|c| c.vertical).unwrap_or(1))
    }

    /// How many minimum coded units a scan of these components has in a row, and how many rows.
    pub(super) fn units(&self, components: impl IntoIterator<Item = usize>) -> (usize, usize) {
        let (h_max, v_max) = self.sampling();
        let mut components = components.into_iter();
        match (components.next().map(|index| self.components[index]), components.next()) {
            // A component alone comes block by block, without those beyond the picture.
            (Some(Component { horizontal: h, vertical: v, .. }), None) => (
                (self.width * h).div_ceil(h_max).div_ceil(8),
                (self.height * v).div_ceil(v_max).div_ceil(8),
            ),
            _ => (self.width.div_ceil(8 * h_max), self.height.div_ceil(8 * v_max)),
        }
    }

    /// How many samples all components have, with those that fill blocks.
    pub(super) fn samples(&self) -> u64 {
        let (h_max, v_max) = self.sampling();
        let units = self.width.div_ceil(8 * h_max) as u64 * self.height.div_ceil(8 * v_max) as u64;
        let blocks: usize = self.components.iter().map(|c| c.horizontal * c.vertical).sum();
        units * blocks as u64 * 64
    }

    /// Sampling factors in words.
    pub(super) fn factors(&self) -> String {
        let each = self.components.iter().map(|c| format!("{}x{}", c.horizontal, c.vertical));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl Segments<'_> {
    /// Whether some scans of a progressive JPEG are absent that would make the nine lowest
    /// frequencies exact, and a decoder is to smooth the blocks.
    pub(super) fn is_unrefined(&self) -> bool {
        let sent = Sent::new(&self.frame, &self.scans).map(|sent| sent.0);
        self.frame.progressive
            && sent.is_ok_and(|of| of.iter().any(|bits| bits[1..10].iter().any(|b| *b != Some(0))))
    }
}

/// The bit position that each coefficient of each component has been sent down to.
struct Sent(Vec<[Option<u32>; 64]>);

impl Sent {
    fn new(frame: &Frame, scans: &[Scan<'_>]) -> Result<Self, String> {
        let mut sent = vec![[None; 64]; frame.components.len()];
        for scan in scans {
            let (first, last) = if frame.progressive { scan.band } else { (0, 63) };
            let (high, low) = if frame.progressive { (scan.high, scan.low) } else { (0, 0) };
            for component in &scan.components {
                let bits: &mut [Option<u32>; 64] = &mut sent[component.index];
                if first > 0 && bits[0].is_none() {
                    return Err(corrupt("a scan of details comes before the one they refine"));
                }
                for bits in &mut bits[first..=last] {
                    let fits = match *bits {
                        None => high == 0,
                        Some(before) => high != 0 && before == high,
                    };
                    if !fits {
                        return Err(corrupt("its scans do not follow from one another"));
                    }
                    *bits = Some(low);
                }
            }
        }
        match sent.iter().position(|bits| bits[0].is_none()) {
            Some(absent) => Err(corrupt(&format!("no scan holds its component {absent}"))),
            None => Ok(Self(sent)),
        }
    }
}

pub(super) fn corrupt(what: &str) -> String {
    format!("corrupt JPEG: {what}")
}

/// The next marker from offset `at` on, and the offset behind it. Other bytes are passed over.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr(0xFF, bytes.get(at..)?)? + 1;
        // Any number of bytes FF may fill the space before a marker.
        at += bytes.get(at..)?.iter().position(|byte| *byte != 0xFF)?;
        if bytes[at] != 0 {
            return Some((bytes[at], at + 1));
        }
    }
}

fn be16(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// The tables in force while a file is read.
#[derive(Default)]
struct Tables<'a> {
    dc: [Option<Huffman<'a>>; 4],
    ac: [Option<Huffman<'a>>; 4],
    steps: [Option<[u16; 64]>; 4],
    restart_interval: usize,
}

impl<'a> Tables<'a> {
    fn huffman(&mut self, mut payload: &'a [u8]) -> Option<()> {
        while let Some((class, rest)) = payload.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let length = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(length)?;
            let tables = if class >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(class & 15))? = Some(Huffman { counts, symbols });
            payload = rest;
        }
        Some(())
    }

    fn quantization(&mut self, mut payload: &'a [u8]) -> Option<()> {
        while let Some((kind, rest)) = payload.split_first() {
            let (steps, rest): ([u16; 64], _) = if kind >> 4 == 0 {
                let (bytes, rest) = rest.split_first_chunk::<64>()?;
                (bytes.map(u16::from), rest)
            } else {
                let (bytes, rest) = rest.split_at_checked(128)?;
                (from_fn(|i| be16(&bytes[2 * i..]) as u16), rest)
            };
            *self.steps.get_mut(usize::from(kind & 15))? = Some(steps);
            payload = rest;
        }
        Some(())
    }
}

fn frame(marker: u8, payload: &[u8]) -> Result<Frame, String> {
    match marker {
        0xC3 | 0xC7 | 0xCB | 0xCF => return Err("a lossless JPEG is not supported".into()),
        0xC5 | 0xC6 | 0xCD | 0xCE => return Err("a hierarchical JPEG is not supported".into()),
        _ => {}
    }
    let wrong = || corrupt("the segment of its frame has the wrong length");
    let (head, rest) = payload.split_first_chunk::<6>().ok_or_else(wrong)?;
    let components = rest.chunks_exact(3).map(|c| Component {
        id: c[0],
        horizontal: usize::from(c[1] >> 4),
        vertical: usize::from(c[1] & 15),
        quantization: usize::from(c[2]),
    });
    let frame = Frame {
        width: be16(&head[3..]),
        height: be16(&head[1..]),
        precision: head[0],
        progressive: matches!(marker, 0xC2 | 0xCA),
        arithmetic: matches!(marker, 0xC9 | 0xCA),
        components: components.collect(),
    };
    if rest.len() != 3 * usize::from(head[5]) {
        return Err(wrong());
    }
    let usual = |factor| (1..=4).contains(&factor);
    if !frame.components.iter().all(|c| usual(c.horizontal) && usual(c.vertical)) {
        return Err(corrupt(&format!(
            "its sampling factors are {}, expected 1 to 4",
            frame.factors()
        )));
    }
    Ok(frame)
}

fn scan<'a>(frame: &Frame, tables: &Tables<'a>, payload: &[u8]) -> Result<Scan<'a>, String> {
    let wrong = || corrupt("the segment of a scan has the wrong length");
    let (&count, rest) = payload.split_first().ok_or_else(wrong)?;
    let (chosen, tail) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(wrong)?;
    let &[first, last, bits] = tail else { return Err(wrong()) };
    let mut components: Vec<ScanComponent<'a>> = Vec::with_capacity(4);
    for pair in chosen.chunks_exact(2) {
        let is_named = |(index, c): &(usize, &Component)| {
            c.id == pair[0] && components.iter().all(|other| other.index != *index)
        };
        let (index, component) =
            frame.components.iter().enumerate().find(is_named).ok_or_else(|| {
                corrupt(&format!("a scan names component {}, which is not in its frame", pair[0]))
            })?;
        let table = |tables: &[Option<_>; 4], number: u8| {
            tables.get(usize::from(number)).copied().flatten()
        };
        components.push(ScanComponent {
            index,
            dc: table(&tables.dc, pair[1] >> 4),
            ac: table(&tables.ac, pair[1] & 15),
            steps: tables.steps.get(component.quantization).copied().flatten(),
        });
    }
    let scan = Scan {
        components,
        band: (first.into(), last.into()),
        high: (bits >> 4).into(),
        low: (bits & 15).into(),
        restart_interval: tables.restart_interval,
        data: &[],
        has_its_restarts: false,
    };
    let blocks = |c: &ScanComponent<'_>| {
        frame.components[c.index].horizontal * frame.components[c.index].vertical
    };
    let blocks: usize = scan.components.iter().map(blocks).sum();
    if scan.components.len() > 1 && blocks > 10 {
        return Err(corrupt(&format!("a scan has {blocks} blocks in a unit; the most are 10")));
    }
    let (first, last) = scan.band;
    let is_band = if first == 0 { last == 0 } else { scan.components.len() == 1 };
    let is_step = scan.low <= 13 && (scan.high == 0 || scan.high == scan.low + 1);
    let is_valid = !frame.progressive || is_band && (first..64).contains(&last) && is_step;
    if scan.components.is_empty() || !is_valid {
        return Err(corrupt("the parameters of a scan are out of range"));
    }
    Ok(scan)
}

/// Reads a file's segments up to the marker that ends the JPEG, or to the end of its only scan.
pub(super) fn read(bytes: &[u8]) -> Result<Segments<'_>, String> {
    let (mut jfif, mut adobe) = (false, None);
    let mut found: Option<Frame> = None;
    let mut scans: Vec<Scan<'_>> = Vec::new();
    let mut tables = Tables::default();
    let mut at = 2;
    let end = loop {
        let (marker, behind) = next_marker(bytes, at).ok_or(TRUNCATED)?;
        match marker {
            0xD9 => break End::Marker(behind),
            0xD8 => return Err(corrupt("it begins again before it ends")),
            // Restart markers have no place here, but do no harm.
            0x01 | 0xD0..=0xD7 => {
                at = behind;
                continue;
            }
            _ => {}
        }
        let length = be16(bytes.get(behind..behind + 2).ok_or(TRUNCATED)?);
        let payload = bytes.get(behind..).and_then(|rest| rest.get(..length)).ok_or(TRUNCATED)?;
        let payload = payload.get(2..).ok_or_else(|| corrupt("a segment is too short"))?;
        at = behind + length;
        let wrong = || corrupt("a segment of tables has the wrong length");
        match marker {
            0xC4 => tables.huffman(payload).ok_or_else(wrong)?,
            0xDB => tables.quantization(payload).ok_or_else(wrong)?,
            0xDD => tables.restart_interval = be16(payload.get(..2).ok_or_else(wrong)?),
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                if found.is_some() {
                    return Err(corrupt("it has two frames"));
                }
                found = Some(frame(marker, payload)?);
            }
            0xE0 if scans.is_empty() => {
                jfif |= payload.len() >= 14 && payload.starts_with(b"JFIF\0");
            }
            0xEE if scans.is_empty() && payload.len() >= 12 && payload.starts_with(b"Adobe") => {
                adobe = Some(payload[11]);
            }
            0xDA => {
                let frame =
                    found.as_ref().ok_or_else(|| corrupt("a scan comes before the frame"))?;
                if scans.len() == MAX_SCANS {
                    return Err(corrupt(&format!("it has more than {MAX_SCANS} scans")));
                }
                let mut scan = scan(frame, &tables, payload)?;
                let (data, next, restarts) = entropy_coded(bytes, at);
                scan.data = data;
                let (columns, rows) = frame.units(scan.components.iter().map(|c| c.index));
                scan.has_its_restarts = restarts
                    == match scan.restart_interval {
                        0 => Some(0),
                        interval => Some((columns * rows).saturating_sub(1) / interval),
                    };
                at += data.len();
                let only = !frame.progressive && scan.components.len() == frame.components.len();
                scans.push(scan);
                if only && scans.len() == 1 {
                    // No decoder needs what follows, and cameras write there what they like.
                    break match next {
                        Some((0xD9, behind)) => End::Marker(behind),
                        Some(_) => End::Other(at),
                        None => End::File,
                    };
                }
            }
            _ => {}
        }
    };
    let frame = found.ok_or_else(|| corrupt("it has no frame"))?;
    if scans.is_empty() {
        return Err(corrupt("it has no scan"));
    }
    Sent::new(&frame, &scans)?;
    Ok(Segments { frame, scans, jfif, adobe, end })
}

/// The entropy-coded data from offset `at` on, the marker that ends it, and how many restart markers
/// it has (`None` if they are not in order).
fn entropy_coded(bytes: &[u8], at: usize) -> (&[u8], Option<(u8, usize)>, Option<usize>) {
    let mut from = at;
    let mut restarts = Some(0);
    loop {
        match next_marker(bytes, from) {
            Some((marker @ 0xD0..=0xD7, behind)) => {
                restarts =
                    restarts.filter(|count| count % 8 == usize::from(marker - 0xD0)).map(|n| n + 1);
                from = behind;
            }
            Some((marker, behind)) => {
                return (&bytes[at..behind - 2], Some((marker, behind)), restarts);
            }
            None => return (&bytes[at..], None, restarts),
        }
    }
}
