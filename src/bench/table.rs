//! The figures for a terminal.

use std::fmt::Write as _;

use super::figures::{Latency, Step, Told};

/// A time in the unit that suits it.
pub fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..100_000 => format!("{:.2} ms", micros as f64 / 1e3),
        100_000..10_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A number with its thousands apart.
pub fn number(n: f64) -> String {
    let digits = format!("{n:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One step of the search.
pub fn step(step: &Step) -> String {
    format!(
        "{:>9} events/s  {:<17} visible p50 {:>8}, p99 {:>8}  {:.2} cores",
        number(step.rate),
        if step.kept_up { "kept up".to_owned() } else { format!("{:.1} s behind", step.behind) },
        time(step.visible_p50),
        time(step.visible_p99),
        step.cores_used,
    )
}

/// All of it.
pub fn of(told: &Told) -> String {
    let (run, mut out) = (&told.run, String::new());
    let Told { source, configuration, seed, machine, .. } = told;
    let _ = writeln!(
        out,
        "{source} · {configuration} · seed {seed} · {} events/s for {:.1} s · {} events",
        number(run.rate),
        run.events as f64 / run.rate,
        number(run.events as f64)
    );
    let _ = writeln!(out, "{}, {} cores, {}", machine.processor, machine.cores, machine.system);
    for warning in &told.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    let _ = writeln!(
        out,
        "\n{:<26} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "net of slack and holds", "p50", "p99", "p99.9", "max", "incidents"
    );
    let mut row = |name: &str, l: &Latency| {
        let [p50, p99, p99_9, max] = [l.p50, l.p99, l.p99_9, l.max].map(time);
        let count = number(l.count as f64);
        let _ = writeln!(out, "{name:<26} {p50:>10} {p99:>10} {p99_9:>10} {max:>10} {count:>10}");
    };
    row("due → detected", &run.detection);
    row("due → visible in the store", &run.visible);
    let late = &run.sent_late;
    let [p50, p99, p99_9, max] = [late.p50, late.p99, late.p99_9, late.max].map(time);
    let _ =
        writeln!(out, "{:<26} {p50:>10} {p99:>10} {p99_9:>10} {max:>10}", "of it, sent late by");
    let (p50, p99) = (time(told.disk.p50), time(told.disk.p99));
    let _ = writeln!(out, "{:<26} {p50:>10} {p99:>10}\n", "a bare fdatasync here");
    if let Some(throughput) = told.throughput {
        let least = if told.throughput_at_least { "at least " } else { "" };
        let _ = writeln!(out, "throughput  {least}{} events/s kept up with", number(throughput));
    }
    let _ = writeln!(
        out,
        "program     {} ns of CPU an event, {:.2} cores, {:.0} MiB at most",
        number(run.cpu_ns_per_event),
        run.cores_used,
        run.memory_max as f64 / 1_048_576.0
    );
    let noise = &run.noise;
    let [others, stolen, waited] =
        [noise.others, noise.stolen, noise.waited].map(|share| share * 100.0);
    let _ = writeln!(
        out,
        "machine     {others:.0} % for other programs, {stolen:.1} % for the host; the program waited for a \
         core {waited:.0} % as long as it ran"
    );
    let books = &run.books;
    let _ = writeln!(
        out,
        "books       {} sent, {} accounted for; {} incidents, {} of replay; {}",
        number(books.sent as f64),
        number(books.accounted as f64),
        number(books.incidents_found as f64),
        number(books.incidents_expected as f64),
        if books.faults.is_empty() { "nothing lost" } else { "THEY DO NOT BALANCE" },
    );
    out
}
