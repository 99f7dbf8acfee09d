//! Sees to it that judging does not wait for a processor while another idles. A thread that wakes up is put where it was
//! before, by many systems, also where that processor is busy with a stretch of the system's own that is not interrupted,
//! of milliseconds; and it stays there. Who appends to the log runs, and sees that judging has not come on.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ingest::log::Held;
use ingest::source::turns::bring_here;
use rustix::thread::{Pid, gettid, sched_getcpu};

/// Between two looks at least: judging what is appended at once takes less, waking up for it included.
const LOOK_EVERY: Duration = Duration::from_micros(95);

/// Who is further behind than that has been at work all the time, and nobody waits for a single detection.
const BACKLOG_BYTES: u64 = 512 << 10;

/// Of more than that, appended at once, judging takes longer than is looked apart, and nothing is wrong.
const FEW: usize = 400;

/// The thread that judges.
#[derive(Debug, Default)]
pub struct Judge {
    thread: AtomicI32,
    fetched: AtomicU64,
}

impl Judge {
    /// It is the calling one.
    pub fn is_here(&self) {
        self.thread.store(gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    }

    /// How often it was fetched.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Has it go on where the calling thread is.
    fn fetch(&self) {
        let Some(thread) = Pid::from_raw(self.thread.load(Ordering::Relaxed)) else { return };
        match bring_here(thread) {
            Ok(()) => drop(self.fetched.fetch_add(1, Ordering::Relaxed)),
            Err(error) => tracing::debug!(%error, "judging stays where it is"),
        }
    }
}

/// What was seen of it.
#[derive(Debug)]
pub struct Lookout {
    at: Instant,
    /// Up to where the log went, and judging had come.
    written: u64,
    judged: u64,
    /// Whether much was appended at once, at the last look or since.
    many: bool,
    /// Where judging stood when it was fetched, and to which processor.
    fetched: Option<(u64, usize)>,
}

impl Lookout {
    pub fn new() -> Self {
        Self { at: Instant::now(), written: 0, judged: 0, many: false, fetched: None }
    }

    /// So many records were appended. Where judging has not come on since the last look, and had something to do, it is
    /// fetched.
    pub fn look(&mut self, judge: &Judge, held: &Held, records: usize) {
        let now = Instant::now();
        self.many |= records > FEW;
        if now.duration_since(self.at) >= LOOK_EVERY {
            self.at = now;
            let few = !std::mem::replace(&mut self.many, records > FEW);
            if self.is_stuck(held.reached(), few, sched_getcpu()) {
                judge.fetch();
            }
        }
    }

    /// Whether it is to be fetched: once for each place where it stands, and from each processor.
    fn is_stuck(&mut self, (written, judged): (u64, u64), few: bool, cpu: usize) -> bool {
        let stands = judged == self.judged && judged < self.written;
        let soon = written.saturating_sub(judged) < BACKLOG_BYTES;
        (self.written, self.judged) = (written, judged);
        stands && few && soon && self.fetched.replace((judged, cpu)) != Some((judged, cpu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judging_is_fetched_once_where_it_stands_with_something_to_do() {
        let mut lookout = Lookout::new();
        let looks = [
            ((100, 0), false, "it has just come"),
            ((200, 100), false, "it has come on"),
            ((200, 100), true, "the second hundred was there at the last look"),
            ((300, 100), false, "once is enough"),
            ((300, 200), false, "it has come on, a part of the way"),
            ((300, 300), false, "it has come on"),
            ((300, 300), false, "there is nothing to do"),
            ((400, 300), false, "it has just come"),
            ((500, 300), true, "it stands again"),
        ];
        for (reached, wanted, why) in looks {
            assert_eq!(lookout.is_stuck(reached, true, 1), wanted, "{why}: {reached:?}");
        }
        assert!(lookout.is_stuck((600, 300), true, 2), "there it may come on");
        assert!(!lookout.is_stuck((700, 300), false, 3), "it may be at work for longer");
        assert!(!lookout.is_stuck((300 + BACKLOG_BYTES, 300), true, 4), "nobody waits");
    }

    #[test]
    fn only_who_judges_is_fetched() {
        let judge = Judge::default();
        judge.fetch();
        assert_eq!(judge.fetched(), 0, "nobody judges");
        judge.is_here();
        judge.fetch();
        assert_eq!(judge.fetched(), 1);
    }
}
