//! The machine: which core serves and which one loads, open files, and what goes on record.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// The two cores of a measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// Takes the first two cores this process may run on and moves the calling thread to the
    /// load's; threads started from now on follow it there.
    ///
    /// With a single core, load and server would be measured in each other's way: an error.
    pub(crate) fn take() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (server, load) = (usable.next(), usable.next());
        ensure!(
            load.is_some(),
            "these figures need two cores, one for the server and one for the load; this process may use {}",
            allowed.count()
        );
        let cores = Cores {
            server: server.context("no core at all")?,
            load: load.context("no second core")?,
        };
        pin(cores.load)?;
        Ok(cores)
    }

    /// Runs `start` on the server's core: a process started by it stays there.
    pub(crate) fn on_server<T>(self, start: impl FnOnce() -> T) -> Result<T> {
        pin(self.server)?;
        let result = start();
        pin(self.load)?;
        Ok(result)
    }
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot move to core {core}"))
}

/// Lets this process, and those it starts, open as many files as the machine allows; says how many.
pub(crate) fn raise_open_files() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// What a reader needs to judge the figures.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    kernel: String,
    cores_allowed: u32,
    cores: Cores,
    open_files: u64,
    /// Of the last 1, 5 and 15 minutes, before the first run: other work disturbs the figures.
    load_average: String,
}

impl Machine {
    pub(crate) fn describe(cores: Cores, cores_allowed: u32, open_files: u64) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        let load = read("/proc/loadavg");
        let load: Vec<_> = load.split_ascii_whitespace().take(3).collect();
        Machine {
            cpu: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cores_allowed,
            cores,
            open_files,
            load_average: load.join(" "),
        }
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{}, Linux {}, server on core {} and load on core {} of {}, load average {}",
            self.cpu,
            self.kernel,
            self.cores.server,
            self.cores.load,
            self.cores_allowed,
            self.load_average
        )
    }
}

/// How many cores this process may run on.
pub(crate) fn cores_allowed() -> Result<u32> {
    Ok(sched_getaffinity(None)?.count())
}

/// The first line a program prints when asked for its version, or why there is none.
pub(crate) fn version_of(program: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or("says no version");
    Ok(line.trim().to_owned())
}
