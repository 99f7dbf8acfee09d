//! What two processors can do at all, at this moment: a virtual machine's are moved about. Two threads of one core gain
//! a fifth, whatever they do; two cores without a cache in common take some 300 ns for a line of memory there and back.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use event::streaming::replace_past_caches;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Laps of the loop, some 20 ms.
const LAPS: u64 = 20_000_000;
/// How often the line goes there and back.
const TURNS: u64 = 20_000;
/// Blocks that go from one thread to the other and back, lines of each, and how often one goes.
const BLOCKS: usize = 8;
const LINES: usize = 4_096;
const ROUNDS: usize = 200;

/// One look at it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// How many times as much two threads do that touch no memory.
    pub gain: f64,
    /// Nanoseconds for a line of memory there and back.
    pub round_trip: f64,
    /// Nanoseconds to write a line that the other has read, as usual and past the caches.
    pub written: [f64; 2],
}

/// A line of memory of its own, with the next of it that a processor may fetch along.
#[repr(align(128))]
struct Line(AtomicU64);

impl Machine {
    /// Looks. The threads are bound to the first two processors that the program may use.
    pub fn look() -> Self {
        let line = &Line(AtomicU64::new(0));
        let round_trip = std::thread::scope(|scope| {
            let to = |from: u64| {
                while line.0.load(Ordering::Acquire) != from {
                    spin_loop();
                }
                line.0.store(from + 1, Ordering::Release);
            };
            scope.spawn(move || {
                bind(1);
                (0..TURNS).for_each(|turn| to(2 * turn + 1));
            });
            let here = scope.spawn(move || {
                bind(0);
                let begin = Instant::now();
                (0..TURNS).for_each(|turn| to(2 * turn));
                begin.elapsed()
            });
            here.join().expect("it only counts").as_nanos() as f64 / TURNS as f64
        });
        let timed = |threads: usize| {
            let begin = Instant::now();
            std::thread::scope(|scope| {
                for number in 0..threads {
                    scope.spawn(move || {
                        bind(number);
                        black_box(busy(black_box(LAPS)))
                    });
                }
            });
            begin.elapsed().as_secs_f64()
        };
        let written = [written(|from, to| to.copy_from_slice(from)), written(replace_past_caches)];
        Self { gain: 2.0 * timed(1) / timed(2), round_trip, written }
    }
}

/// Nanoseconds a line, of blocks that the other thread reads and gives back.
fn written(write: fn(&[u64], &mut Vec<u64>)) -> f64 {
    let ((there, come), (back, again)) = (channel::<Vec<u64>>(), channel());
    for _ in 0..BLOCKS {
        back.send(vec![0; 8 * LINES]).expect("it is received below");
    }
    let spent = std::thread::scope(|scope| {
        scope.spawn(move || {
            bind(1);
            for block in come {
                black_box(block.iter().step_by(8).sum::<u64>());
                // Who writes may have ended.
                let _ = back.send(block);
            }
        });
        let here = scope.spawn(move || {
            bind(0);
            let (from, mut spent) = (vec![7; 8 * LINES], Duration::ZERO);
            for _ in 0..ROUNDS {
                let mut block = again.recv().expect("the other gives back");
                let begin = Instant::now();
                write(&from, &mut block);
                spent += begin.elapsed();
                there.send(block).expect("the other receives");
            }
            spent
        });
        here.join().expect("it only writes")
    });
    spent.as_nanos() as f64 / (ROUNDS * LINES) as f64
}

/// Six sums that do not wait for each other: as much as a core takes at once.
fn busy(laps: u64) -> u64 {
    let mut sums = [1_u64, 2, 3, 4, 5, 6];
    for lap in 0..laps {
        let [a, b, c, d, e, f] = sums;
        sums = [
            a.wrapping_add(lap) ^ b,
            b.rotate_left(5).wrapping_add(c),
            c ^ d >> 3,
            d.wrapping_add(a | 1),
            e.wrapping_sub(f) ^ lap,
            f.rotate_left(9) ^ e,
        ];
    }
    sums.iter().fold(0, |all, sum| all ^ sum)
}

fn bind(number: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cpu = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).cycle().nth(number);
    let mut own = CpuSet::new();
    cpu.into_iter().for_each(|cpu| own.set(cpu));
    // Where that is not allowed it may be moved: the figure is of wherever it is then.
    let _ = sched_setaffinity(None, &own);
}
