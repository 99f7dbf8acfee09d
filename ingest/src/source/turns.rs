//! Threads that take turns at the same work, each on processors of its own: where one waits for a processor behind a
//! stretch of the system's that is not interrupted, another goes on. Each sleeps for as long as all of them have turns, so
//! that together they wake no more often than one would.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// What a thread does when it has done its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More of it, at once.
    Again,
    /// It waits for its next turn.
    Turn,
    /// All is done, for each of them.
    End,
}

/// Work that threads take turns at.
#[derive(Debug)]
pub struct Turns<T> {
    shared: Mutex<Shared<T>>,
    threads: u32,
    /// One of them has its turn each time that so much time is over.
    apart: Duration,
    begun: Instant,
    /// The thread that has its turn, as long as that is short.
    at_work: AtomicI32,
}

#[derive(Debug)]
struct Shared<T> {
    work: T,
    /// What came of the last step, and which thread did it.
    next: Next,
    last: Option<u32>,
}

impl<T> Turns<T> {
    /// For so many threads, at least one.
    pub fn new(work: T, threads: u32, apart: Duration) -> Self {
        let shared = Mutex::new(Shared { work, next: Next::Again, last: None });
        Self { shared, threads, apart, begun: Instant::now(), at_work: AtomicI32::new(0) }
    }

    /// The calling thread's turns, until all is done; from now on it keeps to processors that none of the others uses, where
    /// there are enough.
    pub fn take(&self, thread: u32, mut step: impl FnMut(&mut T) -> Next) {
        let own = self.own(thread);
        // A wish: where it is refused, nothing but time is lost.
        let keep_apart = || own.is_some_and(|own| sched_setaffinity(None, &own).is_ok());
        keep_apart();
        let own_id = gettid().as_raw_nonzero().get();
        while let Some(mut locked) = self.lock() {
            while locked.next != Next::End {
                // Whoever goes on and on is waited for.
                let short = locked.next == Next::Turn;
                self.at_work.store(if short { own_id } else { 0 }, Ordering::Relaxed);
                locked.next = step(&mut locked.work);
                if locked.next != Next::Again {
                    break;
                }
            }
            let over = locked.next == Next::End;
            let missed = locked.last.replace(thread) == Some(thread) && self.threads > 1;
            drop(locked);
            if over {
                return;
            }
            // Another may have moved it to where he was.
            if own.is_some_and(|own| !own.is_set(sched_getcpu())) {
                keep_apart();
            }
            // One who missed his turn cannot go on, and those who wait for it may be where he is.
            let now = Instant::now();
            let left = if missed { self.apart / 2 } else { self.until(thread, now) };
            std::thread::sleep(left);
        }
    }

    /// What has become of it; `None` where one of them has panicked.
    pub fn into_work(self) -> Option<T> {
        self.shared.into_inner().ok().map(|shared| shared.work)
    }

    /// The work, when it is nobody else's turn any more. `None` where another one has panicked at it.
    fn lock(&self) -> Option<MutexGuard<'_, Shared<T>>> {
        for patience in [self.apart / 3, Duration::ZERO] {
            match self.shared.try_lock() {
                Ok(locked) => return Some(locked),
                Err(TryLockError::Poisoned(_)) => return None,
                Err(TryLockError::WouldBlock) => {}
            }
            let Some(other) = Pid::from_raw(self.at_work.load(Ordering::Relaxed)) else { break };
            if patience.is_zero() {
                // It has begun and does not come to its end.
                let _ = move_here(other);
            }
            std::thread::sleep(patience);
        }
        self.shared.lock().ok()
    }

    /// Those processors that are a thread's own.
    fn own(&self, thread: u32) -> Option<CpuSet> {
        Some(own(&sched_getaffinity(None).ok()?, thread, self.threads))
    }

    /// How long it is from a moment until a thread's next turn.
    fn until(&self, thread: u32, now: Instant) -> Duration {
        let (first, round) = (self.begun + self.apart * thread, self.apart * self.threads);
        let into = now.saturating_duration_since(first).as_nanos() % round.as_nanos().max(1);
        round - Duration::from_nanos(into as u64)
    }
}

