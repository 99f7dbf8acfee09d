//! What the machine does beside: a figure taken on a noisy machine says so.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Writes of the bare disk that are timed: two seconds of a slow one.
const SYNCS: usize = 200;
/// How long the calibration loop spins, before and after a run.
const SPIN: Duration = Duration::from_secs(2);
/// Turns of one lap of it: some ten microseconds.
const LAP: u64 = 20_000;
/// Ticks of a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// Shares past which figures are told to be noisy.
const STOLEN_MAX: f64 = 0.01;
const OTHERS_MAX: f64 = 0.10;
const JITTER_MAX: f64 = 1.5;
const WAITED_MAX: f64 = 0.25;
const STILL_MAX: u64 = 1_000;
const LATE_MAX: f64 = 0.001;
/// Who waits longer than that for the machine is late, in seconds.
const LATE: f64 = 0.001;

/// What the machine is.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub system: String,
}

impl Machine {
    pub fn look() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = file("/proc/cpuinfo");
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: name.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            system: format!("Linux {}", file("/proc/sys/kernel/osrelease").trim()),
        }
    }
}

/// What a bare write and `fdatasync` take on the disk of the data folder, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Disk {
    pub p50: u64,
    pub p99: u64,
}

impl Disk {
    /// Appends 4 KiB at a time.
    pub fn look(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("fdatasync");
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        let mut took = super::figures::micros();
        for _ in 0..SYNCS {
            let begun = Instant::now();
            file.write_all(&[7; 4096])?;
            file.sync_data()?;
            took.saturating_record(begun.elapsed().as_micros() as u64);
        }
        std::fs::remove_file(&path)?;
        Ok(Self { p50: took.value_at_quantile(0.5), p99: took.value_at_quantile(0.99) })
    }
}

/// CPU time in seconds, by `/proc/stat`.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    busy: f64,
    stolen: f64,
    all: f64,
}

impl Cpu {
    fn look() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line.split_whitespace().filter_map(|t| t.parse().ok()).collect();
        let at = |n: usize| ticks.get(n).copied().unwrap_or(0.0) / TICKS;
        let all: f64 = (0..8).map(at).sum();
        Self { busy: all - at(3) - at(4) - at(7), stolen: at(7), all }
    }
}

/// CPU seconds of a process, its threads included; 0 when it is gone.
pub fn cpu_of(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = text.rsplit_once(')') else { return 0.0 };
    let fields: Vec<f64> =
        rest.split_whitespace().skip(11).filter_map(|f| f.parse().ok()).collect();
    fields.iter().take(2).sum::<f64>() / TICKS
}

/// Seconds that the threads of a process could have run and had to wait for a core.
pub fn waited_of(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let waited = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<f64>().ok()
    });
    waited.sum::<f64>() / 1e9
}

/// Memory of a process in bytes: now, and at most so far.
pub fn memory_of(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1_024
    };
    (kib("VmRSS:"), kib("VmHWM:"))
}

/// How noisy it was.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Noise {
    /// Share of the CPU time that the host took away.
    pub stolen: f64,
    /// Share of the CPU time that programs which are not ours took.
    pub others: f64,
    /// Laps of a loop that does nothing else: the slowest of a hundred by the middle one.
    pub jitter: f64,
    /// The slowest of all of them, in microseconds: so long the machine stood still for who only spins.
    pub still: u64,
    /// Share of the time in which what is due would be a millisecond late or more by that alone, as one thread beside the
    /// run sees it: where it is a thousandth, a p99.9 below that is not to be expected.
    pub late: f64,
    /// How long the program's threads waited for a core, by how long they ran.
    pub waited: f64,
}

/// Listens from its making on.
pub struct Listening {
    before: Cpu,
    laps: Laps,
}

impl Listening {
    pub fn begin() -> Self {
        Self { laps: Laps::run(), before: Cpu::look() }
    }

