//! Deliveries that come in one block, of which each is looked at before its turn.

use event::RecordBlock;

use super::roads::{Both, Dice, TEN};
use super::*;

impl Both {
    /// What both say of payloads that come in one block, with a mark between some of them.
    pub(super) fn agree_of_block(&mut self, payloads: &[Vec<u8>]) {
        let mut records = RecordBlock::new();
        let mut wanted = EventBlock::new(&self.vocabulary);
        let mut outcomes = Vec::new();
        for (place, payload) in payloads.iter().enumerate() {
            let record = delivery("t", payload);
            records.push(&record);
            outcomes.push(self.slow.decode(&record, &mut wanted));
            if place % 11 == 10 {
                let kind = RecordKind::StreamIdle;
                records.push(&RecordRef { kind, payload: b"", room: b"", ..record });
            }
        }
        let (mut block, mut found) = (EventBlock::new(&self.vocabulary), Vec::new());
        let mut next = 0;
        while next < records.len() {
            let rest = next..records.len();
            next = self.fast.decode_on(&records, rest, &mut block, |places, outcome, all| {
                for place in places {
                    assert_eq!(records.get(place).kind, RecordKind::Delivery);
                    found.push((outcome, all.len()));
                }
            });
            let marks = records.iter().skip(next);
            next += marks.take_while(|record| record.kind != RecordKind::Delivery).count();
        }
        assert_eq!(found.iter().map(|(outcome, _)| *outcome).collect::<Vec<_>>(), outcomes);
        assert_eq!(found.last().map(|(_, all)| *all), Some(wanted.len()));
        for (a, b) in block.iter().zip(wanted.iter()) {
            assert_eq!(a.words(), b.words());
        }
    }
}

/// The texts of a swipe in another order: as long, and laid out otherwise.
fn swipe(order: u64, number: usize) -> Vec<u8> {
    let mut fields = vec![
        format!("\"id\":{}", 100 + number % 900),
        format!("\"ts\":{}", 1_700_000_000_000 + number),
        "\"src\":\"badge\"".to_owned(),
        "\"type\":\"swipe\"".to_owned(),
        // In any place any of these names may stand, under any of these keys.
        format!("\"site\":\"N{:03}\"", number % 3),
        format!("\"zone\":\"N{:03}\"", number % 7),
        format!("\"door\":\"N{:03}\"", number % 31),
        format!("\"badge\":\"B{:05}\"", number % 97),
        "\"dir\":\"in\"".to_owned(),
        "\"result\":\"granted\"".to_owned(),
        "\"reason\":\"ok\"".to_owned(),
    ];
    let mut dice = Dice(order);
    for place in (5..7).rev() {
        fields.swap(place, 4 + dice.roll(place - 3));
    }
    fields[7..].rotate_left(dice.roll(4));
    format!("{{{}}}", fields.join(",")).into_bytes()
}

/// Deliveries of a block are looked at before those in front of them are decoded, which may make
/// other layouts take the place of theirs.
#[test]
fn a_block_is_decoded_like_its_deliveries() {
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let mut both = Both::new(&["workload"], TEN, "");
        let mut number = 0;
        for _ in 0..30 {
            let mut payloads = Vec::new();
            while payloads.len() < 60 {
                // More orders than there are layouts of one length; what comes twice is learned.
                let order = dice.roll(24) as u64;
                for _ in 0..=dice.roll(4) {
                    number += 1;
                    payloads.push(swipe(order, number));
                }
                if dice.roll(9) == 0 {
                    dice.spoil(payloads.last_mut().unwrap());
                }
            }
            both.agree_of_block(&payloads);
        }
        assert!(both.roads().laid_out > 200, "seed {seed}: {:?}", both.roads());
    }
}

/// Names that all payloads of a layout had so far are compared as they stand, until another one comes.
#[test]
fn names_that_were_always_the_same_are_not_for_ever() {
    for (seed, others) in [(1, 500), (2, 90), (3, 7)] {
        let mut dice = Dice(seed);
        let mut both = Both::new(&["workload"], TEN, "");
        for block in 0..20 {
            let payloads: Vec<_> = (0..400)
                .map(|place| {
                    let text = String::from_utf8(swipe(0, 1_000 * block + place)).unwrap();
                    let text = match dice.roll(others) {
                        0 => text.replace("\"ok\"", "\"no\""),
                        1 => text.replace("\"in\"", "\"up\"").replace("\"ok\"", "\"so\""),
                        2 => text.replace("\"N001\"", "\"M001\""),
                        _ => text,
                    };
                    text.into_bytes()
                })
                .collect();
            both.agree_of_block(&payloads);
        }
        assert!(both.roads().laid_out > 7_000, "seed {seed}: {:?}", both.roads());
    }
}
