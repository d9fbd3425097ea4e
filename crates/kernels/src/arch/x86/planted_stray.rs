//! What watches for stray accesses sees that of an intrinsic: a planted one ends its process.

use std::arch::x86_64::_mm_loadu_si128;
use std::hint::black_box;

use crate::int8::planted_strays::{PLANTED, run};

/// `scripts/sanitize` sets it.
const SANITIZED: &str = "POSTERIZE_SANITIZED";

/// The load of a vector whose last byte lies behind an allocation.
#[test]
fn the_sanitizer_sees_one_byte() {
    if std::env::var_os(SANITIZED).is_none() {
        eprintln!("skipped: needs a build with AddressSanitizer; run scripts/sanitize");
        return;
    }
    if let Ok(planted) = std::env::var(PLANTED) {
        let values = black_box(vec![1_u8; 40]);
        let at = values[values.len() - 16..].as_ptr().wrapping_add(planted.parse().unwrap());
        // SAFETY: within the allocation, or a byte behind it, for which the sanitizer ends the
        // process, started for that, before the load; where nothing does, the allocator's own
        // bytes follow.
        black_box(unsafe { _mm_loadu_si128(at.cast()) });
        return;
    }
    let within = run("arch::x86::planted_stray::the_sanitizer_sees_one_byte", "0");
    assert!(within.status.success(), "{within:?}");
    let behind = run("arch::x86::planted_stray::the_sanitizer_sees_one_byte", "1");
    let said = String::from_utf8_lossy(&behind.stderr);
    assert!(!behind.status.success() && said.contains("heap-buffer-overflow"), "{behind:?}");
}
