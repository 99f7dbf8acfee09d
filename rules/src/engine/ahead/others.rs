//! What is looked up ahead by those who have no seat, and who stand in the lists of texts.

use event::{RowLines, Symbol};

use super::super::cells::KeyCell;
use super::super::near::{Near, Place};
use super::super::scope::{Context, part_of};
use super::super::state::{Owner, State};
use super::super::steps::{Roles, RuleForm};
use super::super::wanted::{List, WANTS_MAX};
use super::{
    Ahead, FURTHEST, ROWS_OF, TURN, TURNS, ask_beside_run, ask_for_awaited, ask_for_entries,
    ask_for_next, ask_for_runs, ask_for_values,
};
use crate::condition::Counted;

/// Look-ups of one event by those who have no seat, and by those who stand in the lists of its texts.
const OTHERS_MAX: usize = WANTS_MAX + LISTED_MAX;
const LISTED_MAX: usize = 8;

/// One look-up of an event by one who has no seat, or stands in a list.
#[derive(Clone, Copy, Debug, Default)]
struct Other {
    owner: Owner,
    text: Symbol,
    place: Place,
    list: List,
}

/// Those of one event: the first so many, where there are more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Others {
    many: u8,
    all: [Other; OTHERS_MAX],
}

impl Others {
    #[inline(always)]
    fn add_listed(&mut self, near: &Near, owner: Owner, text: Symbol, list: List) {
        // Who is listed gives way to who is always asked: of two in one place the last is kept.
        if usize::from(self.many) < LISTED_MAX {
            self.add(near, owner, text, list);
        }
    }

    #[inline(always)]
    fn add(&mut self, near: &Near, owner: Owner, text: Symbol, list: List) {
        if let Some(other) = self.all.get_mut(usize::from(self.many)) {
            *other = Other { owner, text, place: near.place(owner), list };
            self.many += 1;
        }
    }

    #[inline(always)]
    fn all(&self) -> &[Other] {
        self.all.get(..usize::from(self.many)).unwrap_or(&self.all)
    }
}

/// Asks for where it stands who is asked of the events furthest behind, and for the lists of some nearer
/// ones.
#[inline(never)]
fn ask_who_is_asked<'a>(cx: Context<'_>, behind: &impl Fn(usize) -> Option<RowLines<'a>>) {
    for place in FURTHEST + 2 * TURN..FURTHEST + 3 * TURN {
        let Some(event) = behind(place).map(|lines| lines.row()) else { break };
        let interest = cx.layout.interest(event.kind());
        interest.facts.expect(|field| part_of(cx, event, field));
        interest.rules.expect(|field| part_of(cx, event, field));
    }
    for place in FURTHEST + TURN..FURTHEST + 2 * TURN {
        let Some(event) = behind(place).map(|lines| lines.row()) else { break };
        let interest = cx.layout.interest(event.kind());
        interest.facts.expect_list(|field| part_of(cx, event, field));
        interest.rules.expect_list(|field| part_of(cx, event, field));
    }
}

