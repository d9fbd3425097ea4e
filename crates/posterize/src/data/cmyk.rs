//! Red, green and blue of cyan, magenta, yellow and black.

/// Pillow's conversion: each colour is the light that black leaves, less the ink's share of it.
/// Samples are the absence of ink, as Adobe stores them in JPEGs.
pub(super) fn cmyk_to_rgb([c, m, y, light]: [u8; 4]) -> [u8; 3] {
    [c, m, y].map(|absence| light - multiply(255 - absence, light))
}

/// `a * b / 255`, rounded.
fn multiply(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}
