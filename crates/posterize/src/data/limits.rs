//! The limits of a picture's size, whatever its format.

#![cfg_attr(
    not(any(
        feature = "jpeg",
        feature = "png",
        feature = "webp",
        feature = "bmp",
        feature = "pnm"
    )),
    allow(dead_code, reason = "no decoder is compiled")
)]

/// The largest number of pixels of a picture: `2 * Image.MAX_IMAGE_PIXELS`, above which Pillow
/// refuses a picture as a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * (1024 * 1024 * 1024 / 4 / 3);

/// Checks the number of pixels of a picture.
///
/// # Errors
/// Returns a sentence if there are none or more than [`MAX_PIXELS`].
pub(super) fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("expected a picture with pixels, found {width} x {height}"));
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(()),
        _ => Err(format!(
            "expected at most {MAX_PIXELS} pixels, found {width} x {height}; make the picture \
             smaller"
        )),
    }
}
