//! Rulebooks of many rules over the same kinds: what the engine finds by asking those that an event
//! concerns is what it finds, in the same order, when it cannot tell which ones that are.

use std::fmt::Write as _;

use event::Interner;

use super::KINDS;
use crate::script::{Random, compile, found};

/// Writes a rulebook, with its comparisons as they are or so that no index sees them: `!(a != b)`
/// means what `a == b` does, of what is missing, too.
struct Writer<'r> {
    r: &'r mut Random,
    seen: bool,
    /// What most of those count that count the same.
    alike: u64,
}

impl Writer<'_> {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.r.below(of.len() as u64) as usize]
    }

    fn kind(&mut self) -> &'static str {
        self.one(&KINDS)
    }

    fn equal(&mut self, field: &str, values: &[&str]) -> String {
        let value = self.one(values);
        match (self.seen, self.r.below(2)) {
            (true, 0) => format!("{field} == '{value}'"),
            (true, _) => format!("'{value}' == {field}"),
            (false, _) => format!("!({field} != '{value}')"),
        }
    }

    fn member(&mut self, field: &str, values: &[&str]) -> String {
        let (a, b) = (self.one(values), self.one(values));
        let text = format!("{field} in ['{a}', '{b}']");
        if self.seen { text } else { format!("!(!({text}))") }
    }

    fn door(&mut self, of: &str) -> String {
        let (field, doors) = (format!("{of}door"), ["D1", "D2", "D3", "D4"]);
        if self.r.below(3) == 0 { self.member(&field, &doors) } else { self.equal(&field, &doors) }
    }

    fn badge(&mut self, of: &str) -> String {
        let (field, badges) = (format!("{of}credential"), ["C1", "C2", "C3"]);
        if self.r.below(3) == 0 {
            self.member(&field, &badges)
        } else {
            self.equal(&field, &badges)
        }
    }

    /// A condition on the event called so.
    fn condition(&mut self, name: &str) -> String {
        let of = format!("{name}.");
        let level = format!("{of}level > {}", self.r.below(3));
        match self.r.below(9) {
            0 | 1 => self.door(&of),
            2 => self.badge(&of),
            3 => format!("{} && {level}", self.door(&of)),
            4 => format!("({}) || {level} && {}", self.door(&of), self.door(&of)),
            5 => format!("{} || {}", self.door(&of), self.badge(&of)),
            6 => format!("{level} && {} && {}", self.badge(&of), self.door(&of)),
            7 => self.equal(&format!("{of}door.interlock"), &["lock", "sluice"]),
            _ => level,
        }
    }

    fn key(&mut self) -> &'static str {
        self.one(&["door", "credential"])
    }

    fn span(&mut self) -> &'static str {
        self.one(&["2s", "5s", "15s"])
    }

    fn facts(&mut self) -> String {
        let mut text = String::from("facts:\n");
        for number in 0..5 {
            let (kind, other, by) = (self.kind(), self.kind(), self.key());
            let condition = self.condition("e");
            let reset = format!("{{on: {}, if: \"{}\"}}", self.kind(), self.condition("e"));
            let _ = match number {
                0 => writeln!(
                    text,
                    "  f0: {{by: {by}, count: {kind}, if: \"{condition}\", within: {}, reset: {reset}}}",
                    self.span()
                ),
                1 => writeln!(
                    text,
                    "  f1: {{by: door, distinct: credential, on: {kind}, if: \"{condition}\", within: {}}}",
                    self.span()
                ),
                2 => writeln!(
                    text,
                    "  f2: {{by: door, up: {{on: {kind}, if: \"{condition}\"}}, down: {{on: {other}, if: \"{}\"}}}}",
                    self.condition("e")
                ),
                3 => writeln!(
                    text,
                    "  f3: {{by: door, set: {{{kind}: e.level}}, if: \"{condition}\", init: 0, ttl: {}}}",
                    self.span()
                ),
                _ => writeln!(text, "  f4: {{by: door, tally: f3, if: value > 1}}"),
            };
        }
        text
    }

    /// One of those that count the same, each for doors of its own.
    fn sharing(&mut self, scope: &str) -> String {
        let (door, least) = (self.door("e."), 1 + self.r.below(4));
        let (what, condition) =
            match if self.r.below(4) == 0 { self.r.below(4) } else { self.alike } {
                0 => ("count: {by: door", door),
                1 => ("count: {by: [door, credential]", format!("{door} && {}", self.badge("e."))),
                2 => ("distinct: {of: credential, by: door", door),
                _ => ("count: {by: door", format!("e.level > 0 && {door}")),
            };
        let emit = self.one(&["each", "edge", "{once: 3s}"]);
        format!(
            "{scope}on: [AccessGranted, DoorOpened], if: \"{condition}\", emit: {emit}, {what}, within: 9s, at_least: {least}}}"
        )
    }

    fn rule(&mut self) -> String {
        let (kind, other, by, span) = (self.kind(), self.kind(), self.key(), self.span());
        let condition = self.condition("e");
        let on = format!("on: [{kind}, {other}], if: \"{condition}\"");
        let scope = if self.r.below(4) == 0 { "scope: enterprise, " } else { "" };
        match self.r.below(18) {
            12..=17 => self.sharing(scope),
            0 => format!("{scope}{on}, by: {by}, emit: edge"),
            1 => format!("{scope}{on}, by: {by}, emit: {{once: {span}}}"),
            2 => format!("{on}, exceptions: {{own: \"{}\"}}", self.condition("e")),
            3 => format!("{scope}{on}, count: {{by: {by}, within: {span}, at_least: 2}}"),
            4 => {
                format!("{on}, distinct: {{of: credential, by: door, within: {span}, at_least: 2}}")
            }
            5 => {
                let fact = self.one(&["f1", "f2", "f3", "f4"]);
                let key = self.door("");
                format!("watch: {fact}, if: \"value > {} && {key}\"", self.r.below(2))
            }
            6 => {
                let fact = self.one(&["f0", "f1", "f2", "f3"]);
                format!(
                    "on: {kind}, if: \"{condition} && {fact} > 0\", emit: {}",
                    self.one(&["each", "edge"])
                )
            }
            7 => {
                let guard = self.condition("x");
                let back = self.one(&["", "from: -5s, ", "from: -1s, "]);
                format!(
                    "{on}, unless: [{{on: {}, same: {by}, if: \"{guard}\", {back}to: {span}}}, {{on: {}, same: door, from: -2s}}]",
                    self.kind(),
                    self.kind()
                )
            }
            8 => format!("{scope}travel: {{by: credential, {on}, place: door, min_time: {span}}}"),
            9 => format!(
                "passage: {{by: credential, {on}, from: \"e.level < 2 ? 'out' : 'in'\", to: \"e.level < 2 ? 'in' : 'out'\", forgive: {{on: {}, if: \"{}\"}}}}",
                self.kind(),
                self.condition("e")
            ),
            10 => {
                let asks = self.one(&["true", "s.orphan", "!s.closed", "s.count(Panic) > 0"]);
                format!(
                    "session: {{open: {{{on}}}, close: {{on: {}, if: \"{}\"}}, by: {by}, grace: 1s, max: {span}}}, if: \"{asks}\"",
                    self.kind(),
                    self.condition("e")
                )
            }
            _ => {
                let (a, b) = (self.condition("a"), self.condition("b"));
                let runs = self.one(&["each", "first", "last", "once"]);
                let without = self.one(&["", ", without: Heartbeat", ", strict: Panic"]);
                format!(
                    "{scope}by: {by}, within: {span}, runs: {runs}, sequence: [{{a: {kind}, if: \"{a}\"}}, {{b: {other}, if: \"{b}\"}}]{without}"
                )
            }
        }
    }
}

