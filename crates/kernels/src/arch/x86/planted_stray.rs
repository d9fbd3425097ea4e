//! Tests that AddressSanitizer detects a stray access by an intrinsic.

use std::arch::x86_64::_mm_loadu_si128;
use std::hint::black_box;

use crate::int8::planted_strays::{PLANTED, run};

/// The environment variable with which `scripts/sanitize` tells that AddressSanitizer is in use.
const SANITIZED: &str = "POSTERIZE_SANITIZED";

/// Loads a vector whose last byte lies outside the allocation, in a process of its own.
#[test]
fn the_sanitizer_detects_one_byte() {
    if std::env::var_os(SANITIZED).is_none() {
        eprintln!("skipped: needs a build with AddressSanitizer; run scripts/sanitize");
        return;
    }
    if let Ok(planted) = std::env::var(PLANTED) {
        let values = black_box(vec![1_u8; 40]);
        let at = values[values.len() - 16..].as_ptr().wrapping_add(planted.parse().unwrap());
        // SAFETY: with `planted` = 0, all bytes are within the allocation. Otherwise the last one
        // lies outside, which is unsound on purpose: AddressSanitizer ends the process, which was
        // started for that, before the load. If it does not, the load reads bytes of the allocator.
        black_box(unsafe { _mm_loadu_si128(at.cast()) });
        return;
    }
    let within = run("arch::x86::planted_stray::the_sanitizer_detects_one_byte", "0");
    assert!(within.status.success(), "{within:?}");
    let behind = run("arch::x86::planted_stray::the_sanitizer_detects_one_byte", "1");
    let said = String::from_utf8_lossy(&behind.stderr);
    assert!(!behind.status.success() && said.contains("heap-buffer-overflow"), "{behind:?}");
}
