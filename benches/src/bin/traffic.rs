//! `traffic COUNT [SEED] [--badges N] [--shuffle MS]`: so many lines of the bench's traffic, to standard
//! output, of so many badges, each seen once before any is seen again;
//! shuffled, each comes up to so many milliseconds after its time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write as _;

use workload::badges::Badges;
use workload::random::Random;

const USAGE: &str = "traffic COUNT [SEED] [--badges N] [--shuffle MS]";

/// Lines that come later than their time, in the order they come.
struct Late {
    random: Random,
    most_ms: u64,
    waiting: BinaryHeap<Reverse<(u64, u64, String)>>,
}

impl Late {
    /// Takes the line of a time; gives those that have come by then.
    fn take(&mut self, number: u64, line: &str, out: &mut String) {
        let now = 2 * number;
        let comes = now + self.random.below(self.most_ms + 1);
        self.waiting.push(Reverse((comes, number, line.to_owned())));
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            out.extend(self.waiting.pop().map(|Reverse((.., line))| line));
        }
    }

    fn rest(&mut self, out: &mut String) {
        while let Some(Reverse((.., line))) = self.waiting.pop() {
            out.push_str(&line);
        }
    }
}

/// Count, the traffic, and by how much it is shuffled.
fn arguments() -> Option<(u64, Badges, u64, Option<u64>)> {
    let (mut numbers, mut badges, mut shuffle) = (Vec::new(), None, None);
    let mut args = std::env::args().skip(1);
    while let Some(argument) = args.next() {
        match argument.as_str() {
            "--badges" => badges = Some(args.next()?.parse().ok()?),
            "--shuffle" => shuffle = Some(args.next()?.parse().ok()?),
            number => numbers.push(number.parse().ok()?),
        }
    }
    let (count, seed) = match numbers[..] {
        [count] => (count, 42),
        [count, seed] => (count, seed),
        _ => return None,
    };
    let badges = badges.map_or_else(|| Badges::new(seed), |of| Badges::of(seed, of));
    Some((count, badges, seed, shuffle))
}

fn main() -> std::process::ExitCode {
    let Some((count, mut badges, seed, shuffle)) = arguments() else {
        eprintln!("{USAGE}");
        return std::process::ExitCode::FAILURE;
    };
    let late = |most_ms| Late { random: Random::new(seed), most_ms, waiting: BinaryHeap::new() };
    let mut late = shuffle.map(late);
    let mut out = std::io::stdout().lock();
    let (mut text, mut line) = (String::new(), String::new());
    for number in 1..=count {
        match &mut late {
            None => badges.line(&mut text),
            Some(late) => {
                line.clear();
                badges.line(&mut line);
                late.take(number, &line, &mut text);
                if number == count {
                    late.rest(&mut text);
                }
            }
        }
        if number % 1_000 == 0 || number == count {
            if out.write_all(text.as_bytes()).is_err() {
                return std::process::ExitCode::FAILURE;
            }
            text.clear();
        }
    }
    std::process::ExitCode::SUCCESS
}
