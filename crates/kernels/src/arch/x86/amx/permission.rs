//! Requests the operating system's permission to use AMX tiles, without which it does not save
//! them.

use std::sync::OnceLock;

/// Requests permission for this process to use tiles, once; whether it was granted.
///
/// This changes the process: from then on the system saves the tiles of every thread that uses any,
/// and the alternate stacks of signal handlers must have room for them (8 KiB more). On systems
/// other than Linux, and on CPUs without tiles, returns false and changes nothing.
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

    /// Whether the CPU has AMX-TILE and AMX-INT8 and the system saves tiles. Only called where
    /// AVX-512 has been detected, so that `xgetbv` exists.
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

    /// Calls `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, see Linux's
    /// `Documentation/arch/x86/xstate.rst`; whether it succeeded. It fails on kernels before 5.16,
    /// in some sandboxes, and if a thread's alternate signal stack has no room for tiles.
    fn request_permission() -> bool {
        const ARCH_PRCTL: isize = 158;
        const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
        const XTILEDATA: usize = 18;
        let result: isize;
        // SAFETY: a system call that accesses no memory of this process; `syscall` overwrites rcx
        // and r11, which are declared as clobbered.
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
