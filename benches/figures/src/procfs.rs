//! What the kernel says about a process: CPU time in nanoseconds and resident memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, bail};

/// CPU time of every thread of a process at one moment, and its time in the queue for a core, by
/// thread id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuTime(BTreeMap<u32, [u64; 2]>);

/// CPU time between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuSpent {
    pub(crate) nanos: u64,
    /// Time in which a thread could have run but other work had the core: how disturbed it was.
    pub(crate) waited_nanos: u64,
    /// Threads that ended in between: what they used since the first moment is not in `nanos`.
    pub(crate) exited_threads: usize,
}

impl CpuTime {
    /// Reads `/proc/PID/task/*/schedstat`, whose first two fields have nanosecond precision,
    /// while `/proc/PID/stat` counts in ticks of 10 ms.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Self::of_threads(pid, |_| true)
    }

    /// The same of the threads whose names are `wanted`.
    pub(crate) fn of_threads(pid: u32, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let tasks = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            let entry = entry?;
            let Some(tid) = entry.file_name().to_str().and_then(|s| s.parse().ok()) else {
                continue;
            };
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if !wanted(name.trim_end()) {
                continue;
            }
            let path = entry.path().join("schedstat");
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                // The thread has ended since the directory was read.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
                {
                    continue;
                }
                Err(error) => return Err(error).context("cannot read a thread's schedstat"),
            };
            let mut fields = text.split_ascii_whitespace().map(str::parse);
            let (Some(Ok(ran)), Some(Ok(waited))) = (fields.next(), fields.next()) else {
                bail!("a schedstat without CPU time: {text:?}");
            };
            threads.insert(tid, [ran, waited]);
        }
        Ok(CpuTime(threads))
    }

    /// What was spent from `earlier` to `self`.
    pub(crate) fn since(&self, earlier: &CpuTime) -> CpuSpent {
        let sum = |field: usize| {
            let of = |(tid, now): (&u32, &[u64; 2])| {
                let before = earlier.0.get(tid).map_or(0, |before| before[field]);
                now[field].saturating_sub(before)
            };
            self.0.iter().map(of).sum()
        };
        let gone = |tid: &&u32| !self.0.contains_key(*tid);
        CpuSpent {
            nanos: sum(0),
            waited_nanos: sum(1),
            exited_threads: earlier.0.keys().filter(gone).count(),
        }
    }
}

/// The anonymous resident memory of a process in bytes: heap and stacks, not mapped files.
pub(crate) fn rss_anon(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_rss_anon(&status).with_context(|| format!("{path} has no RssAnon"))
}

fn parse_rss_anon(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_new_and_ended_threads_is_told_apart() {
        let before = CpuTime(BTreeMap::from([(1, [100, 4]), (2, [50, 1])]));
        let after = CpuTime(BTreeMap::from([(1, [130, 6]), (3, [7, 9])]));
        let expected = CpuSpent {
            nanos: 37,
            waited_nanos: 11,
            exited_threads: 1,
        };
        assert_eq!(after.since(&before), expected);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmRSS:\t  9 kB\nRssAnon:\t     112 kB\nRssFile:\t 1 kB\n";
        assert_eq!(parse_rss_anon(status), Some(112 * 1024));
        assert_eq!(parse_rss_anon("Name:\tx\n"), None);
        assert!(rss_anon(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn work_shows_in_the_cpu_time_of_its_process() {
        let pid = std::process::id();
        let before = CpuTime::of(pid).unwrap();
        let mut sum = 0_u64;
        while CpuTime::of(pid).unwrap().since(&before).nanos == 0 {
            sum = std::hint::black_box((0..1_000_000_u64).fold(sum, u64::wrapping_add));
        }
    }
}
