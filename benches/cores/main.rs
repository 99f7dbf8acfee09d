//! What a second thread gains: `cargo bench --bench cores`. Two sites, with the rules over all sites
//! and without them; both passes of a pair are run one after the other, and the median of the pairs
//! is printed. `PORTCULLIS_EVENTS` events (two million by itself, as lane B); it says where that is less than promised.
//! `chrt -r 5` before it keeps other programs off.
//!
//! What the machine gives is measured beside it: two programs at once, of one thread each, that share
//! nothing. Where those gain no more, it is the machine, or who else is at work on it. Before each pair two threads do
//! what touches no memory ([`machine`]): a virtual machine's processors are two threads of one core for some seconds, and
//! far from each other for some.

mod machine;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use machine::Machine;

/// Pairs of runs.
const PAIRS: usize = 11;

/// Before each under `chrt`, that keeps neighbours off: the system stops whoever runs so for most of a second.
/// Else there is none: the host of a virtual machine takes back memory that was free for a moment, and has to find it anew.
const PAUSE: Duration = Duration::from_millis(500);

fn main() {
    let events = std::env::var("PORTCULLIS_EVENTS").ok().and_then(|n| n.parse().ok());
    let dir = tempfile::tempdir().expect("a folder for the events");
    let file = dir.path().join("events.ndjson");
    std::fs::write(&file, traffic(events.unwrap_or(2_000_000))).expect("room for the events");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/ten-rules");
    let sites_only = dir.path().join("sites-only");
    std::fs::create_dir(&sites_only).expect("a folder for the configuration");
    for name in ["portcullis.yaml", "mappings/workload.yaml", "rules/ten.yaml"] {
        let (from, to) = (example.join(name), sites_only.join(name));
        let text = std::fs::read_to_string(from).expect("the example");
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::write(to, without_enterprise(&text)).expect("room for the configuration");
    }
    let lanes = [("site rules only", sites_only.as_path(), 1.8), ("all ten rules", &example, 1.5)];
    for (lane, config, promised) in lanes {
        let (mut gains, mut apart) = (Vec::new(), Vec::new());
        let (mut loops, mut trips, mut written) =
            (Vec::new(), Vec::new(), [const { Vec::new() }; 2]);
        for pair in 0..PAIRS {
            let machine = Machine::look();
            loops.push(machine.gain);
            trips.push(machine.round_trip);
            written.iter_mut().zip(machine.written).for_each(|(all, one)| all.push(one));
            let order = if pair % 2 == 0 { [1, 2] } else { [2, 1] };
            let mut runs = order.map(|threads| (threads, replay(config, &file, threads)));
            runs.sort_by_key(|(threads, _)| *threads);
            let [(_, one), (_, two)] = runs;
            assert_eq!(one.1, two.1, "two threads find something else");
            gains.push(one.0 / two.0);
            pause();
            let both = [start(config, &file, 1), start(config, &file, 1)].map(end);
            apart.push(2.0 * one.0 / both[0].0.max(both[1].0));
        }
        let (least, median, most) = spread(&mut gains);
        let verdict = if median < promised { "MISSED" } else { "kept" };
        println!(
            "{lane}: 2 threads are {median:.2} times as fast ({least:.2} to {most:.2}), promised {promised}: {verdict}; \
             two programs at once {:.2}",
            spread(&mut apart).1
        );
        let ((fewest, all, greatest), (near, _, far)) = (spread(&mut loops), spread(&mut trips));
        let [(least, _, usual), (_, _, past)] = written.each_mut().map(|all| spread(all));
        println!(
            "  the machine: two loops without memory {all:.2} ({fewest:.2} to {greatest:.2}), a line there and \
             back {near:.0} to {far:.0} ns, one that the other has read is written in {least:.1} to {usual:.1} ns \
             (past the caches at most {past:.1})"
        );
    }
}

/// Lets others run where this program goes before all ordinary ones, as the system's policy for it says.
fn pause() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything, the policy is the 39th.
    let policy = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(38));
    if matches!(policy, Some("1" | "2")) {
        std::thread::sleep(PAUSE);
    }
}

