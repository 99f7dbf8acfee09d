//! Stored corpora on both roads of JSON: they say the same of each payload. And any bytes.

use std::path::Path;

use proptest::prelude::*;

use super::roads::{Both, Dice, SWIPE, TEN};
use super::skipped::recorded;
use super::*;

#[path = "../../fuzz/fuzz_targets/both.rs"]
mod both;

const JSONTESTSUITE: [&str; 2] = ["jsontestsuite/test_parsing", "jsontestsuite/test_transform"];

/// The files of a stored corpus by their names, if it is there.
fn stored(folder: &str) -> Vec<(String, Vec<u8>)> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let Some(dir) = recorded(&project, folder) else { return Vec::new() };
    let paths = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = paths.filter(|path| path.is_file()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

/// The whole of JSONTestSuite, alone and as a value of a payload whose shape is known, wanted and
/// unwanted, one by one and in blocks; what must be refused is, and what must be read is read.
#[test]
fn all_of_jsontestsuite() {
    let mapping = TEN.replace("reason: $.reason", "reason: $.reason, mode: $.deep.er");
    let mut both = Both::new(&["workload"], &mapping, "");
    let mut block = vec![SWIPE.as_bytes().to_vec(); 2];
    for folder in JSONTESTSUITE {
        for (name, bytes) in stored(folder) {
            let alone = both.agree("t", &bytes);
            if name.starts_with("n_") {
                let syntax =
                    [RejectReason::InvalidJson, RejectReason::InvalidUtf8, RejectReason::TooDeep];
                assert!(syntax.iter().any(|r| alone == Outcome::Rejected(*r)), "{name}: {alone:?}");
            }
            let (head, tail) = SWIPE.split_at(SWIPE.len() - 1);
            for key in ["x", "deep", "reason"] {
                let head = head.replace(r#""reason":"ok""#, r#""y":{"z":[1,{"w":0.5}]}"#);
                let known = format!("{head},\"{key}\":\"v\"{tail}");
                both.agree("t", known.as_bytes());
                let head = format!("{head},\"{key}\":").into_bytes();
                let within = [&head[..], &bytes, tail.as_bytes()].concat();
                let outcome = both.agree("t", &within);
                if name.starts_with("y_") && key == "x" && !name.contains("duplicated_key") {
                    assert_eq!(outcome, Outcome::Decoded(1), "{name}");
                }
                let head = head.len() - 1;
                let nested = [&within[..head], b":{\"er\":", &bytes, b"}", tail.as_bytes()];
                let nested = nested.concat();
                both.agree("t", &nested);
                for strange in [bytes.clone(), within, nested] {
                    block.extend([known.clone().into_bytes(), strange]);
                }
            }
        }
    }
    // Each of them again, between known ones of one block.
    assert!(block.len() == 2 || block.len() > 4_000, "only {} payloads", block.len());
    block.chunks(100).for_each(|block| both.agree_of_block(block));
}

/// Payloads as the makers publish them, through every shipped mapping.
#[test]
fn published_payloads() {
    let any = "
mappings:
- {name: any, events: [{kind: Heartbeat, device: x, occurred: $.time, id: $.id, fields: {mode: $.type, zone: $.before.camera, person: $.body.Actor.Name, score: $.after.score}}]}
";
    let all = TEN.to_owned() + any.trim_start().trim_start_matches("mappings:\n");
    let names: Vec<_> = compiled(&all, "").0.names().map(str::to_owned).collect();
    let mut each: Vec<_> = names.iter().map(|n| Both::new(&[n], &all, "")).collect();
    for (_, bytes) in stored("../payloads") {
        for both in &mut each {
            for topic in ["frigate/events", "zigbee2mqtt/door", "a/axis/event/tns1:Device/x", "x"] {
                both.agree(topic, &bytes);
            }
        }
    }
}

/// What the fuzzer does with any bytes, with those of the corpus.
#[test]
fn the_fuzzer_finds_nothing_in_jsontestsuite() {
    for (_, bytes) in JSONTESTSUITE.into_iter().flat_map(stored) {
        (0..3).for_each(|source| both::any(&[&[source], &bytes[..]].concat()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn the_fuzzer_finds_nothing_in_spoiled_payloads(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        for known in both::KNOWN {
            let source = dice.roll(3) as u8;
            let mut bytes = vec![source];
            for _ in 0..4 {
                let mut payload = known.as_bytes().to_vec();
                dice.spoil(&mut payload);
                bytes.extend(payload);
                bytes.push(b'\n');
            }
            both::any(&bytes);
        }
    }

    #[test]
    fn the_fuzzer_finds_nothing_in_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        both::any(&bytes);
    }
}
