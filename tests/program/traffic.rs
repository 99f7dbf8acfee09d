//! Canonical events that meet most forms of rules, by a seed.

/// Moves time past every deadline.
pub const ADVANCE: &str =
    r#"{"kind":"Advance","occurred":"2024-06-01T00:00:00Z","id":"end","site":"S0"}"#;

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    /// A number below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % below
    }
}

/// So many events, about 0.7 s apart, in order.
pub fn events(seed: u64, count: u64) -> Vec<String> {
    let mut random = Random(seed);
    let mut lines = Vec::new();
    for id in 0..count {
        let ms = 1_700_000_000_000 + id * 700 + random.below(300) * 2;
        let at = event::EventTime::from_millis(ms as i64);
        let door = random.below(6);
        let (feed, rest) = match random.below(10) {
            0..=2 => ("badge", r#""kind":"AccessDenied","reason":"revoked""#),
            3 | 4 => ("badge", r#""kind":"AccessGranted","dir":"in""#),
            5 => ("badge", r#""kind":"AccessGranted","dir":"out""#),
            6 | 7 => ("gate", r#""kind":"DoorOpened""#),
            8 => ("gate", r#""kind":"DoorClosed""#),
            _ => ("gate", r#""kind":"DoorForcedOpen""#),
        };
        let card = random.below(9);
        lines.push(format!(
            r#"{{"id":{id},"occurred":"{at}","feed":"{feed}","device":"D{door}","door":"D{door}","zone":"Z{}","site":"S{}","credential":"B{card}",{rest}}}"#,
            door / 2,
            door % 2,
        ));
    }
    lines
}

/// The lines as they arrive: each delayed by up to 1.9 s of its own time, one in twenty twice.
pub fn disturbed(lines: &[String], seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let mut arrivals = Vec::new();
    for (id, line) in lines.iter().enumerate() {
        let at = line.split("\"occurred\":\"").nth(1).and_then(|t| t.split('"').next());
        let at = at.and_then(|t| event::EventTime::parse_rfc3339(t.as_bytes()));
        let at = at.unwrap_or_else(|| panic!("no time in {line}")).millis();
        arrivals.push((at + random.below(1_900) as i64, id, line.clone()));
        if random.below(20) == 0 {
            arrivals.push((at + 1_900, id, line.clone()));
        }
    }
    arrivals.sort();
    let moved = arrivals.windows(2).filter(|w| w[0].1 > w[1].1).count();
    assert!(moved > lines.len() / 10, "hardly anything is out of order: {moved}");
    assert!(arrivals.len() > lines.len(), "nothing comes twice");
    arrivals.into_iter().map(|(.., line)| line).collect()
}
