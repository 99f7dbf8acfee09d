//! INV-HOT, seen from outside: the engine's thread makes system calls for blocks of the log, and
//! none for an event; a lock that anybody waits for would be one, too.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use workload::badges::Badges;

use crate::place::{project, skipped};
use crate::services::program;

const EVENTS: u64 = 1_000_000;
/// A block of the log is some 1,600 events. It costs a read, and two waits or wakes: that the log
/// has grown, that the teller has room.
const EVENTS_PER_CALL_MIN: u64 = 100;
/// Its memory comes at the start, in pieces of a mebibyte (`src/room.rs`), and not by the page.
const PAGES_ASKED_MAX: u64 = 200;

#[test]
fn the_engine_makes_no_system_call_for_an_event() {
    let Some(strace) = program("strace") else {
        return skipped("strace is not there: install the package strace");
    };
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let trace = dir.path().join("trace");
    let mut command = Command::new(strace);
    command.args(["-f", "--decode-pids=comm", "-o"]).arg(&trace).current_dir(project());
    command.arg(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["run", "--listen", "127.0.0.1:0", "--until-end"]);
    command.args(["--config", "config/examples/ten-rules", "--data"]).arg(dir.path().join("data"));
    command.env("PORTCULLIS_LOG", "warn").stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{e}"));
    let mut stdin = child.stdin.take().unwrap_or_else(|| panic!("no stdin"));
    let (mut badges, mut text) = (Badges::new(42), String::new());
    for number in 1..=EVENTS {
        badges.line(&mut text);
        if number % 1_000 == 0 {
            stdin.write_all(text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
            text.clear();
        }
    }
    drop(stdin);
    assert!(child.wait().is_ok_and(|status| status.success()));
    let text = std::fs::read_to_string(&trace).unwrap_or_else(|e| panic!("{e}"));
    let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("<engine>")) {
        let call = line.split("> ").nth(1).and_then(|rest| rest.split_once('('));
        // The end of a call that was cut in two by another thread's has no name of its own.
        if let Some((name, _)) = call.filter(|(name, _)| !name.starts_with('<')) {
            *calls.entry(name).or_default() += 1;
        }
    }
    let all: u64 = calls.values().sum();
    println!("{EVENTS} events, {all} system calls of the engine's thread: {calls:?}");
    // Whatever the build, it waits for the log now and then, and its heap has grown.
    let of = |name: &str| calls.get(name).copied().unwrap_or_default();
    assert!(of("futex") > 0 && of("mprotect") > 0 && all > 100, "not traced: {calls:?}");
    assert!(of("mprotect") <= PAGES_ASKED_MAX, "memory comes little by little: {calls:?}");
    assert!(all * EVENTS_PER_CALL_MIN <= EVENTS, "{all} system calls: {calls:?}");
}
