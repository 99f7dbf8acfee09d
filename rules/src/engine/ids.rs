//! Ids of detections.

use event::Identity;
use event::identity::{Digest, TimedId};

use super::cells::Key;
use super::correlation::Spoken;
use super::scope::Context;
use super::site::Conclusion;
use crate::plan::Rule;

/// 48 bits of event time and 80 bits over rule name, key, completing event, and, for a rule with
/// `runs: each`, the first step's event. Part of every stored id: never change it.
pub fn detection_id(cx: Context<'_>, rule: &Rule, conclusion: &Conclusion<'_>) -> TimedId {
    let mut numbers = numbers_of(cx, rule, &conclusion.key, conclusion.event);
    if conclusion.row.is_none() {
        numbers.add(conclusion.at.0 as u128);
    }
    if let Some(first) = conclusion.first {
        numbers.add(first.0);
    }
    TimedId::new(conclusion.at, numbers.digest(rule.id.as_bytes()))
}

/// The id of a detection that is told, at `at`, long after it was held back: as that of a deadline.
pub fn id_of_later(cx: Context<'_>, spoken: &Spoken, at: event::EventTime) -> TimedId {
    let rule = &cx.plan.rules[spoken.rule.0 as usize];
    let mut numbers = numbers_of(cx, rule, &spoken.key, spoken.event);
    numbers.add(at.0 as u128);
    TimedId::new(at, numbers.digest(rule.id.as_bytes()))
}

/// What is digested behind a rule's name: up to three parts of a key, an event, a deadline, another event.
#[derive(Default)]
struct Numbers {
    numbers: [u128; 6],
    many: usize,
}

#[inline(always)]
fn numbers_of(cx: Context<'_>, rule: &Rule, key: &Key, event: Identity) -> Numbers {
    let mut numbers = Numbers::default();
    let parts = key[..rule.by.len().min(3)].iter();
    parts.for_each(|part| numbers.add(cx.interner.digest(*part)));
    numbers.add(event.0);
    numbers
}

impl Numbers {
    #[inline(always)]
    fn add(&mut self, number: u128) {
        self.numbers[self.many] = number;
        self.many += 1;
    }

    /// At once, where the name is no longer than most are: nothing is copied twice.
    #[inline(always)]
    fn digest(&self, name: &[u8]) -> u128 {
        const LEN: usize = size_of::<u32>();
        let (numbers, mut bytes) = (&self.numbers[..self.many], [0; 128]);
        let at = LEN + name.len();
        let end = at + size_of_val(numbers);
        if end > bytes.len() {
            let digest = Digest::default().part(name);
            return numbers.iter().fold(digest, |digest, number| digest.number(*number)).finish();
        }
        bytes[..LEN].copy_from_slice(&(name.len() as u32).to_le_bytes());
        bytes[LEN..at].copy_from_slice(name);
        let (places, _) = bytes[at..].as_chunks_mut();
        for (place, number) in places.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        Digest::of(&bytes[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_or_part_by_part_it_is_the_same() {
        let name = [b'r'; 300];
        for (len, many) in (0..name.len()).flat_map(|len| (0..=6).map(move |many| (len, many))) {
            let mut numbers = Numbers::default();
            let mut digest = Digest::default().part(&name[..len]);
            for number in 0..many {
                let number = (number << 120) + 7 * number;
                numbers.add(number);
                digest = digest.number(number);
            }
            assert_eq!(numbers.digest(&name[..len]), digest.finish(), "{len} {many}");
        }
    }
}