    /// `ours`: CPU seconds of this program and those that it started, meanwhile; `waited`: as told.
    pub fn end(self, ours: f64, waited: f64) -> Noise {
        let after = Cpu::look();
        let all = (after.all - self.before.all).max(0.01);
        let others = (after.busy - self.before.busy - ours).max(0.0) / all;
        let stolen = (after.stolen - self.before.stolen).max(0.0) / all;
        let laps = Laps::run();
        let jitter = self.laps.jitter.max(laps.jitter);
        let (still, late) = (self.laps.slowest.max(laps.slowest), self.laps.late + laps.late);
        Noise { stolen, others, jitter, still, late: late / 2.0, waited }
    }
}

impl Noise {
    /// What to be told, where anything is. A broker that somebody else has started counts as another program.
    pub fn warnings(&self, broker: Option<&str>) -> Vec<String> {
        let mut said = Vec::new();
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        if self.others > OTHERS_MAX {
            let broker = broker.map(|at| format!(", the broker at {at} among them if it is here"));
            let (others, broker) = (percent(self.others), broker.unwrap_or_default());
            said.push(format!("other programs took {others} of the CPU time{broker}"));
        }
        if self.stolen > STOLEN_MAX {
            said.push(format!("the host took away {} of the CPU time", percent(self.stolen)));
        }
        if self.waited > WAITED_MAX {
            said.push(format!(
                "the program's threads waited for a core {} of the time that they ran: that is in \
                 the latencies",
                percent(self.waited)
            ));
        }
        if self.still > STILL_MAX {
            said.push(format!(
                "a loop that only spins stood still for {:.1} ms beside the run: latencies have such \
                 pauses of the machine's in them",
                self.still as f64 / 1e3
            ));
        }
        if self.late > LATE_MAX {
            said.push(format!(
                "what was due in {:.2} % of the time would have been 1 ms late or more for such pauses alone: do \
                 not expect a p99.9 below that",
                self.late * 100.0
            ));
        }
        if self.jitter > JITTER_MAX {
            said.push(format!(
                "the slowest of a hundred laps of an idle loop took {:.1} times the middle one's time",
                self.jitter
            ));
        }
        said
    }
}

/// Laps of a loop that does nothing else.
struct Laps {
    jitter: f64,
    /// In microseconds.
    slowest: u64,
    late: f64,
}

impl Laps {
    fn run() -> Self {
        let mut laps: Histogram<u64> = super::figures::micros();
        let begun = Instant::now();
        let mut late = 0.0;
        while begun.elapsed() < SPIN {
            let lap = Instant::now();
            let turns = (0..LAP).fold(0_u64, |sum, n| std::hint::black_box(sum ^ n));
            std::hint::black_box(turns);
            let took = lap.elapsed();
            late += (took.as_secs_f64() - LATE).max(0.0);
            laps.saturating_record(took.as_nanos() as u64);
        }
        let middle = laps.value_at_quantile(0.5).max(1);
        Self {
            jitter: laps.value_at_quantile(0.99) as f64 / middle as f64,
            slowest: laps.max() / 1_000,
            late: late / begun.elapsed().as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noisy_is_told_and_nothing_else() {
        let quiet = Noise {
            stolen: STOLEN_MAX,
            others: OTHERS_MAX,
            jitter: JITTER_MAX,
            still: STILL_MAX,
            late: LATE_MAX,
            waited: WAITED_MAX,
        };
        assert_eq!(quiet.warnings(None), Vec::<String>::new(), "a bound is still quiet");
        let others = Noise { others: 0.123, ..quiet };
        assert_eq!(others.warnings(None), ["other programs took 12.3 % of the CPU time"]);
        let said = others.warnings(Some("kafka:9092"));
        assert!(
            said[0].ends_with(", the broker at kafka:9092 among them if it is here"),
            "{said:?}"
        );
        for (noise, wanted) in [
            (Noise { stolen: 0.011, ..quiet }, "the host took away 1.1 %"),
            (Noise { waited: 0.26, ..quiet }, "waited for a core 26.0 %"),
            (Noise { still: 2_500, ..quiet }, "stood still for 2.5 ms"),
            (Noise { late: 0.0025, ..quiet }, "due in 0.25 % of the time"),
            (Noise { jitter: 1.6, ..quiet }, "took 1.6 times"),
        ] {
            let said = noise.warnings(Some("kafka:9092"));
            assert!(said.len() == 1 && said[0].contains(wanted), "{wanted}: {said:?}");
        }
    }
}
