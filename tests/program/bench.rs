//! `portcullis bench`: the figures are there and agree, in words, JSON and page; what is lost is told.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::{portcullis, skipped};
use crate::services::program;

/// The first incidents can be known a thousand events after they happened: the slack.
const LOAD: [&str; 6] = ["--rate", "1500", "--seconds", "2", "--seed", "7"];

/// How long the program is stopped for.
const PAUSE: Duration = Duration::from_millis(300);

fn bench(dir: &Path, further: &[&str]) -> (Output, Value) {
    let (json, page) = (dir.join("figures.json"), dir.join("page.html"));
    let mut command = portcullis();
    command.arg("bench").args(LOAD).args(further).arg("--data").arg(dir);
    command.arg("--json").arg(&json).arg("--html").arg(&page);
    let output = command.output().unwrap_or_else(|e| panic!("{e}"));
    let text = std::fs::read_to_string(&json).unwrap_or_default();
    (output, serde_json::from_str(&text).unwrap_or_default())
}

fn sound(dir: &Path, further: &[&str]) -> Value {
    let (output, told) = bench(dir, further);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("seed 7") && said.contains("nothing lost"), "{said}");
    let run = &told["run"];
    let books = &run["books"];
    assert_eq!((&books["sent"], &books["accounted"]), (&3_000.into(), &3_000.into()));
    assert_eq!(books["incidents_found"], books["incidents_expected"], "{books}");
    assert!(books["incidents_found"].as_u64() > Some(100), "{books}");
    let (detection, visible) = (&run["detection"], &run["visible"]);
    assert!(visible["count"].as_u64() > Some(30), "{visible}");
    assert_eq!(visible["count"], detection["count"], "each was concluded before it was seen");
    for q in ["p50", "p99", "p99_9", "max"] {
        let (concluded, seen) = (detection[q].as_u64(), visible[q].as_u64());
        assert!(seen > Some(0) && concluded <= seen, "{q}: {concluded:?}, {seen:?}");
    }
    assert!(run["cpu_ns_per_event"].as_f64() > Some(100.0) && run["kept_up"].is_boolean());
    assert!(run["memory_max"].as_u64() > Some(1 << 20) && told["disk"]["p99"].as_u64() > Some(0));
    let left =
        std::fs::read_dir(dir).map_or(0, |all| all.flatten().filter(|e| e.path().is_dir()).count());
    assert_eq!(left, 0, "the runs' folders are gone");
    told
}

#[test]
fn a_bench_through_a_pipe_tells_its_figures_in_words_json_and_page() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let told = sound(dir.path(), &[]);
    let page = std::fs::read_to_string(dir.path().join("page.html")).unwrap_or_default();
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
    assert!(page.matches("<svg").count() >= 4, "{} plots", page.matches("<svg").count());
    for rule in told["run"]["by_rule"].as_object().into_iter().flat_map(|rules| rules.keys()) {
        assert!(page.contains(&format!("<th>{rule}</th>")), "{rule} is not on the page");
    }
}

#[test]
fn a_bench_through_mosquitto_loses_nothing() {
    if program("mosquitto").is_none() {
        return skipped("Mosquitto is not there: no bench through it");
    }
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    sound(dir.path(), &["--source", "mqtt"]);
}

#[test]
fn a_delivery_that_is_lost_is_told() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (output, told) = bench(dir.path(), &["--lose", "77"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    assert!(said.contains("1 of 3000 deliveries are not accounted for"), "{said}");
    assert_eq!(told["run"]["books"]["accounted"], 2_999);
}

/// The program that a bench has put under load.
fn under_load(bench: u32) -> Option<u32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        let said = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        (parent == bench.to_string() && said.split('\0').nth(1) == Some("run")).then_some(pid)
    })
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "{name} {pid}");
}

/// Nothing is left out for being due while nobody could take it (coordinated omission).
#[test]
fn a_pause_of_the_program_is_in_the_latencies_of_what_was_due_in_it() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let figures = dir.path().join("figures.json");
    let mut command = portcullis();
    command.args(["bench", "--rate", "1500", "--seconds", "4", "--seed", "7", "--data"]);
    command.arg(dir.path()).arg("--json").arg(&figures);
    let bench = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut bench = bench.unwrap_or_else(|e| panic!("{e}"));
    let program = until("no program under load", || under_load(bench.id()));
    let log: PathBuf = ["run", "data", "log"].iter().collect();
    let log = dir.path().join(format!("portcullis-bench-{}", bench.id())).join(log);
    // A third of what is due has come.
    until("nothing is logged", || {
        let files = std::fs::read_dir(&log).ok()?.flatten();
        let bytes: u64 = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        (bytes > 2_000 * 140).then_some(())
    });
    signal("-STOP", program);
    let stopped = Instant::now();
    until("time stands still", || (stopped.elapsed() >= PAUSE).then_some(()));
    signal("-CONT", program);
    assert!(bench.wait().is_ok_and(|status| status.success()));
    let text = std::fs::read_to_string(&figures).unwrap_or_else(|e| panic!("{e}"));
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}"));
    let run = &told["run"];
    for latency in ["detection", "visible"] {
        assert!(run[latency]["max"].as_u64() > Some(200_000), "{latency}: {}", run[latency]);
    }
    // What was due early in it was waited for longer: all of it became visible at the end. A disk may have stood still
    // at another time, too.
    let sample = run["sample"].as_array().cloned().unwrap_or_default();
    let waited = sample.iter().filter_map(|one| Some((one[0].as_f64()?, one[1].as_f64()? / 1e6)));
    let mut ends: Vec<_> = waited.filter(|one| one.1 > 0.1).map(|one| one.0 + one.1).collect();
    ends.sort_by(f64::total_cmp);
    let together = ends.windows(3).any(|ends| ends[2] - ends[0] < 0.1);
    assert!(together, "due in the pause, and visible together: {ends:?}");
}

#[test]
fn a_comparison_has_a_verdict_with_its_spread() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let own = env!("CARGO_BIN_EXE_portcullis");
    let (output, told) = bench(dir.path(), &["--rounds", "3", "--compare", own, own]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(told["turns"].as_array().map(Vec::len), Some(3));
    let compared = told["compared"].as_array().cloned().unwrap_or_default();
    assert!(compared.iter().any(|c| c["name"] == "CPU an event"), "{compared:?}");
    for figure in compared {
        let [middle, least, most] = [0, 1, 2].map(|n| figure["ratio"][n].as_f64());
        assert!(least <= middle && middle <= most && least > Some(0.0), "{figure}");
        assert!(figure["verdict"].as_str().is_some_and(|v| v.contains(" to ")), "{figure}");
    }
}

#[test]
fn what_cannot_be_measured_says_what_to_change() {
    for (arguments, wanted) in [
        (&["--rate", "0"][..], "write a number above 0"),
        (&["--source", "kafka"], "needs --broker host:port"),
        (&["--broker", "127.0.0.1:1"], "goes with --source mqtt"),
        (&["--rate", "100", "--compare", "/nowhere", "/nowhere"], "give a program, or a folder"),
        (&["--compare", "a", "b"], "--rate"),
        (&["--rate", "10", "--seconds", "1"], "raise --rate or --seconds"),
    ] {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let mut command = portcullis();
        let output = command.arg("bench").args(arguments).arg("--data").arg(dir.path()).output();
        let output = output.unwrap_or_else(|e| panic!("{e}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{arguments:?}: {said}");
    }
}
