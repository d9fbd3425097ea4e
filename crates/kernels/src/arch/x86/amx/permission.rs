//! The operating system's permission to use AMX tiles, without which it does not save them.

use std::sync::OnceLock;

/// Proof that the operating system lets this process use tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permission(());

impl Permission {
    /// Requests permission for this process to use tiles, once; `None` if it was refused.
    ///
    /// This changes the process: from then on the system saves the tiles of every thread that uses
    /// any, and the alternate stacks of signal handlers must have room for them (8 KiB more).
    ///
    /// Only called where [`is_offered`] returned true.
    pub(super) fn request() -> Option<Self> {
        static PERMITTED: OnceLock<bool> = OnceLock::new();
        PERMITTED.get_or_init(system::request).then_some(Self(()))
    }
}

/// Returns whether the CPU has AMX-TILE and AMX-INT8 and the system offers tiles to processes. This
/// changes nothing. False on systems other than Linux. Only called where AVX-512 has been detected.
pub(super) fn is_offered() -> bool {
    static OFFERED: OnceLock<bool> = OnceLock::new();
    *OFFERED.get_or_init(system::is_offered)
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn is_offered() -> bool {
        false
    }

    pub(super) fn request() -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// The number of the state component of tiles, `XFEATURE_XTILEDATA`.
    const XTILEDATA: u64 = 18;

    pub(super) fn is_offered() -> bool {
        exists() && offered_components() >> XTILEDATA & 1 == 1
    }

    /// Whether the CPU has AMX-TILE and AMX-INT8 and the system saves tiles.
    #[allow(unused_unsafe, reason = "newer compilers than our oldest call cpuid safe")]
    fn exists() -> bool {
        // SAFETY: every x86-64 CPU has CPUID. The maximum leaf is checked first, because leaves
        // that do not exist return other data.
        let leaf = unsafe { (__cpuid(0).eax >= 7).then(|| __cpuid_count(7, 0)) };
        // Bits 24 and 25 are AMX-TILE and AMX-INT8.
        if leaf.is_none_or(|leaf| leaf.edx >> 24 & 3 != 3) {
            return false;
        }
        let states: u32;
        // SAFETY: reads the state components that the system has enabled, into registers only. The
        // instruction exists, because the detection of AVX-512 needs it.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") states, out("edx") _, options(nomem, nostack));
        }
        // Bits 17 and 18 are the tile configuration and the tile data.
        states >> 17 & 3 == 3
    }

    /// Returns the state components that processes may use, as bits, some of them only after a
    /// request: `arch_prctl(ARCH_GET_XCOMP_SUPP)`, see Linux's `Documentation/arch/x86/xstate.rst`.
    /// Returns 0 on kernels before 5.16 and in sandboxes that do not allow the call.
    pub(super) fn offered_components() -> u64 {
        const ARCH_GET_XCOMP_SUPP: usize = 0x1021;
        let mut components = 0u64;
        // SAFETY: the call writes 8 bytes to its second argument, which is valid for that.
        let result =
            unsafe { arch_prctl(ARCH_GET_XCOMP_SUPP, (&raw mut components).expose_provenance()) };
        if result == 0 { components } else { 0 }
    }

    /// Calls `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`; whether it succeeded. It fails
    /// in some sandboxes, and if a thread's alternate signal stack has no room for tiles.
    pub(super) fn request() -> bool {
        const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
        // SAFETY: the second argument is a number.
        unsafe { arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA as usize) == 0 }
    }

    /// Makes the system call; returns 0, or the negative number of an error.
    ///
    /// # Safety
    /// If the call reads or writes memory at `argument`, that memory must be valid for it.
    unsafe fn arch_prctl(code: usize, argument: usize) -> isize {
        const ARCH_PRCTL: isize = 158;
        let result: isize;
        // SAFETY: the caller guarantees what the call does with memory; `syscall` overwrites rcx and
        // r11, which are declared as clobbered.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") code,
                in("rsi") argument,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn offered_components_are_asked_for_without_a_request() {
            const ARCH_GET_XCOMP_PERM: usize = 0x1022;
            let permitted = || {
                let mut components = 0u64;
                // SAFETY: the call writes 8 bytes to its second argument.
                let result = unsafe {
                    arch_prctl(ARCH_GET_XCOMP_PERM, (&raw mut components).expose_provenance())
                };
                (result == 0).then_some(components)
            };
            // Kernels before 5.16 and some sandboxes do not know these calls.
            let Some(before) = permitted() else {
                assert_eq!(offered_components(), 0);
                return;
            };
            let offered = offered_components();
            // Every x86-64 system offers the registers of x87 and SSE, and permits no others than it
            // offers.
            assert_eq!((offered & 3, before & !offered), (3, 0), "{offered:#x} {before:#x}");
            assert_eq!(permitted(), Some(before));
            // SAFETY: the kernel refuses codes that it does not know.
            assert!(unsafe { arch_prctl(0x1fff, 0) } < 0, "no such call");
        }
    }
}
