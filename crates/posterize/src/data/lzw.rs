//! Decodes the codes of LZW (Welch, "A Technique for High-Performance Data Compression", 1984) in GIF
//! and TIFF.

/// Why codes do not give the values that they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There are fewer values.
    TooShort,
    /// A code stands for no string.
    UnknownCode,
}

/// The codes of a stream.
pub(super) trait Codes {
    /// Returns the next code, or `None` at the end of the stream.
    fn next(&mut self, width: u32) -> Option<usize>;
}

/// Number of bits of the longest codes.
pub(super) const MAX_WIDTH: u32 = 12;

/// Fills `out` with the values of a stream. What follows them in the stream is ignored.
///
/// Values have `bits` bits, at most [`MAX_WIDTH`], of which `out` gets the lowest 8. Codes get wider when `1 << width - early` strings are known: TIFF does
/// so one code earlier than GIF.
///
/// # Errors
/// Returns an error if the stream ends too early or has a code without a string.
pub(super) fn decode(
    mut codes: impl Codes,
    bits: u32,
    early: usize,
    out: &mut [u8],
) -> Result<(), Fault> {
    let (clear, end) = (1 << bits, (1 << bits) + 1);
    // A string is the one before it and the value behind that one, so all strings lie in what is
    // written: here are their starts and lengths.
    let (mut starts, mut lengths) = ([0_u32; 1 << MAX_WIDTH], [0_u16; 1 << MAX_WIDTH]);
    let (mut known, mut width) = (end + 1, bits + 1);
    let mut before: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < out.len() {
        let code = codes.next(width).ok_or(Fault::TooShort)?;
        if code == clear {
            (known, width, before) = (end + 1, bits + 1, None);
            continue;
        }
        if code == end {
            return Err(Fault::TooShort);
        }
        let start = at;
        if code < clear {
            out[at] = code as u8;
            at += 1;
        } else {
            let (mut from, length) = match before {
                Some(_) if code < known => (starts[code] as usize, usize::from(lengths[code])),
                Some((from, length)) if code == known => (from, length + 1),
                _ => return Err(Fault::UnknownCode),
            };
            // The string may reach into what is written here.
            for _ in 0..length.min(out.len() - at) {
                out[at] = out[from];
                (at, from) = (at + 1, from + 1);
            }
        }
        if let Some((from, length)) = before
            && known < starts.len()
        {
            (starts[known], lengths[known]) = (from as u32, (length + 1) as u16);
            known += 1;
            if known + early == 1 << width && width < MAX_WIDTH {
                width += 1;
            }
        }
        before = Some((start, at - start));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes that are given, with the widths that they are asked for.
    struct Given<'a>(&'a [usize], &'a mut Vec<u32>);

    impl Codes for Given<'_> {
        fn next(&mut self, width: u32) -> Option<usize> {
            self.1.push(width);
            let (&first, rest) = self.0.split_first()?;
            self.0 = rest;
            Some(first)
        }
    }

    fn decoded(codes: &[usize], early: usize, length: usize) -> (Result<Vec<u8>, Fault>, Vec<u32>) {
        let (mut out, mut widths) = (vec![0; length], Vec::new());
        let result = decode(Given(codes, &mut widths), 2, early, &mut out);
        (result.map(|()| out), widths)
    }

    #[test]
    fn strings_are_those_before_and_one_value_more() {
        // 4 is clear, 5 end. Code 6 is the string that it makes itself.
        let (values, widths) = decoded(&[4, 1, 6, 7, 0, 2], 0, 8);
        assert_eq!(values.unwrap(), [1, 1, 1, 1, 1, 1, 0, 2]);
        assert_eq!(widths, [3, 3, 3, 3, 4, 4]);
        // The last string is longer than what is asked for.
        assert_eq!(decoded(&[4, 1, 6, 7, 0], 0, 5).0.unwrap(), [1; 5]);
        // Clearing forgets the strings.
        assert_eq!(decoded(&[1, 6, 4, 4, 3, 6], 0, 6).0.unwrap(), [1, 1, 1, 3, 3, 3]);
        assert_eq!(decoded(&[4, 1, 6, 7, 0, 2], 1, 8).1, [3, 3, 3, 4, 4, 4]);
    }

    #[test]
    fn damaged_streams_are_errors() {
        assert_eq!(decoded(&[4, 1, 5, 1, 1], 0, 3).0, Err(Fault::TooShort));
        assert_eq!(decoded(&[4, 1], 0, 3).0, Err(Fault::TooShort));
        assert_eq!(decoded(&[4, 1, 7], 0, 3).0, Err(Fault::UnknownCode));
        assert_eq!(decoded(&[4, 6], 0, 3).0, Err(Fault::UnknownCode));
        assert_eq!(decoded(&[1, 6, 4, 6], 0, 9).0, Err(Fault::UnknownCode));
    }

    #[test]
    fn a_full_table_stays_as_it_is() {
        let codes = vec![1; 5000];
        let (values, widths) = decoded(&codes, 0, 5000);
        assert_eq!(values.unwrap(), vec![1; 5000]);
        assert_eq!(widths.last(), Some(&12));
    }
}