/// One rulebook, as it is or so that no index sees its comparisons.
fn rulebook(seed: u64, seen: bool) -> String {
    let mut r = Random(seed);
    let rules = 5 + r.below(20);
    let alike = r.below(4);
    let mut writer = Writer { r: &mut r, seen, alike };
    let mut text = writer.facts();
    text.push_str("rules:\n");
    for number in 0..rules {
        let rule = writer.rule();
        let _ = writeln!(text, "- {{id: r{number}, {rule}}}");
    }
    text
}

fn script(seed: u64) -> String {
    let mut r = Random(seed ^ 0x5ca1e);
    let mut at = 100_000;
    let mut text = String::new();
    for _ in 0..120 {
        at += [0, 5, 10, 20, 40][r.below(5) as usize] * 10;
        let kind = KINDS[r.below(6) as usize];
        let (door, badge, site) = (1 + r.below(4), 1 + r.below(3), 1 + r.below(2));
        let _ = write!(text, "{} {kind} site=S{site} level={}", at as f64 / 1e3, r.below(4));
        // What an event does not say is nothing that it could be found by.
        let parts = [format!(" door=D{door}"), format!(" credential=C{badge}")];
        parts.iter().filter(|_| r.below(8) > 0).for_each(|part| text.push_str(part));
        text.push('\n');
    }
    text
}

#[test]
fn who_is_not_asked_had_nothing_to_say() {
    let number = |name| std::env::var_os(name).and_then(|n| n.to_str()?.parse().ok());
    let first = number("PORTCULLIS_SEED").unwrap_or(0);
    let (mut all, mut shared) = (0, 0);
    let windows = |rulebook: &str| compile(rulebook, &Interner::shared()).facts.len();
    for seed in first..first + number("PORTCULLIS_HISTORIES").unwrap_or(120_u64) {
        let script = script(seed);
        let (by_index, by_all) = (rulebook(seed, true), rulebook(seed, false));
        let (got, expected) = (found(&by_index, &script), found(&by_all, &script));
        assert_eq!(got, expected, "PORTCULLIS_SEED={seed}\n{by_index}\n{script}");
        all += got.len();
        // Of all that are asked, some may be the same, too.
        shared += windows(&by_all).saturating_sub(windows(&by_index));
    }
    println!("{all} findings, {shared} windows shared");
    assert!(all > 2_000, "only {all} findings");
    assert!(shared > 60, "only {shared} windows were shared");
}
