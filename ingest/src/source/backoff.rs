//! Waits between attempts to connect: doubling, with jitter, so that the sources of a whole site
//! do not come back to their broker in one blow.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first wait.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// The longest wait: a broker that is back is noticed within this.
const WAIT_MAX: Duration = Duration::from_secs(8);

/// The waits of one source.
#[derive(Debug)]
pub struct Backoff {
    wait: Duration,
    random: u64,
}

impl Backoff {
    /// Begins at the shortest wait. The same seed gives the same jitter.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { wait: WAIT_MIN, random: seed | 1 }
    }

    /// With a seed that no other process has.
    #[must_use]
    pub fn random() -> Self {
        Self::new(RandomState::new().hash_one(std::process::id()))
    }

    /// How long to wait now: between half and the whole of a span that doubles from 0.1 to 8 s,
    /// never below 0.1 s.
    pub fn wait(&mut self) -> Duration {
        // xorshift64: the jitter decides nothing but who comes first.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = self.wait / 2;
        let part = (self.random >> 32) as f64 / f64::from(u32::MAX);
        let wait = (half + half.mul_f64(part)).max(WAIT_MIN);
        self.wait = (self.wait * 2).min(WAIT_MAX);
        wait
    }

    /// Tells how long the last connection stood: only one that outlasted the longest wait begins
    /// anew, or a broker that throws us out at once would be asked ten times a second.
    pub fn stood(&mut self, span: Duration) {
        if span >= WAIT_MAX {
            self.wait = WAIT_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_differ() {
        for seed in [1, 7, u64::MAX] {
            let mut backoff = Backoff::new(seed);
            let waits: Vec<_> = (0..20).map(|_| backoff.wait()).collect();
            assert!(waits.iter().all(|w| (WAIT_MIN..=WAIT_MAX).contains(w)), "{seed}: {waits:?}");
            assert!(waits[7..].iter().all(|w| *w >= WAIT_MAX / 2), "{seed}: {waits:?}");
            assert_ne!(waits[10], waits[11], "seed {seed}");
            backoff.stood(Duration::from_secs(1));
            assert!(backoff.wait() >= WAIT_MAX / 2);
            backoff.stood(WAIT_MAX);
            assert_eq!(backoff.wait(), WAIT_MIN);
        }
    }
}
