//! Two programs or two configurations in turns, so that both meet the same moments of the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::figures::Figures;
use super::machine::{Disk, Machine};
use super::table::{number, time};
use super::{BenchArgs, sound, warnings};

/// A figure of both sides.
#[derive(Debug, Serialize)]
struct Compared {
    name: &'static str,
    unit: &'static str,
    a: Vec<f64>,
    b: Vec<f64>,
    /// B by A, turn by turn: the middle one, the least and the greatest.
    ratio: [f64; 3],
    verdict: String,
}

#[derive(Debug, Serialize)]
struct Told {
    a: String,
    b: String,
    source: &'static str,
    rate: f64,
    seed: u64,
    machine: Machine,
    disk: Disk,
    /// The turns, A and B in each.
    turns: Vec<[Figures; 2]>,
    compared: Vec<Compared>,
    warnings: Vec<String>,
}

/// What is compared: less is better.
type Figure = (&'static str, &'static str, fn(&Figures) -> f64);
const FIGURES: [Figure; 5] = [
    ("CPU an event", "ns", |run| run.cpu_ns_per_event),
    ("due → visible, p50", "µs", |run| run.visible.p50 as f64),
    ("due → visible, p99", "µs", |run| run.visible.p99 as f64),
    ("due → detected, p99", "µs", |run| run.detection.p99 as f64),
    ("memory at most", "MiB", |run| run.memory_max as f64 / 1_048_576.0),
];

/// Runs the comparison.
pub fn compare(args: &BenchArgs, sides: &[PathBuf], dir: &Path, disk: Disk) -> anyhow::Result<()> {
    let rate = args.rate.context("--compare needs a --rate that both keep up with")?;
    if args.rounds < 3 {
        bail!("--rounds {}: fewer than 3 turns show no spread", args.rounds);
    }
    let own = std::env::current_exe()?;
    let mut benches = Vec::new();
    for (name, side) in ["a", "b"].iter().zip(sides) {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        benches.push(match side {
            side if side.join("portcullis.yaml").is_file() => args.bench(&own, Some(side), &dir)?,
            side if side.is_file() => {
                args.bench(&std::path::absolute(side)?, args.config.as_deref(), &dir)?
            }
            side => bail!(
                "--compare {}: give a program, or a folder that holds portcullis.yaml",
                side.display()
            ),
        });
    }
    let mut turns = Vec::new();
    for turn in 0..args.rounds {
        // Who goes first alternates, too: ABBAAB…
        let first = benches[turn % 2].run("run", rate, args.seconds)?;
        let second = benches[1 - turn % 2].run("run", rate, args.seconds)?;
        sound(&first)?;
        sound(&second)?;
        turns.push(if turn % 2 == 0 { [first, second] } else { [second, first] });
        eprintln!("turn {} of {}", turn + 1, args.rounds);
    }
    let mut said: Vec<_> =
        turns.iter().flatten().flat_map(|run| warnings(run, args.broker.as_deref())).collect();
    said.sort();
    said.dedup();
    let told = Told {
        a: sides[0].display().to_string(),
        b: sides[1].display().to_string(),
        source: args.source.name(),
        rate,
        seed: args.seed,
        machine: Machine::look(),
        disk,
        compared: FIGURES.iter().map(|figure| one(figure, &turns)).collect(),
        turns,
        warnings: said,
    };
    print(&told);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&told)? + "\n";
        std::fs::write(path, text).with_context(|| format!("--json {}", path.display()))?;
    }
    if args.html.is_some() {
        eprintln!("a comparison has no page: take --json");
    }
    Ok(())
}

fn one((name, unit, of): &Figure, turns: &[[Figures; 2]]) -> Compared {
    let side = |n: usize| turns.iter().map(|turn| of(&turn[n])).collect::<Vec<_>>();
    let (a, b) = (side(0), side(1));
    let mut ratios: Vec<_> = a.iter().zip(&b).map(|(a, b)| b.max(1e-9) / a.max(1e-9)).collect();
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    let ratio = [ratios[ratios.len() / 2], least, most];
    Compared { name, unit, a, b, ratio, verdict: verdict(ratio) }
}

/// A difference is one where every turn says so.
fn verdict([middle, least, most]: [f64; 3]) -> String {
    let percent = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
    let spread = format!("{} to {}", percent(least), percent(most));
    match (least > 1.0, most < 1.0) {
        (false, true) => format!("B is better: {} ({spread})", percent(middle)),
        (true, false) => format!("A is better: B {} ({spread})", percent(middle)),
        _ => format!("not told apart ({spread})"),
    }
}

fn print(told: &Told) {
    println!(
        "A {}\nB {}\n{} · {} events/s · seed {} · {} turns · a bare fdatasync here: p50 {}, p99 {}",
        told.a,
        told.b,
        told.source,
        number(told.rate),
        told.seed,
        told.turns.len(),
        time(told.disk.p50),
        time(told.disk.p99)
    );
    for warning in &told.warnings {
        println!("warning: {warning}");
    }
    let middle = |all: &[f64]| {
        let mut all = all.to_vec();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!("\n{:<22} {:>12} {:>12}  verdict (B against A, turn by turn)", "", "A", "B");
    for c in &told.compared {
        let shown = |all: &[f64]| format!("{} {}", number(middle(all)), c.unit);
        println!("{:<22} {:>12} {:>12}  {}", c.name, shown(&c.a), shown(&c.b), c.verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn a_difference_is_one_that_every_turn_shows() {
        assert!(verdict([0.8, 0.7, 0.9]).starts_with("B is better: -20.0 %"));
        assert!(verdict([1.2, 1.01, 1.4]).starts_with("A is better: B +20.0 %"));
        assert!(verdict([0.8, 0.7, 1.01]).starts_with("not told apart"));
    }
}
