//! What the kernel tells of a container's CPU quota: a throttled process looks slow for no reason of
//! its own.

use super::catalog;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The CPU statistics of the cgroup of this process, where it has a quota.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct CpuStat {
    pub(super) periods: u64,
    pub(super) throttled_periods: u64,
    pub(super) throttled_seconds: f64,
}

/// Where the file may lie: version 2, then version 1 under both its names; inside a container the
/// group is often mounted as the root.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let own = group.trim_start_matches('/');
        let mounts: &[&str] = match controllers {
            "" => &[""],
            _ if controllers.split(',').any(|name| name == "cpu") => &["cpu,cpuacct", "cpu"],
            _ => continue,
        };
        for mount in mounts {
            found.push(root.join(mount).join(own).join("cpu.stat"));
            found.push(root.join(mount).join("cpu.stat"));
        }
    }
    found
}

fn parse(text: &str) -> Option<CpuStat> {
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .find(|(key, _)| *key == name)?
            .1
            .trim()
            .parse::<u64>()
            .ok()
    };
    // Version 1 counts nanoseconds.
    let micros = field("throttled_usec").map(|n| n as f64 / 1e6);
    let seconds = micros.or_else(|| field("throttled_time").map(|n| n as f64 / 1e9));
    Some(CpuStat {
        periods: field("nr_periods")?,
        throttled_periods: field("nr_throttled")?,
        throttled_seconds: seconds?,
    })
}

impl CpuStat {
    /// Reads it; `None` where there is no quota, or no cgroup.
    pub(super) fn read() -> Option<CpuStat> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let texts = candidates(&groups).into_iter();
        let mut texts = texts.filter_map(|path| std::fs::read_to_string(path).ok());
        texts.find_map(|text| parse(&text))
    }

    /// Appends the series in Prometheus' text format.
    pub(super) fn render(&self, out: &mut String) {
        let (periods, throttled) = (self.periods as f64, self.throttled_periods as f64);
        for (name, value) in [
            ("mcpd_cgroup_cpu_periods_total", periods),
            ("mcpd_cgroup_cpu_throttled_periods_total", throttled),
            (
                "mcpd_cgroup_cpu_throttled_seconds_total",
                self.throttled_seconds,
            ),
        ] {
            catalog::head(name, out);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let v2 = "usage_usec 9\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n";
        let v1 = "nr_periods 10\nnr_throttled 4\nthrottled_time 1500000000\n";
        let expected = CpuStat {
            periods: 10,
            throttled_periods: 4,
            throttled_seconds: 1.5,
        };
        assert_eq!([v2, v1].map(parse), [Some(expected); 2]);
        // Without a quota version 2 leaves the lines out.
        assert_eq!(parse("usage_usec 9\n"), None);
    }

    #[test]
    fn the_group_of_the_process_comes_before_the_root() {
        let paths = candidates("12:memory:/a\n3:cpu,cpuacct:/kube/pod1\n0::/x/y\n");
        let shown: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            shown,
            [
                "/sys/fs/cgroup/cpu,cpuacct/kube/pod1/cpu.stat",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.stat",
                "/sys/fs/cgroup/cpu/kube/pod1/cpu.stat",
                "/sys/fs/cgroup/cpu/cpu.stat",
                "/sys/fs/cgroup/x/y/cpu.stat",
                "/sys/fs/cgroup/cpu.stat",
            ]
        );
    }
}
