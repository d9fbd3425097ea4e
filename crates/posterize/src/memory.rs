//! The memory that this machine has, and amounts of memory as text.

use std::sync::OnceLock;

/// Returns the bytes of this machine's memory or, where it has less, of the control group that the
/// process is in; `usize::MAX` if neither is known.
pub(crate) fn machine_memory() -> usize {
    static MEMORY: OnceLock<usize> = OnceLock::new();
    *MEMORY.get_or_init(|| {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let machine = total_of_meminfo(&read("/proc/meminfo"));
        let group = read("/sys/fs/cgroup/memory.max").trim().parse().ok();
        [machine, group].into_iter().flatten().min().unwrap_or(usize::MAX)
    })
}

/// Returns the bytes of memory in the text of Linux's `/proc/meminfo`.
fn total_of_meminfo(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

/// Returns a number of bytes as text; `None` is more than any memory has.
pub(crate) fn human(bytes: Option<usize>) -> String {
    match bytes {
        Some(bytes) if bytes < 10 << 20 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        Some(bytes) if bytes < 10 << 30 => format!("{} MiB", bytes.div_ceil(1 << 20)),
        Some(bytes) => format!("{} GiB", bytes.div_ceil(1 << 30)),
        None => "more bytes than can be addressed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_read() {
        assert_eq!(total_of_meminfo("MemTotal:       100 kB\nMemFree: 2 kB\n"), Some(102_400));
        assert_eq!(total_of_meminfo("MemFree: 2 kB"), None);
        assert_eq!(total_of_meminfo("MemTotal: 36893488147419103232 kB"), None);
    }

    #[test]
    fn amounts_are_rounded_up_to_whole_units() {
        assert_eq!(human(Some(1025)), "2 KiB");
        assert_eq!(human(Some(10 << 20)), "10 MiB");
        assert_eq!(human(Some((10 << 30) + 1)), "11 GiB");
        assert_eq!(human(None), "more bytes than can be addressed");
    }
}
