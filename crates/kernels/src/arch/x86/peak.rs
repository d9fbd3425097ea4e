//! Loops of multiply-adds on vector registers, for the measurement of peak throughput.

/// Defines a function that executes `$products` for each of the registers `$sums`, to which they
/// add, in a loop.
macro_rules! products {
    ($name:ident: $sums:literal, $($products:literal),*) => {
        pub(super) fn $name(loops: u64) {
            // SAFETY: the instructions access registers only, all of which are declared as
            // clobbered, and the CPU has them, because only the backend of that instruction set,
            // whose token proves it, calls this. The registers are zero, which does not make
            // products faster.
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
