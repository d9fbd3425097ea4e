//! Permission to use tiles, which are too much state for a system to save for every thread unasked.

use std::sync::OnceLock;

/// Asks the system, once, to let this process use tiles; whether it may.
///
/// This changes the process: from then on the system saves the tiles of every thread that uses any,
/// and the alternate stacks of signal handlers must have room for them (8 KiB more). Only Linux can
/// be asked; elsewhere, and where the CPU has no tiles, the answer is no and nothing changes.
pub(super) fn request() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(system::request)
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn request() -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    pub(super) fn request() -> bool {
        exists() && request_permission()
    }

    /// Whether the CPU has AMX-TILE and AMX-INT8, and the system saves tiles. Asked only where
    /// AVX-512 has been found, hence CPUID's leaf 7 and `xgetbv` exist.
    #[allow(unused_unsafe, reason = "newer compilers than our oldest call cpuid safe")]
    fn exists() -> bool {
        // SAFETY: every x86-64 CPU has CPUID; leaves it lacks are zero or others' bits, which is
        // why the greatest leaf is asked first.
        let leaf = unsafe { (__cpuid(0).eax >= 7).then(|| __cpuid_count(7, 0)) };
        // Bits 24 and 25: AMX-TILE and AMX-INT8.
        if leaf.is_none_or(|leaf| leaf.edx >> 24 & 3 != 3) {
            return false;
        }
        let states: u32;
        // SAFETY: reads the state components that the system has enabled; AVX-512 could not have
        // been detected without this instruction.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") states, out("edx") _, options(nomem, nostack));
        }
        // Bits 17 and 18: the configuration of tiles and their data.
        states >> 17 & 3 == 3
    }

    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, see Linux's
    /// `Documentation/arch/x86/xstate.rst`. Fails on kernels before 5.16, under some sandboxes,
    /// and where a thread's alternate signal stack has no room for tiles.
    fn request_permission() -> bool {
        const ARCH_PRCTL: isize = 158;
        const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
        const XTILEDATA: usize = 18;
        let result: isize;
        // SAFETY: a system call that touches no memory of ours; `syscall` overwrites rcx and r11.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XTILEDATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result == 0
    }
}