/// Least, median and greatest of one for each pair.
fn spread(of: &mut [f64]) -> (f64, f64, f64) {
    of.sort_by(f64::total_cmp);
    (of[0], of[PAIRS / 2], of[PAIRS - 1])
}

/// Seconds, and the hash of what was found.
fn replay(config: &Path, file: &Path, threads: usize) -> (f64, String) {
    pause();
    end(start(config, file, threads))
}

fn start(config: &Path, file: &Path, threads: usize) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["replay", "--json", "--threads", &threads.to_string(), "--config"]);
    let command = command.arg(config).arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program")
}

fn end(program: Child) -> (f64, String) {
    let output = program.wait_with_output().expect("its output");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let seconds = summary["seconds"].as_f64().expect("seconds");
    assert!(summary["incidents"].as_u64() > Some(0), "nothing found");
    (seconds, summary["hash"].to_string())
}

/// A rulebook without its rules over all sites.
fn without_enterprise(text: &str) -> String {
    let mut dropped = false;
    let kept = text.lines().filter(|line| {
        dropped = line.contains("scope: enterprise") || dropped && line.starts_with(' ');
        !dropped
    });
    kept.fold(String::new(), |text, line| text + line + "\n")
}

/// Badges, doors, counted people and alarms of two sites, an event every two milliseconds.
fn traffic(events: usize) -> String {
    let mut seed = 42_u64;
    let mut below = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let (mut text, mut inside, mut open) = (String::new(), vec![false; 20_000], VecDeque::new());
    for id in 0..events {
        let ts = 1_700_000_000_000 + 2 * id as u64;
        let _ = write!(text, "{{\"id\":{id},\"ts\":{ts},");
        let place = |door: u64| {
            let (site, zone) = (door / 1_000, door / 10);
            format!("\"site\":\"S{site}\",\"zone\":\"Z{zone:03}\",\"door\":\"D{door:04}\"")
        };
        let closes = open.front().is_some_and(|(due, _)| *due <= ts);
        let _ = match below(100) {
            _ if closes => {
                let (_, door) = open.pop_front().unwrap_or_default();
                writeln!(text, "\"src\":\"gate\",\"type\":\"close\",{}}}", place(door))
            }
            0..66 => {
                let badge = below(20_000);
                let home = if below(50) == 0 { badge + 1 } else { badge } % 2;
                let door = place(home * 1_000 + below(1_000));
                let denied = below(20) == 0;
                let inward = &mut inside[badge as usize];
                *inward ^= !denied && below(100) < 97;
                let (dir, reason) = (if *inward { "in" } else { "out" }, below(20));
                let reason =
                    ["unknown", "schedule", "revoked"][(reason / 12 + reason / 19) as usize];
                let (result, reason) = if denied { ("denied", reason) } else { ("granted", "ok") };
                writeln!(
                    text,
                    "\"src\":\"badge\",\"type\":\"swipe\",{door},\"badge\":\"B{badge:05}\",\"dir\":\"{dir}\",\"result\":\"{result}\",\"reason\":\"{reason}\"}}"
                )
            }
            66..81 => {
                let (door, forced) = (below(2_000), below(50) == 0);
                let kind = if forced { "forced" } else { "open" };
                if !forced {
                    open.push_back((ts + 8_000, door));
                }
                writeln!(text, "\"src\":\"gate\",\"type\":\"{kind}\",{}}}", place(door))
            }
            kind => {
                let zone = below(200);
                let place = format!("\"site\":\"S{}\",\"zone\":\"Z{zone:03}\"", zone / 100);
                if kind < 97 {
                    let heads = if below(50) == 0 { 30 } else { below(13) };
                    writeln!(
                        text,
                        "\"src\":\"cctv\",\"type\":\"headcount\",{place},\"cam\":\"C{zone:03}\",\"heads\":{heads}}}"
                    )
                } else {
                    writeln!(
                        text,
                        "\"src\":\"alarm\",\"type\":\"panic\",{place},\"sev\":{}}}",
                        1 + below(5)
                    )
                }
            }
        };
    }
    text
}
