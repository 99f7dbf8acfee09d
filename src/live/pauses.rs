//! What the engine's thread does at a stretch, by what it was: a detection waits that long at most for it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// Why the next event is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The block before it is judged.
    Judging,
    /// A block is copied out of the log.
    Reading,
    /// What was found has no room before the teller.
    Telling,
    /// A part of a snapshot is written into memory.
    Snapshot,
    /// Figures are copied to where others see them.
    Figures,
    /// The thread was ready, and other threads had the cores: the sum of some 20 ms, and a part of the others.
    Scheduling,
}

impl Cause {
    pub const ALL: [Self; 6] = [
        Self::Judging,
        Self::Reading,
        Self::Telling,
        Self::Snapshot,
        Self::Figures,
        Self::Scheduling,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Judging => "judging",
            Self::Reading => "reading",
            Self::Telling => "telling",
            Self::Snapshot => "snapshot",
            Self::Figures => "figures",
            Self::Scheduling => "scheduling",
        }
    }
}

/// Upper bounds of the histogram, and how Prometheus writes them.
const BOUNDS: [(Duration, &str); 8] = [
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_micros(250), "0.00025"),
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_millis(2), "0.002"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(20), "0.02"),
    (Duration::from_millis(100), "0.1"),
];

/// Pauses of one cause.
#[derive(Clone, Copy, Debug, Default)]
pub struct Histogram {
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: Duration,
    /// The longest.
    pub longest: Duration,
    within: [u64; BOUNDS.len()],
}

impl Histogram {
    /// Adds one.
    fn add(&mut self, pause: Duration) {
        self.count += 1;
        self.sum += pause;
        self.longest = self.longest.max(pause);
        // Nearly all are of the first.
        for ((bound, _), within) in BOUNDS.iter().zip(&mut self.within).rev() {
            if pause > *bound {
                break;
            }
            *within += 1;
        }
    }

    /// Upper bounds, and how many are within.
    pub fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        BOUNDS.iter().zip(self.within).map(|((_, bound), within)| (*bound, within))
    }
}

/// Pauses by cause, in the order of [`Cause::ALL`].
pub type Histograms = [Histogram; Cause::ALL.len()];

/// Looks at the clock between what the thread does.
pub struct Pauses {
    of: Histograms,
    last: Instant,
    /// What the system says of this thread, where it does.
    scheduled: Option<File>,
    waited: Duration,
    looked: Instant,
}

/// Between two looks at what the system says: each is a system call.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Pauses {
    /// Of the calling thread.
    pub fn begin() -> Self {
        let scheduled = File::open("/proc/thread-self/schedstat").ok();
        let mut begun = Self {
            of: Histograms::default(),
            last: Instant::now(),
            scheduled,
            waited: Duration::ZERO,
            looked: Instant::now(),
        };
        begun.waited = begun.waited_so_far().unwrap_or_default();
        begun
    }

    /// What has been done since the last call was this.
    pub fn lap(&mut self, cause: Cause) {
        let now = Instant::now();
        self.of[cause as usize].add(now - self.last);
        self.last = now;
    }

    /// There was nothing to do since the last call.
    pub fn idle(&mut self) {
        self.last = Instant::now();
    }

    /// All so far.
    pub fn so_far(&mut self) -> &Histograms {
        if self.last.duration_since(self.looked) >= LOOK_EVERY
            && let Some(waited) = self.waited_so_far()
        {
            self.looked = self.last;
            let more = waited.saturating_sub(self.waited);
            if more > Duration::ZERO {
                self.of[Cause::Scheduling as usize].add(more);
            }
            self.waited = waited;
        }
        &self.of
    }

    /// How long the thread has waited for a core since it began.
    fn waited_so_far(&self) -> Option<Duration> {
        let mut text = [0; 64];
        let len = self.scheduled.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..len]).ok()?;
        text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_in_each_bucket_that_it_fits() {
        let mut histogram = Histogram::default();
        for micros in [100, 101, 900, 30_000, 2_000_000] {
            histogram.add(Duration::from_micros(micros));
        }
        let within: Vec<_> = histogram.buckets().map(|(_, within)| within).collect();
        assert_eq!(within, [1, 2, 2, 3, 3, 3, 3, 4]);
        assert_eq!((histogram.count, histogram.longest), (5, Duration::from_secs(2)));
    }

    #[test]
    fn what_lies_between_two_looks_is_told_by_its_cause() {
        let mut pauses = Pauses::begin();
        let ago = |pauses: &mut Pauses| {
            pauses.last = pauses.last.checked_sub(Duration::from_millis(3)).expect("an instant");
        };
        ago(&mut pauses);
        pauses.idle();
        ago(&mut pauses);
        pauses.lap(Cause::Snapshot);
        let of = *pauses.so_far();
        assert!(of[Cause::Snapshot as usize].longest >= Duration::from_millis(3));
        assert_eq!(of[Cause::Snapshot as usize].count, 1);
        assert_eq!(of[Cause::Judging as usize].count, 0);
    }
}