/// Those processors that are a thread's own of those that all may use: all, where there are fewer than threads.
fn own(allowed: &CpuSet, thread: u32, threads: u32) -> CpuSet {
    let cpus = || (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let mut own = CpuSet::new();
    cpus().skip(thread as usize).step_by(threads as usize).for_each(|cpu| own.set(cpu));
    if cpus().count() < threads as usize { *allowed } else { own }
}

/// Has a thread of this program that waits for a processor go on where the calling one is, at once. Where it goes later is,
/// as before, the system's affair; and whoever is bound to other processors is where he was.
///
/// # Errors
/// The system refused, or there is no such thread.
pub fn bring_here(thread: Pid) -> std::io::Result<()> {
    let allowed = sched_getaffinity(Some(thread))?;
    move_here(thread)?;
    Ok(sched_setaffinity(Some(thread), &allowed)?)
}

/// Binds a thread to the processor where the calling one is. One that may not be where it is is moved at once.
fn move_here(thread: Pid) -> rustix::io::Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(Some(thread), &here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_their_turns_one_after_the_other() {
        let turns = Turns::new((), 2, Duration::from_micros(300));
        let until = |thread, micros| {
            let now = turns.begun + Duration::from_micros(micros);
            micros + turns.until(thread, now).as_micros() as u64
        };
        let first: Vec<_> = [0, 1, 599, 600].map(|now| until(0, now)).to_vec();
        assert_eq!(first, [600, 600, 600, 1_200]);
        let second: Vec<_> = [300, 301, 899, 900].map(|now| until(1, now)).to_vec();
        assert_eq!(second, [900, 900, 900, 1_500]);
    }

    #[test]
    fn one_at_a_time_is_at_work_until_all_is_done() {
        let turns = Turns::new(Vec::new(), 3, Duration::from_micros(50));
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let turns = &turns;
                scope.spawn(move || {
                    turns.take(thread, |done| {
                        done.push(thread);
                        match done.len() {
                            1_000.. => Next::End,
                            many if many % 10 == 0 => Next::Turn,
                            _ => Next::Again,
                        }
                    });
                });
            }
        });
        let done = turns.into_work().expect("nobody has panicked");
        assert_eq!(done.len(), 1_000, "nothing is done behind the end");
        assert!((0..3).all(|thread| done.contains(&thread)), "each has had turns");
    }

    /// As where the system is busy on the processor of one that has its turn.
    #[test]
    fn one_that_does_not_come_to_its_end_is_moved_to_where_another_is() {
        const LONG: Duration = Duration::from_secs(30);
        let allowed = || sched_getaffinity(None).expect("processors");
        let several = allowed().count() > 1;
        let turns = Turns::new((0, None), 2, Duration::from_millis(1));
        let step = |(steps, moved): &mut (u32, Option<(Pid, CpuSet)>)| {
            *steps += 1;
            match (*steps, *moved) {
                (2, _) => {
                    let (before, begun) = (allowed(), Instant::now());
                    while several && allowed() == before {
                        assert!(begun.elapsed() < LONG, "nobody moved it");
                        std::thread::yield_now();
                    }
                    *moved = Some((gettid(), before));
                }
                // It is moved back behind its turn, or the next.
                (_, Some((thread, before))) if thread == gettid() && allowed() == before => {
                    return Next::End;
                }
                (steps, _) => assert!(steps < 10_000, "it does not go back to its own"),
            }
            Next::Turn
        };
        std::thread::scope(|scope| {
            scope.spawn(|| turns.take(1, step));
            turns.take(0, step);
        });
    }

    #[test]
    fn nobody_goes_on_with_work_at_which_another_has_panicked() {
        let turns = Turns::new(0, 2, Duration::from_micros(50));
        std::thread::scope(|scope| {
            let failing = scope.spawn(|| turns.take(0, |_| panic!("of this test")));
            assert!(failing.join().is_err());
            turns.take(1, |_| unreachable!("it is broken"));
        });
    }

    #[test]
    fn each_processor_is_one_threads_own() {
        let set = |cpus: &[usize]| {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|cpu| set.set(*cpu));
            set
        };
        let allowed = set(&[1, 2, 5, 8, 9]);
        assert_eq!(own(&allowed, 0, 2), set(&[1, 5, 9]));
        assert_eq!(own(&allowed, 1, 2), set(&[2, 8]));
        assert_eq!(own(&set(&[3]), 1, 2), set(&[3]), "there are too few");
        let kept = std::thread::spawn(|| {
            let turns = Turns::new((), 2, Duration::ZERO);
            let wanted = turns.own(1).expect("processors");
            turns.take(1, |()| {
                assert_eq!(sched_getaffinity(None).expect("processors"), wanted);
                Next::End
            });
        });
        kept.join().expect("it keeps to its own");
    }

    #[test]
    fn who_is_brought_here_may_go_where_it_might_before() {
        let (told, thread) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            move_here(gettid()).expect("it is ours");
            told.send(gettid()).expect("it is waited for");
            let _ = ended.recv();
        });
        let thread = thread.recv().expect("it has begun");
        let allowed = || sched_getaffinity(Some(thread)).expect("processors");
        let before = allowed();
        bring_here(thread).expect("it is ours");
        assert_eq!(allowed(), before);
        drop(end);
        other.join().expect("a thread");
    }
}
