//! Loops of nothing but products of vectors.

/// A function that runs `$products`, which add to the registers `$sums`, again and again.
macro_rules! products {
    ($name:ident: $sums:literal, $($products:literal),*) => {
        pub(super) fn $name(loops: u64) {
            // SAFETY: computes in registers only, with instructions that exist: the backend that
            // calls it is the proof. The registers are zero, for which products take no longer.
            unsafe {
                std::arch::asm!(
                    ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    "vpxor xmm\\i, xmm\\i, xmm\\i",
                    ".endr",
                    "2:",
                    concat!(".irp i, ", $sums),
                    $($products,)*
                    ".endr",
                    "dec rcx",
                    "jnz 2b",
                    inout("rcx") loops.max(1) => _,
                    clobber_abi("sysv64"),
                    options(nomem, nostack),
                );
            }
        }
    };
}
pub(super) use products;
