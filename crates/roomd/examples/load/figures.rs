//! What is told at the end.

use std::fs;

/// How long copies were under way, in ns.
#[derive(Default)]
pub(crate) struct Latencies(Vec<i64>);

impl Latencies {
    pub(crate) fn add(&mut self, ns: i64) {
        self.0.push(ns);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In ms, below which that part of them lies.
    pub(crate) fn at(&self, part: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(((sorted.len() as f64 - 1.0) * part) as usize).map(|ns| *ns as f64 / 1e6)
    }
}

/// A number that looks drawn and is the same every time (SplitMix64).
pub(crate) fn phase(at: usize) -> i64 {
    let mut z = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 1) as i64
}

/// A process whose costs are told.
#[derive(Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// Time on a processor, of all its threads, in ns.
    pub(crate) fn cpu_ns(self) -> Option<i64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).ok()?;
        let times = tasks.flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<i64>().ok()
        });
        Some(times.sum())
    }

    pub(crate) fn resident_kb(self) -> Option<i64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?.trim().parse().ok()
    }
}
