//! The limits of a picture's size and of the memory for decoding, whatever the format.

#![cfg_attr(
    not(any(
        feature = "jpeg",
        feature = "png",
        feature = "webp",
        feature = "bmp",
        feature = "pnm",
        feature = "gif",
        feature = "tiff"
    )),
    allow(dead_code, reason = "no decoder is compiled")
)]

pub(super) mod memory;

use self::memory::{Memory, Share};

/// The largest number of pixels of a picture: `2 * Image.MAX_IMAGE_PIXELS`, above which Pillow
/// refuses a picture as a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * (1024 * 1024 * 1024 / 4 / 3);

/// The memory in bytes that all threads together take to decode pictures, without the files. It is
/// what the largest progressive CMYK JPEG takes. A thread waits until there is enough for its
/// picture; a picture that takes more is an error.
pub const MAX_DECODING_BYTES: u64 = 2 << 30;

static DECODING: Memory = Memory::new(MAX_DECODING_BYTES);

/// A share of the memory for decoding.
pub(super) type Taken = Share<'static>;

/// A decoded picture: width, height, RGB values `[H, W, 3]` and the memory that they take.
pub(super) type Decoded = (usize, usize, Vec<u8>, Taken);

/// Checks a picture's size and takes the memory that decoding it takes, in bytes.
///
/// # Errors
/// Returns a sentence if the picture has no pixels or more than [`MAX_PIXELS`], or if the memory is
/// more than [`MAX_DECODING_BYTES`].
pub(super) fn admit(width: u64, height: u64, bytes: u64) -> Result<Taken, String> {
    check_size(width, height)?;
    DECODING.take(bytes)
}

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
