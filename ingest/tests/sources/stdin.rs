//! Standard input: lines wherever they are cut, a last one without an end, silence, a full intake.

use std::io::Write as _;

use event::{RecordFlags, RecordKind};
use ingest::source::stdin;

use super::{appending, deliveries, next, seen, settings, until, wiring};

const YAML: &str = "{id: pipe, type: file, files: ['-'], mappings: [canonical], payload_bytes_max: 20, idle_after: 20ms}";

#[test]
fn lines_of_a_pipe_are_deliveries_however_they_are_cut() {
    let (read, mut write) = std::io::pipe().unwrap();
    let (wiring, batches) = wiring(64);
    let running = stdin::start(&settings(YAML), appending(wiring), read, || {}).unwrap();
    assert_eq!(seen(&next(&batches))[0].kind, RecordKind::StreamOpened);
    let text = "{\"a\":1}\n\n  {\"b\":2} \r\n{\"long\":\"0123456789 0123456789\"}\n{\"c\":3}";
    for byte in text.as_bytes() {
        write.write_all(&[*byte]).unwrap();
    }
    drop(write);
    let (mut lines, mut kinds) = (Vec::new(), Vec::new());
    while kinds.last() != Some(&RecordKind::StreamEnded) {
        let batch = next(&batches);
        kinds.extend(seen(&batch).iter().map(|s| s.kind));
        lines.extend(deliveries(&batch));
    }
    let texts: Vec<_> = lines.iter().map(|s| String::from_utf8_lossy(&s.payload)).collect();
    assert_eq!(texts, ["{\"a\":1}", "{\"b\":2}", "{\"long\":\"0123456789 ", "{\"c\":3}"]);
    let cut: Vec<_> = lines.iter().map(|s| s.flags.has(RecordFlags::OVERSIZE)).collect();
    assert_eq!(cut, [false, false, true, false]);
    until("its end is told", || !running.state().connected);
    assert_eq!(running.state().deliveries, 4);
}

#[test]
fn a_silent_pipe_is_idle_and_does_not_keep_the_program() {
    let (read, mut write) = std::io::pipe().unwrap();
    let (wiring, batches) = wiring(64);
    let running = stdin::start(&settings(YAML), appending(wiring), read, || {}).unwrap();
    next(&batches);
    assert_eq!(seen(&next(&batches))[0].kind, RecordKind::StreamIdle);
    writeln!(write, "{{}}").unwrap();
    assert_eq!(deliveries(&next(&batches)).len(), 1);
    // The pipe is open, and its reader waits for it.
    running.stop();
}
