//! What a process has used so far, as the kernel tells it: CPU time and memory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// The kernel counts CPU time in ticks of 1/100 s in what it shows to programs, whatever its own are.
const TICKS_PER_S: u64 = 100;

/// CPU time of a process and of those of its children that have ended: user and system together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu(Duration);

impl Cpu {
    /// Of this process.
    pub(crate) fn own() -> Result<Self> {
        Self::read(Path::new("/proc/self/stat"))
    }

    /// Of another process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Self::read(Path::new(&format!("/proc/{pid}/stat")))
    }

    /// Of several processes together.
    pub(crate) fn of_all(pids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let used = Self::of_each(pids)?;
        Ok(Self(used.into_iter().map(|one| one.0).sum()))
    }

    /// Of each of several processes, in their order.
    pub(crate) fn of_each(pids: impl IntoIterator<Item = u32>) -> Result<Vec<Self>> {
        pids.into_iter().map(Self::of).collect()
    }

    /// Of a server and of every process it has begun, those that have ended included.
    pub(crate) fn with_children(parent: u32) -> Result<Self> {
        let mut sum = Self::of(parent)?.0;
        for entry in std::fs::read_dir("/proc").context("cannot read /proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // one that ends between two looks is counted with its parent the next time
            if let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat"))
                && parent_of(&text) == Some(parent)
            {
                sum += Self::of(pid).unwrap_or_default().0;
            }
        }
        Ok(Self(sum))
    }

    /// What was used from `before` until this was read.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self(self.0.saturating_sub(before.0))
    }

    /// CPU seconds for 10,000 of `steps`.
    pub(crate) fn per_10k(self, steps: usize) -> f64 {
        self.0.as_secs_f64() * 10_000.0 / steps.max(1) as f64
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let ticks =
            ticks(&text).with_context(|| format!("{} is not as expected", path.display()))?;
        Ok(Self(Duration::from_millis(ticks * 1000 / TICKS_PER_S)))
    }
}

/// utime, stime, cutime and cstime: fields 14 to 17. The name in field 2 may hold anything, so count from its end.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields = after_name.split_ascii_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

/// Field 4.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Memory of a process, in kB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Memory {
    /// Most it ever had resident.
    pub(crate) peak_kb: u64,
    /// What it has resident now.
    pub(crate) now_kb: u64,
}

impl Memory {
    /// Of the largest of several processes.
    pub(crate) fn of_largest(pids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut largest = Self::default();
        for pid in pids {
            let one = Self::of(pid)?;
            if one.peak_kb > largest.peak_kb {
                largest = one;
            }
        }
        Ok(largest)
    }

    /// Of another process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
                .with_context(|| format!("{path} has no {name}"))
        };
        Ok(Self {
            peak_kb: line("VmHWM:")?,
            now_kb: line("VmRSS:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 55";
        assert_eq!(ticks(stat), Some(124));
        assert_eq!(ticks("nonsense"), None);
        assert_eq!(parent_of(stat), Some(1));
    }

    #[test]
    fn work_is_seen() {
        let before = Cpu::own().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while Cpu::own().unwrap().since(before).per_10k(10_000) < 0.05 {
            assert!(
                std::time::Instant::now() < deadline,
                "20 s of work and no CPU time counted"
            );
        }
        assert!(Memory::of(std::process::id()).unwrap().peak_kb > 0);
    }
}
