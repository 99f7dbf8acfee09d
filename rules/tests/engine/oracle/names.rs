//! `session` with `by: {any: […]}`: found by a door or a badge, whichever it has shown.

use super::{Ev, Found, KINDS, Spec, agrees, told};
use crate::script::Random;

#[derive(Clone, Copy)]
enum Question {
    /// It ended with another badge than it began with.
    Mismatch,
    /// It did not end in time.
    Overdue,
    /// It ended without a beginning.
    Orphan,
}

struct Named {
    open: usize,
    close: usize,
    max: i64,
    question: Question,
}

/// One session: its first event, and the doors and badges that are known of it.
struct Open {
    first: Ev,
    doors: Vec<u64>,
    badges: Vec<u64>,
}

impl Named {
    fn make(r: &mut Random) -> Self {
        let open = r.below(6) as usize;
        Self {
            open,
            close: (open + 1 + r.below(5) as usize) % 6,
            max: [50, 200, 1_000][r.below(3) as usize],
            question: [Question::Mismatch, Question::Overdue, Question::Orphan]
                [r.below(3) as usize],
        }
    }

    fn overdue(&self, open: &mut Vec<Open>, now: i64, found: &mut Vec<Found>) {
        let due = |session: &Open| session.first.at + self.max;
        for session in open.iter().filter(|session| due(session) <= now) {
            if matches!(self.question, Question::Overdue) {
                found.push((due(session), vec![session.first.id]));
            }
        }
        open.retain(|session| due(session) > now);
    }
}

impl Spec for Named {
    fn rulebook(&self) -> String {
        let question = match self.question {
            Question::Mismatch => "s.closed && s.open.credential != s.close.credential",
            Question::Overdue => "!s.closed",
            Question::Orphan => "s.orphan",
        };
        format!(
            "\nrules: [{{id: r, if: '{question}', session: {{open: {}, close: {}, by: {{any: [door, credential]}}, max: {}ms}}}}]\n",
            KINDS[self.open],
            KINDS[self.close],
            self.max * 100
        )
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let (mut found, mut open): (_, Vec<Open>) = (Vec::new(), Vec::new());
        for e in history {
            self.overdue(&mut open, e.at, &mut found);
            if e.kind != self.open && e.kind != self.close {
                continue;
            }
            let by_door = open.iter().position(|session| session.doors.contains(&e.door));
            let by_badge = open.iter().position(|session| session.badges.contains(&e.badge));
            match by_door.or(by_badge) {
                Some(place) if e.kind == self.close => {
                    let first = open.remove(place).first;
                    if matches!(self.question, Question::Mismatch) && first.badge != e.badge {
                        found.push((e.at, told(history, [first.id, e.id], e.id)));
                    }
                }
                Some(place) => {
                    // A name that another session has stays that one's.
                    if by_door.is_none() {
                        open[place].doors.push(e.door);
                    }
                    if by_badge.is_none() {
                        open[place].badges.push(e.badge);
                    }
                }
                None if e.kind == self.open => {
                    open.push(Open { first: *e, doors: vec![e.door], badges: vec![e.badge] });
                }
                None if matches!(self.question, Question::Orphan) => {
                    found.push((e.at, vec![e.id]));
                }
                None => {}
            }
        }
        self.overdue(&mut open, i64::MAX, &mut found);
        found
    }
}

#[test]
fn session_by_any() {
    agrees("session by any", Named::make);
}
