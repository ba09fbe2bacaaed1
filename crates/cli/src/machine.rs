//! What this machine is and has: processor, cores, memory.

use std::{collections::BTreeSet, fs, thread};

/// The processor's name, as the system gives it.
pub(crate) fn cpu_name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Processors that this process may use: affinity and container quotas respected.
pub(crate) fn num_logical_cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Physical cores that this process may use. Two threads on one core compute no faster than one.
pub(crate) fn num_physical_cores() -> usize {
    let logical = num_logical_cores();
    physical_cores(&|path| fs::read_to_string(path).ok()).map_or(logical, |it| it.clamp(1, logical))
}

/// Counts groups of hyperthreads among the processors that the scheduler may give us.
fn physical_cores(read: &dyn Fn(&str) -> Option<String>) -> Option<usize> {
    let status = read("/proc/self/status")?;
    let allowed = status.lines().find_map(|it| it.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = BTreeSet::new();
    for cpu in cpu_list(allowed.trim())? {
        let siblings = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        cores.insert(read(&siblings)?.trim().to_owned());
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// Raises the number of files and connections that this process may hold open to what it is allowed,
/// and gives it; none where there is no such limit.
pub(crate) fn raise_max_descriptors() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        // Who may not keeps what there is.
        let _ = setrlimit(Resource::Nofile, raised);
        getrlimit(Resource::Nofile).current.map(|it| usize::try_from(it).unwrap_or(usize::MAX))
    }
    #[cfg(not(unix))]
    None
}

/// Reads `0-3,8,10-11`.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    // More processors than any kernel is built for (8192), so a strange text stays cheap.
    const MAX_CPU: u32 = 1 << 16;
    let mut cpus = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if last > MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Bytes of memory that can be had without swapping, within the container's limit.
pub(crate) fn available_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let free = kib_line(&meminfo, "MemAvailable:")?;
    Some(container_bytes().map_or(free, |it| it.min(free)))
}

/// What is left of the control group's memory limit (version 2), if there is one.
fn container_bytes() -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse().ok()
    };
    // Pages of files count as used and are given back when they are needed.
    let stat = fs::read_to_string("/sys/fs/cgroup/memory.stat").unwrap_or_default();
    let file = stat.lines().find_map(|it| it.strip_prefix("inactive_file ")?.trim().parse().ok());
    let used = number("memory.current")?.saturating_sub(file.unwrap_or(0));
    Some(number("memory.max")?.saturating_sub(used))
}

/// The most memory that this process has had resident, in bytes (`VmHWM`).
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    kib_line(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The number of a line such as `VmHWM:   1234 kB`, in bytes.
fn kib_line(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|it| it.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_core_count_once() {
        let check = |allowed: &str, siblings: &dyn Fn(u32) -> String, expected| {
            let read = |path: &str| -> Option<String> {
                if path == "/proc/self/status" {
                    return Some(format!("Name:\tx\nCpus_allowed_list:\t{allowed}\n"));
                }
                let cpu = path.strip_prefix("/sys/devices/system/cpu/cpu")?.split('/').next()?;
                Some(siblings(cpu.parse().ok()?))
            };
            assert_eq!(physical_cores(&read), expected, "{allowed}");
        };
        check("0-7", &|cpu| format!("{},{}\n", cpu % 4, cpu % 4 + 4), Some(4));
        check("0-3", &|cpu| format!("{},{}\n", cpu % 4, cpu % 4 + 4), Some(4));
        check("0,4", &|cpu| format!("{},{}\n", cpu % 4, cpu % 4 + 4), Some(1));
        check("0-1", &|cpu| format!("{cpu}\n"), Some(2));
        check("nonsense", &|_| String::new(), None);
        check("0-4294967295", &|cpu| cpu.to_string(), None);
    }

    #[test]
    fn this_machine_has_a_core_and_memory() {
        assert!((1..=num_logical_cores()).contains(&num_physical_cores()));
        if cfg!(target_os = "linux") {
            assert!(available_bytes().is_some_and(|it| it > 1 << 20));
            assert!(peak_memory_bytes().is_some_and(|it| it > 1 << 16));
        }
    }

    #[test]
    fn a_line_of_kilobytes_is_read_in_bytes() {
        assert_eq!(kib_line("VmPeak: 9 kB\nVmHWM:\t  12 kB\n", "VmHWM:"), Some(12 * 1024));
        assert_eq!(kib_line("VmHWM: many kB\n", "VmHWM:"), None);
        assert_eq!(kib_line("", "VmHWM:"), None);
    }
}
