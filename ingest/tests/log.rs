//! The log: what is durable survives, what is torn is cut, what is damaged is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{
    EventTime, Origin, Position, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId,
    StreamId,
};
use ingest::log::forgetful::{ForgetfulFiles, Left};
use ingest::log::{Lack, LogError, LogReader, LogWriter, Options, Payloads, RealFiles};
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

fn segments_of(segment_bytes: u64) -> Options {
    Options { segment_bytes, ..Options::default() }
}

fn open(files: &ForgetfulFiles, segment_bytes: u64) -> Result<LogWriter, LogError> {
    LogWriter::open(&dir(), Arc::new(files.clone()), segments_of(segment_bytes))
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
    let mut writer = ok(LogWriter::open(temp.path(), files.clone(), segments_of(500)));
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

/// It never lets go of what is not durable: the files look.
#[test]
fn the_system_need_not_keep_what_was_durable_so_many_bytes_ago() {
    for (segment_bytes, cached_bytes) in [(1_000, 3_000), (100_000, 500), (700, 1), (5_000, 5_000)]
    {
        let files = ForgetfulFiles::default();
        let options = Options { segment_bytes, cached_bytes };
        let mut writer = ok(LogWriter::open(&dir(), Arc::new(files.clone()), options));
        for n in 0..200 {
            ok(writer.append(&mut block(n * 5, 5)));
            let durable = writer.progress().durable().0;
            let old = durable.saturating_sub(cached_bytes);
            // With heads of segments, and a step later.
            let heads = 20 * (1 + old / segment_bytes);
            let told = files.uncached();
            let least = old.saturating_sub(cached_bytes);
            assert!((least..=old + heads).contains(&told), "{told} of {old}, {options:?}");
            if n % 3 == 0 {
                ok(writer.syncer().sync());
            }
        }
        assert!(files.uncached() > 40_000, "{} of {options:?}", files.uncached());
        assert_eq!(wanted(1_000), payloads(&files, &writer, 10_000));
    }
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
    // What an acknowledgement waits for may be durable before it does.
    let (looked, looks) = std::sync::mpsc::channel();
    let syncing = progress.clone();
    std::thread::spawn(move || looked.send(syncing.wait_wanted(long)));
    progress.ask(true);
    assert_eq!(looks.recv_timeout(Duration::from_secs(20)), Ok(true), "it is looked for");
    progress.ask(false);
    assert!(progress.wait_wanted(Duration::ZERO), "so it is where nobody is in a hurry");
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

/// Whoever follows does not wait for the file; what stands in none is not durable.
#[test]
fn what_is_in_no_file_yet_is_read() {
    for segment_bytes in [150, 100_000] {
        let files = ForgetfulFiles::default();
        let writer = ok(open(&files, segment_bytes));
        let (progress, syncer) = (writer.progress(), writer.syncer());
        let (mut log, mut filer) = writer.split();
        let open =
            || LogReader::open(&dir(), Arc::new(files.clone()), progress.clone(), Position(0));
        let (mut reader, mut looking) = (ok(open()), ok(open()));
        let (mut found, mut filed) = (RecordBlock::new(), Position(0));
        for n in 0..40 {
            let mut some = block(n * 5, 5);
            let end = ok(log.take(&mut some));
            assert_eq!(progress.written(), end);
            for place in [4, 0, 2] {
                let mut again = RecordBlock::new();
                assert!(ok(looking.at(some.get(place).position, &mut again)));
                assert_eq!(again.get(0).payload, some.get(place).payload);
            }
            ok(reader.read(&mut found, 40 + n as usize * 37 % 500));
            if n % 7 == 3 {
                ok(filer.write());
                filed = end;
            }
            assert_eq!(ok(syncer.sync()), filed, "what is in no file is not durable");
        }
        while ok(reader.read(&mut found, 64)) > 0 {}
        let payloads = found.iter().map(|r| String::from_utf8_lossy(r.payload).into_owned());
        assert_eq!(payloads.collect::<Vec<_>>(), wanted(200));
        ok(filer.write());
        assert_eq!(ok(syncer.sync()), progress.written());
    }
}

/// Blocks as they were appended, frames out of memory and frames out of files are the same records.
#[test]
fn whoever_follows_sees_what_the_log_holds() {
    let seen = |found: &RecordBlock| -> Vec<_> {
        let of = |r: RecordRef<'_>| {
            let texts = (r.topic.to_vec(), r.payload.to_vec());
            (r.kind, r.flags, r.stream, r.source, r.recorded, r.position, texts)
        };
        found.iter().map(of).collect()
    };
    let files = ForgetfulFiles::default();
    let writer = ok(open(&files, 1 << 20));
    let progress = writer.progress();
    let (mut log, mut filer) = writer.split();
    let open = || LogReader::open(&dir(), Arc::new(files.clone()), progress.clone(), Position(0));
    let (mut following, mut found) = (ok(open()), Arc::default());
    let (mut followed, mut whole) = (Vec::new(), 0);
    let mut follow = |steps: usize| {
        for _ in 0..steps {
            let some = ok(following.follow(&mut found, 48 << 10));
            assert_eq!(some, found.len());
            whole += usize::from(found.len() > 1_000);
            followed.extend(seen(&found));
        }
    };
    let long = vec![b't'; 70_000];
    follow(1);
    for n in 0..200 {
        let mut some = block(n, [1, 2_000, 3, 900, 1_500][n as usize % 5]);
        if n == 100 {
            let (one, mut cut) = (block(0, 1), RecordBlock::new());
            cut.push(&RecordRef { topic: &long, ..one.get(0) });
            some = cut;
        }
        if n % 10 == 7 {
            some = places(i64::from(n) * 1_000, [4, 900][n as usize / 10 % 2]);
        }
        ok(log.take(&mut some));
        // It comes up with the log, falls so far behind that it has to read files, and comes up again.
        follow([3, 2, 0, 9, 1, 1, 9][n as usize / 30]);
        if n % 3 == 0 {
            ok(filer.write());
        }
    }
    follow(200);
    assert!(whole >= 75, "{whole} blocks were followed as they were appended");
    let (mut reader, mut all) = (ok(open()), RecordBlock::new());
    while ok(reader.read(&mut all, 64 << 10)) > 0 {}
    assert!(followed == seen(&all), "{} records of {}", followed.len(), all.len());
}

/// However appends and writes fall together, all that was taken is written.
#[test]
fn nothing_is_taken_into_what_is_written_already() {
    let files = ForgetfulFiles::default();
    let (mut log, mut filer) = ok(open(&files, u64::MAX)).split();
    let progress = log.progress().clone();
    let wanted = 30_000;
    let taking = std::thread::spawn(move || {
        let mut end = Position(0);
        for n in 0..wanted {
            end = ok(log.take(&mut block(n, 1)));
        }
        end
    });
    while !taking.is_finished() {
        ok(filer.write());
    }
    ok(filer.write());
    let end = taking.join().unwrap_or_else(|_| panic!("what is taken was lost"));
    assert_eq!((progress.written(), ok(filer.syncer().sync())), (end, end));
    let mut reader = ok(LogReader::open(&dir(), Arc::new(files), progress, Position(0)));
    let mut found = RecordBlock::new();
    while ok(reader.read(&mut found, 64 << 10)) > 0 {}
    assert_eq!(found.len(), wanted as usize);
}

/// What was written lately is read again without its file, however small its writes were; what is older out of
/// it.
#[test]
fn what_was_written_lately_is_read_again_from_memory() {
    let files = ForgetfulFiles::default();
    let mut writer = ok(open(&files, u64::MAX));
    let from = Position(0);
    let mut reader = ok(LogReader::open(&dir(), Arc::new(files.clone()), writer.progress(), from));
    let mut first = block(0, 5);
    ok(writer.append(&mut first));
    let mut read = |first: &RecordBlock, place| {
        let mut again = RecordBlock::new();
        reader.at(first.get(place).position, &mut again).map(|_| {
            let same = again.get(0).payload == first.get(place).payload;
            assert!(same, "another record");
        })
    };
    for n in 1..200 {
        ok(writer.append(&mut block(n * 5, 5)));
        ok(read(&first, (n % 5) as usize));
    }
    let segment = dir().join(format!("{:016x}.log", 0));
    files.flip(&segment, 20 + 28 + first.get(2).position.0 as usize + 12);
    ok(read(&first, 2));
    // Past what is kept in memory the file is asked, and what is wrong in it is seen.
    let payload = vec![b'x'; 1 << 20];
    for _ in 0..56 {
        let (small, mut long) = (block(0, 1), RecordBlock::new());
        long.push(&RecordRef { payload: &payload, ..small.get(0) });
        ok(writer.append(&mut long));
    }
    ok(read(&first, 1));
    assert!(read(&first, 2).is_err(), "the file was not asked");
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
    // A reader tells damage that comes while it reads, as soon as it reads the file: what was written
    // lately is in memory as it was appended.
    files.flip(path, 20 + 28 + 3);
    let progress = writer.progress();
    let read = || {
        let from = Position(0);
        let reader = LogReader::open(&dir(), Arc::new(files.clone()), progress.clone(), from);
        ok(reader).read(&mut RecordBlock::new(), 1_000)
    };
    assert!(matches!(read(), Ok(5)));
    let payload = vec![b'x'; 1 << 20];
    for _ in 0..56 {
        let (small, mut long) = (block(0, 1), RecordBlock::new());
        long.push(&RecordRef { payload: &payload, ..small.get(0) });
        ok(writer.append(&mut long));
    }
    let read = read();
    assert!(matches!(read, Err(LogError::Damaged { position: 0, .. })), "{read:?}");
}

#[test]
fn a_missing_segment_is_a_gap() {
    let temp = ok(tempfile::tempdir());
    let files = Arc::new(RealFiles);
    let mut writer = ok(LogWriter::open(temp.path(), files.clone(), segments_of(50)));
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

/// A source that has payloads from an offset on.
#[derive(Debug)]
struct Topic(i64);

impl Topic {
    fn payload(partition: i32, offset: i64) -> String {
        format!("{partition}/{offset} {}", "x".repeat(offset as usize % 40))
    }
}

impl Payloads for Topic {
    fn read(
        &self,
        _: SourceId,
        (topic, partition): (&str, i32),
        offsets: &[i64],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Lack> {
        assert_eq!(topic, "events");
        for offset in offsets {
            if *offset < self.0 {
                return Err(Lack::Gone);
            }
            each(Self::payload(partition, *offset).as_bytes());
        }
        Ok(())
    }
}

/// A stream's opening, and deliveries of two partitions, some of which a compacted topic lacks.
fn places(from: i64, count: i64) -> RecordBlock {
    let mut block = RecordBlock::new();
    let record = RecordRef::plain(RecordKind::StreamOpened, Position(0), b"");
    block.push(&RecordRef { topic: b"k/events/0", ..record });
    for partition in 0..2 {
        for offset in (from..from + count).filter(|offset| offset % 7 != 3) {
            let payload = Topic::payload(partition, offset);
            let record = RecordRef::plain(RecordKind::Delivery, Position(0), payload.as_bytes());
            let checksum = crc32c::crc32c(payload.as_bytes());
            let stream = StreamId(partition as u16);
            let recorded = EventTime(from);
            let record = RecordRef { topic: b"events", stream, recorded, ..record };
            block.push_from(&record, Origin { partition, offset, checksum });
        }
    }
    block
}

fn told(block: &RecordBlock) -> Vec<(u64, u16, i64, String)> {
    let told = block.iter().map(|r| {
        (r.position.0, r.stream.0, r.recorded.0, String::from_utf8_lossy(r.payload).into_owned())
    });
    told.collect()
}

/// The same without the positions: a block that was appended stays in memory, and has them there.
fn said(told: &[(u64, u16, i64, String)]) -> Vec<(u16, i64, &str)> {
    told.iter().map(|(_, stream, recorded, text)| (*stream, *recorded, text.as_str())).collect()
}

#[test]
fn places_alone_give_back_what_stands_there() {
    let files = ForgetfulFiles::default();
    let mut writer = ok(open(&files, 1 << 20));
    let mut wanted = Vec::new();
    for batch in 0..3 {
        let mut block = places(batch * 100, 100);
        wanted.extend(told(&block));
        ok(writer.append(&mut block));
        assert!(block.is_empty(), "it stays in memory");
    }
    ok(writer.syncer().sync());
    assert!(writer.progress().written().0 < wanted.len() as u64 * 10, "eight bytes a delivery");
    // Out of memory.
    let progress = writer.progress();
    let reader = LogReader::open(&dir(), Arc::new(files.clone()), progress.clone(), Position(0));
    let mut all = RecordBlock::new();
    let mut live = ok(reader);
    while ok(live.read(&mut all, 1 << 20)) > 0 {}
    let found = told(&all);
    assert_eq!(said(&found), said(&wanted));
    assert!(found.is_sorted_by(|a, b| a.0 < b.0), "each has its place");
    let wanted = found;
    // After a crash, from the source; and from every place in between.
    let files = files.after_crash(Left::First(0));
    let writer = ok(open(&files, 1 << 20));
    let open = |topic: i64, from: u64| {
        let files = Arc::new(files.clone());
        let reader = LogReader::open(&dir(), files, writer.progress(), Position(from));
        ok(reader).with_payloads(Arc::new(Topic(topic)))
    };
    for (index, (position, ..)) in wanted.iter().enumerate().step_by(5) {
        let (mut reader, mut rest) = (open(0, *position), RecordBlock::new());
        assert_eq!(reader.position(), Position(*position));
        while ok(reader.read(&mut rest, 300)) > 0 {}
        assert_eq!(told(&rest), wanted[index..]);
        let mut one = RecordBlock::new();
        assert!(ok(reader.at(Position(*position), &mut one)));
        assert_eq!(told(&one), wanted[index..=index]);
    }
    // What the source has deleted is named; what stands behind is read on.
    let (mut reader, mut rest) = (open(150, 0), RecordBlock::new());
    let error = loop {
        match reader.read(&mut rest, 1 << 20) {
            Ok(read) => assert!(read > 0, "the end is reached without a word"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("events/0 offset 0 is no longer retained"), "{error}");
    let (mut reader, mut rest) = (open(150, 0).lenient(), RecordBlock::new());
    while ok(reader.read(&mut rest, 1 << 20)) > 0 {}
    assert!(reader.lacked() && !reader.lacked());
    let (kept, behind) = (told(&rest), wanted.len() * 2 / 3 + 1);
    assert!(kept.ends_with(&wanted[behind..]), "{}", kept.len());
    // Without a source those alone are read that stand there whole.
    let files = Arc::new(files.clone());
    let mut whole = ok(LogReader::open(&dir(), files, writer.progress(), Position(0))).whole_only();
    let mut rest = RecordBlock::new();
    while ok(whole.read(&mut rest, 1 << 20)) > 0 {}
    assert_eq!(rest.len(), 3);
}

#[test]
fn another_payload_at_the_place_is_none() {
    let files = ForgetfulFiles::default();
    let mut writer = ok(open(&files, 1 << 20));
    let mut block = places(0, 10);
    let mut other = RecordBlock::new();
    for index in 0..block.len() {
        match block.origin(index) {
            Some(origin) if index == 4 => {
                other.push_from(&block.get(index), Origin { checksum: 7, ..origin });
            }
            Some(origin) => other.push_from(&block.get(index), origin),
            None => other.push(&block.get(index)),
        }
    }
    block = other.clone();
    ok(writer.append(&mut other));
    ok(writer.syncer().sync());
    let files = files.after_crash(Left::First(0));
    let writer = ok(open(&files, 1 << 20));
    let reader = LogReader::open(&dir(), Arc::new(files), writer.progress(), Position(0));
    let (mut reader, mut read) = (ok(reader).with_payloads(Arc::new(Topic(0))), RecordBlock::new());
    let error = loop {
        match reader.read(&mut read, 1 << 20) {
            Ok(read) => assert!(read > 0, "the end is reached without a word"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("is no longer retained"), "{error}");
    assert_eq!(said(&told(&read)), said(&told(&block)[..4]));
}
