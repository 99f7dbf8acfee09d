//! The log: what is durable survives, what is torn is cut, what is damaged is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{
    EventTime, Position, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId, StreamId,
};
use ingest::log::forgetful::{ForgetfulFiles, Left};
use ingest::log::{LogError, LogReader, LogWriter, Options, RealFiles};
use proptest::prelude::*;

fn block(from: u32, count: u32) -> RecordBlock {
    let mut block = RecordBlock::new();
    for n in from..from + count {
        let payload = format!("payload {n} {}", "x".repeat(n as usize % 50));
        block.push(&RecordRef {
            kind: RecordKind::Delivery,
            flags: RecordFlags::default(),
            stream: StreamId(n as u16 % 3),
            source: SourceId(1),
            recorded: EventTime(i64::from(n)),
            position: Position(0),
            topic: b"site/gate",
            payload: payload.as_bytes(),
            room: b"",
        });
    }
    block
}

fn dir() -> PathBuf {
    PathBuf::from("/log")
}

fn ok<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

fn open(files: &ForgetfulFiles, segment_bytes: u64) -> Result<LogWriter, LogError> {
    LogWriter::open(&dir(), Arc::new(files.clone()), Options { segment_bytes })
}

fn payloads(files: &ForgetfulFiles, writer: &LogWriter, bytes_max: usize) -> Vec<String> {
    let reader = LogReader::open(&dir(), Arc::new(files.clone()), writer.progress(), Position(0));
    let mut reader = ok(reader);
    let mut found = RecordBlock::new();
    while ok(reader.read(&mut found, bytes_max)) > 0 {}
    found.iter().map(|r| String::from_utf8_lossy(r.payload).into_owned()).collect()
}

fn wanted(count: u32) -> Vec<String> {
    block(0, count).iter().map(|r| String::from_utf8_lossy(r.payload).into_owned()).collect()
}

#[test]
fn real_files_give_back_what_was_written() {
    let temp = ok(tempfile::tempdir());
    let files = Arc::new(RealFiles);
    let mut writer =
        ok(LogWriter::open(temp.path(), files.clone(), Options { segment_bytes: 500 }));
    let mut all = RecordBlock::new();
    for n in 0..40 {
        let mut some = block(n * 5, 5);
        let end = ok(writer.append(&mut some));
        some.iter().for_each(|r| all.push(&r));
        assert_eq!(writer.progress().written(), end);
    }
    let durable = ok(writer.syncer().sync());
    assert_eq!(durable, writer.progress().written());
    drop(writer);

    let writer = ok(LogWriter::open(temp.path(), files.clone(), Options::default()));
    assert_eq!(writer.cut, 0);
    let mut reader = ok(LogReader::open(temp.path(), files, writer.progress(), Position(0)));
    let mut found = RecordBlock::new();
    while ok(reader.read(&mut found, 64)) > 0 {}
    assert_eq!(found.len(), 200);
    for (a, b) in found.iter().zip(all.iter()) {
        assert_eq!((a.position, a.stream, a.recorded), (b.position, b.stream, b.recorded));
        assert_eq!((a.topic, a.payload), (b.topic, b.payload));
        let mut again = RecordBlock::new();
        assert!(ok(reader.at(a.position, &mut again)));
        assert_eq!(again.get(0).payload, a.payload);
    }
    let middle = found.get(100).position;
    assert!(ok(reader.prune(middle)) > 5);
    assert!(reader.oldest() <= middle && reader.oldest() > Position(0));
    assert!(!ok(reader.at(Position(0), &mut RecordBlock::new())));
    let mut rest = RecordBlock::new();
    assert!(ok(reader.at(middle, &mut rest)), "what is not before the position stays");
}

#[test]
fn a_reader_finds_a_record_in_segments_made_after_it() {
    let files = ForgetfulFiles::default();
    let mut writer = ok(open(&files, 300));
    ok(writer.append(&mut block(0, 5)));
    let open = || LogReader::open(&dir(), Arc::new(files.clone()), writer.progress(), Position(0));
    let (mut looking, mut seeking) = (ok(open()), ok(open()));
    let mut all = RecordBlock::new();
    for n in 1..40 {
        let mut some = block(n * 5, 5);
        ok(writer.append(&mut some));
        some.iter().for_each(|record| all.push(&record));
    }
    // Of every segment the first record, one in its middle, and the last.
    for wanted in [180, 4, 101, 12, 0, 57, 140, 194] {
        let record = all.get(wanted);
        let mut found = RecordBlock::new();
        assert!(ok(looking.at(record.position, &mut found)), "{wanted}");
        assert_eq!(found.get(0).payload, record.payload);
    }
    ok(seeking.seek(all.get(143).position));
    let mut found = RecordBlock::new();
    while ok(seeking.read(&mut found, 100)) > 0 {}
    assert_eq!(found.len(), 195 - 143);
    assert_eq!(found.get(0).payload, all.get(143).payload);
}

#[test]
fn what_is_wanted_is_due_at_once_and_all_else_soon() {
    let mut writer = ok(open(&ForgetfulFiles::default(), 300));
    let (progress, syncer) = (writer.progress(), writer.syncer());
    let long = Duration::from_secs(3_600);
    let end = ok(writer.append(&mut block(0, 3)));
    assert!(progress.wait_wanted(Duration::ZERO), "nobody wants it, and it was waited for enough");
    progress.want(end);
    assert!(progress.wait_wanted(long));
    assert_eq!(ok(syncer.sync()), end);
    let waiting = {
        let progress = progress.clone();
        std::thread::spawn(move || progress.wait_wanted(long))
    };
    let end = ok(writer.append(&mut block(3, 3)));
    // Whoever waits for it wants it.
    assert!(!progress.wait_durable(end, Instant::now()));
    assert!(waiting.join().unwrap_or_default());
    assert_eq!(ok(syncer.sync()), end);
    ok(writer.append(&mut block(6, 3)));
    progress.end();
    assert!(progress.wait_wanted(long), "the rest, before it is over");
    ok(syncer.sync());
    assert!(!progress.wait_wanted(long));
}

