//! CPU time by thread, as Linux counts it: user and system, in nanoseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Threads of a process by number: name and time.
#[derive(Clone, Debug, Default)]
pub struct Threads(BTreeMap<u32, (String, u64)>);

impl Threads {
    /// Reads those of a process; `self` is our own.
    pub fn of(process: &str) -> Self {
        let tasks = Path::new("/proc").join(process).join("task");
        let entries = std::fs::read_dir(&tasks).unwrap_or_else(|e| panic!("{tasks:?}: {e}"));
        let read = |entry: std::fs::DirEntry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // A thread may end between the two.
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            let times = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
            let time = times.split(' ').next()?.parse().ok()?;
            Some((number, (name.trim().to_owned(), time)))
        };
        Self(entries.flatten().filter_map(read).collect())
    }

    /// What went by since, by name; threads of one name are added up.
    pub fn since(&self, before: &Self) -> BTreeMap<String, u64> {
        let mut spent = BTreeMap::new();
        for (number, (name, time)) in &self.0 {
            let earlier = before.0.get(number).map_or(0, |(_, earlier)| *earlier);
            *spent.entry(name.clone()).or_default() += time - earlier;
        }
        spent
    }
}

/// Prints nanoseconds a message of each thread, and gives back their sum.
pub fn print(spent: &BTreeMap<String, u64>, messages: u64) -> f64 {
    print_median(std::slice::from_ref(spent), messages);
    spent.values().sum::<u64>() as f64 / messages as f64
}

/// Prints the medians of several runs: nanoseconds a message of each thread, and of all together.
pub fn print_median(runs: &[BTreeMap<String, u64>], messages: u64) {
    let median = |of: &dyn Fn(&BTreeMap<String, u64>) -> u64| {
        let mut all: Vec<_> = runs.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2] as f64 / messages as f64
    };
    let names: BTreeSet<_> = runs.iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        let each = median(&|spent| spent.get(name).copied().unwrap_or(0));
        if each > 0.0 {
            println!("  {name:<16} {each:8.1} ns a message");
        }
    }
    let sum = median(&|spent| spent.values().sum());
    println!("  {:<16} {sum:8.1} ns a message", "together");
}