impl Ahead {
    #[inline(never)]
    pub(super) fn ask_for_others<'a>(
        &mut self,
        cx: Context<'_>,
        state: &mut State,
        turn: usize,
        behind: &impl Fn(usize) -> Option<RowLines<'a>>,
    ) {
        if cx.layout.is_large {
            ask_who_is_asked(cx, behind);
        }
        let rows = |turn: usize| turn % TURNS * TURN..(turn % TURNS + 1) * TURN;
        for (place, row) in rows(turn + ROWS_OF).enumerate() {
            self.others[row].many = 0;
            let Some(event) = behind(FURTHEST + place) else { continue };
            if cx.layout.is_large {
                self.ask_who_is_listed(cx, state, row, event);
            }
            self.ask_for_slots(state, row, event);
        }
        for row in rows(turn + 3) {
            for other in self.others[row].all() {
                state.look_ahead(row, other.owner, other.place, other.text);
            }
        }
        for row in rows(turn + 2) {
            self.found_others(state, row, |list, number, cell| match list {
                List::Entries | List::Waiting => ask_for_entries(state, cell),
                List::Values => {
                    ask_for_entries(state, cell);
                    ask_for_values(state, number);
                }
                List::Runs => ask_for_runs(state, cell),
                List::Run => ask_beside_run(state, cell),
                List::Nothing => {}
            });
        }
        let entries = state.entries.cells();
        for row in rows(turn + 1) {
            self.found_others(state, row, |list, _, cell| {
                let Some(first) = entries.get(cell.head as usize) else { return };
                match list {
                    List::Waiting => ask_for_awaited(state, first),
                    List::Entries | List::Values => ask_for_next(state, first),
                    _ => {}
                }
            });
        }
        // The third of a window: several that came close to each other leave it together. Where keys are few
        // and windows long, the lines are at hand, and it is not worth asking.
        for row in rows(turn) {
            self.found_others(state, row, |list, _, cell| {
                let first = entries.get(cell.head as usize);
                let first = first.filter(|_| matches!(list, List::Entries | List::Values));
                let second = first.and_then(|first| entries.get(first.next as usize));
                second.into_iter().for_each(|second| ask_for_next(state, second));
            });
        }
    }

    /// The look-ups of an event by others, each with the cell that was found.
    #[inline(always)]
    fn found_others(&self, state: &State, row: usize, mut each: impl FnMut(List, u32, &KeyCell)) {
        let near = state.near.row(row);
        for other in self.others[row].all() {
            let number = near.at(other.place);
            if let Some(cell) = state.keys.peek(number) {
                each(other.list, number, cell);
            }
        }
    }

    fn ask_for_slots(&mut self, state: &State, row: usize, event: RowLines<'_>) {
        let kind = usize::from(event.head().kind().0);
        for wish in self.unseated.get(kind).into_iter().flatten() {
            let text = event.row().text_or_none(wish.by);
            state.expect_slot(text);
            self.others[row].add(&state.near, wish.owner, text, wish.list);
        }
    }

    /// What those look up who stand in the list of a text, and keep state by that text.
    fn ask_who_is_listed(
        &mut self,
        cx: Context<'_>,
        state: &State,
        row: usize,
        event: RowLines<'_>,
    ) {
        let (event, layout, near) = (event.row(), cx.layout, &state.near);
        let others = &mut self.others[row];
        let interest = layout.interest(event.kind());
        if let Some((text, facts)) = interest.facts.listed(|field| part_of(cx, event, field)) {
            state.expect_slot(text);
            for step in facts.iter().filter(|step| step.roles.has(Roles::FACT_BY_LIST)) {
                if step.gate.passes(event, &Counted::default()) {
                    others.add_listed(near, layout.fact(step.fact), text, List::Entries);
                }
            }
        }
        if let Some((text, rules)) = interest.rules.listed(|field| part_of(cx, event, field)) {
            state.expect_slot(text);
            for step in rules.iter().filter(|step| step.roles.has(Roles::RULE_BY_LIST)) {
                let owner = layout.rule(step.rule);
                let waits = |owner| !step.roles.has(Roles::HELD) || state.may_await(owner, text);
                if matches!(step.form, RuleForm::Event) {
                    continue;
                }
                if !step.roles.has(Roles::HELD) {
                    layout.prepared.expect_rule(step.rule);
                }
                match step.form {
                    RuleForm::Short if waits(owner) => {
                        others.add_listed(near, owner, text, List::Runs);
                    }
                    RuleForm::Single if waits(owner) => {
                        others.add_listed(near, owner, text, List::Run);
                    }
                    RuleForm::Unless
                        if step.roles.has(Roles::OPENS.or(Roles::HELD)) && waits(owner) =>
                    {
                        others.add_listed(near, owner, text, List::Runs);
                    }
                    RuleForm::Unless if !step.roles.has(Roles::HELD) => {
                        let waiting = layout.guard_waiting(step.rule, 0);
                        others.add_listed(near, waiting, text, List::Waiting);
                    }
                    _ => {}
                }
            }
        }
    }
}