#[test]
fn a_reader_follows_over_segments_and_wakes() {
    let files = ForgetfulFiles::default();
    let mut writer = ok(open(&files, 300));
    let progress = writer.progress();
    let reader = LogReader::open(&dir(), Arc::new(files.clone()), progress.clone(), Position(0));
    let mut reader = ok(reader);
    let follower = std::thread::spawn(move || {
        let mut found = RecordBlock::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        while found.len() < 300 && progress.wait_written(reader.position(), deadline) {
            ok(reader.read(&mut found, 100));
        }
        found.iter().map(|r| String::from_utf8_lossy(r.payload).into_owned()).collect::<Vec<_>>()
    });
    for n in 0..100 {
        ok(writer.append(&mut block(n * 3, 3)));
    }
    assert_eq!(follower.join().unwrap_or_default(), wanted(300));
}

/// INV-ACK: what was durable before a power cut is there after it, whatever else is torn.
#[test]
fn what_is_durable_survives_a_power_cut_at_any_byte() {
    for segment_bytes in [150, 100_000] {
        let files = ForgetfulFiles::default();
        let mut writer = ok(open(&files, segment_bytes));
        ok(writer.append(&mut block(0, 6)));
        ok(writer.syncer().sync());
        ok(writer.append(&mut block(6, 4)));
        let unsynced = files.unsynced();
        assert!(unsynced > 100);
        for left in (0..=unsynced).flat_map(|n| [Left::First(n), Left::ZerosThenLast(n)]) {
            let after = files.after_crash(left);
            let writer = ok(open(&after, segment_bytes));
            let found = payloads(&after, &writer, 70);
            assert!(found.len() >= 6 && found.len() <= 10, "{left:?}: {}", found.len());
            assert_eq!(found, wanted(found.len() as u32), "{left:?}");
            // And the log goes on from there.
            let mut writer = writer;
            ok(writer.append(&mut block(found.len() as u32, 3)));
            ok(writer.syncer().sync());
            let kept = after.after_crash(Left::First(0));
            let writer = ok(open(&kept, segment_bytes));
            assert_eq!(payloads(&kept, &writer, 70), wanted(found.len() as u32 + 3), "{left:?}");
        }
    }
}

#[test]
fn damage_before_the_end_is_an_error_that_names_its_place() {
    let files = ForgetfulFiles::default();
    let mut writer = ok(open(&files, 100_000));
    for n in 0..5 {
        ok(writer.append(&mut block(n, 1)));
        ok(writer.syncer().sync());
    }
    let path = Path::new("/log/0000000000000000.log");
    let after = files.after_crash(Left::First(0));
    after.flip(path, 20 + 28 + 3);
    match open(&after, 100_000) {
        Err(LogError::Damaged { segment, offset: 20, position: 0 }) => {
            assert_eq!(segment, "0000000000000000.log");
        }
        other => panic!("{other:?}"),
    }
    // A reader tells damage that comes while it reads.
    files.flip(path, 20 + 28 + 3);
    let reader = LogReader::open(&dir(), Arc::new(files.clone()), writer.progress(), Position(0));
    let mut reader = ok(reader);
    let read = reader.read(&mut RecordBlock::new(), 1_000);
    assert!(matches!(read, Err(LogError::Damaged { position: 0, .. })), "{read:?}");
}

#[test]
fn a_missing_segment_is_a_gap() {
    let temp = ok(tempfile::tempdir());
    let files = Arc::new(RealFiles);
    let mut writer = ok(LogWriter::open(temp.path(), files.clone(), Options { segment_bytes: 50 }));
    for n in 0..4 {
        ok(writer.append(&mut block(n * 2, 2)));
    }
    drop(writer);
    let mut names: Vec<_> = ok(std::fs::read_dir(temp.path())).map(|e| ok(e).path()).collect();
    names.sort();
    ok(std::fs::remove_file(&names[1]));
    let opened = LogWriter::open(temp.path(), files, Options::default());
    assert!(matches!(opened, Err(LogError::Gap(_))), "{opened:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Appends, syncs and power cuts in any order: the log is a prefix of what was written, and
    /// never shorter than what was durable.
    #[test]
    fn any_history_leaves_a_prefix(
        steps in proptest::collection::vec((0_u8..4, 0_usize..400), 1..30),
        segment_bytes in 60_u64..600,
    ) {
        let mut files = ForgetfulFiles::default();
        let mut writer = ok(open(&files, segment_bytes));
        let (mut written, mut durable) = (0_u32, 0_u32);
        for (step, left) in steps {
            match step {
                0 | 1 => {
                    let count = left as u32 % 5 + 1;
                    ok(writer.append(&mut block(written, count)));
                    written += count;
                }
                2 => {
                    ok(writer.syncer().sync());
                    durable = written;
                }
                _ => {
                    files = files.after_crash(Left::First(left));
                    writer = ok(open(&files, segment_bytes));
                    let found = payloads(&files, &writer, 90);
                    prop_assert!(found.len() as u32 >= durable && found.len() as u32 <= written);
                    prop_assert_eq!(&found, &wanted(found.len() as u32));
                    written = found.len() as u32;
                    durable = written;
                }
            }
        }
    }
}
