//! What payloads of one mapping look like: the sequences of keys that were seen, as a tree, so that
//! the fast road knows which key comes next and which of them the mapping wants.
//!
//! Only payloads that simd-json's road has decoded are learned, so every way from the root is a
//! beginning of an object whose keys are all different: whoever follows the tree has nothing left
//! to compare.

use simd_json::{Node, StaticNode};

use super::canonical::entries;
use super::sixteen::{Sixteen, Window};
use crate::limits::{REGISTERS_MAX, SHAPE_KEYS_BESIDE_MAX, SHAPE_KEYS_MAX};
use crate::mapping::{PathTree, after};

/// No step, and no value.
pub(super) const NOWHERE: u32 = u32::MAX;

/// What a key's value mostly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// A text, or nothing.
    Text,
    Number,
    Other,
}

/// One key behind a certain sequence of keys: a cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Step {
    /// The first bytes of the key as it mostly stands, with the closing quote of the text before it
    /// and the opening one of the text behind it: `"id":`, or `","door":"`.
    head: [Sixteen; 2],
    /// Which of them count. Of a longer key all do, and there is no such key.
    counts: u32,
    /// The first of the keys that may come next in this object.
    pub after: u32,
    /// The register that the value goes to, as a bit of what is present; no bit for a value that
    /// no path leads to.
    pub bit: u64,
    /// The first of the keys that may begin the object which is the value.
    pub inside: u32,
    /// Another key that may stand in this one's place.
    pub beside: u32,
    /// Bytes of the key as it mostly stands.
    pub len: u8,
    pub register: u8,
    pub awaited: Awaited,
    /// Whether the value's symbol is wanted.
    pub named: bool,
}

impl Step {
    fn new(tight: &[u8], register: Option<u8>, named: u64, awaited: Awaited) -> Self {
        let mut head = [[0; 16]; 2];
        let mut counts = u32::MAX;
        if tight.len() <= 32 {
            head.as_flattened_mut().iter_mut().zip(tight).for_each(|(to, from)| *to = *from);
            counts = ((1_u64 << tight.len()) - 1) as u32;
        }
        let bit = register.map_or(0, |register| 1 << register);
        Self {
            head: head.map(Sixteen::of),
            counts,
            bit,
            after: NOWHERE,
            inside: NOWHERE,
            beside: NOWHERE,
            len: tight.len().min(32) as u8,
            register: register.unwrap_or(REGISTERS_MAX as u8),
            named: named & bit != 0,
            awaited,
        }
    }

    /// Whether the bytes are this key's, as far as it goes.
    #[inline(always)]
    fn stands(&self, window: Window<'_>) -> bool {
        let missing = !window.sixteen(0).same(self.head[0]) & self.counts;
        missing == 0 || missing & 0xFFFF == 0 && self.goes_on(window)
    }

    /// The same of what is behind the first sixteen.
    #[inline(never)]
    fn goes_on(&self, window: Window<'_>) -> bool {
        !window.sixteen(16).same(self.head[1]) & self.counts >> 16 == 0
    }
}

/// The key that stands here as it mostly does, of those from `keys` on.
#[inline(always)]
pub(super) fn tight<'s>(steps: &'s [Step], window: Window<'_>, keys: u32) -> Option<&'s Step> {
    let mut place = keys;
    loop {
        let step = steps.get(place as usize)?;
        if step.stands(window) {
            return Some(step);
        }
        place = step.beside;
    }
}

/// Where a key may stand.
#[derive(Clone, Copy)]
enum Spot {
    First,
    After(u32),
    Inside(u32),
}

/// The shapes of one mapping's payloads.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    tree: PathTree,
    /// Registers whose symbols are wanted.
    named: u64,
    first: u32,
    steps: Vec<Step>,
    /// Each key in its quotes.
    keys: Vec<Box<[u8]>>,
    /// Keys that found no room since the shapes began.
    turned_away: usize,
}

impl Shapes {
    /// Nothing learned yet of payloads that are read by the paths of `tree`; `None` where one scan
    /// cannot find all of them. `named` are the registers whose symbols are wanted.
    pub fn of(tree: &PathTree, named: u64) -> Option<Self> {
        // What is present is a bit of a word.
        if !tree.is_keys_only() || tree.len() > REGISTERS_MAX {
            return None;
        }
        let (steps, keys) = (Vec::new(), Vec::new());
        Some(Self { tree: tree.clone(), named, first: NOWHERE, steps, keys, turned_away: 0 })
    }

    /// From now on the symbols of these registers alone are wanted. Nothing was learned yet.
    pub fn name_only(&mut self, named: u64) {
        self.named &= named;
    }

    /// The first of the keys that a payload may begin with.
    #[inline]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// All steps.
    #[inline(always)]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// A step's key in its quotes.
    pub fn key(&self, place: u32) -> &[u8] {
        &self.keys[place as usize]
    }

    /// Learns the shape of a payload whose keys are known to be unique.
    pub fn learn(&mut self, tape: &[Node<'_>]) {
        if self.turned_away >= SHAPE_KEYS_MAX {
            // Somebody sends ever new keys, or did: begin again with what comes now.
            self.steps.clear();
            self.keys.clear();
            (self.first, self.turned_away) = (NOWHERE, 0);
        }
        self.object(tape, 0, Some(PathTree::ROOT), Spot::First);
    }

    fn object(&mut self, tape: &[Node<'_>], at: usize, branch: Option<usize>, spot: Spot) {
        let mut spot = spot;
        for (key, at) in entries(tape, at).into_iter().flatten() {
            let branch = branch.and_then(|b| self.tree.child(b, key));
            let awaited = match tape[at] {
                Node::String(_) | Node::Static(StaticNode::Null) => Awaited::Text,
                Node::Static(StaticNode::Bool(_)) => Awaited::Other,
                Node::Static(_) => Awaited::Number,
                _ => Awaited::Other,
            };
            let Some(step) = self.grow(spot, key, branch, awaited) else { return };
            self.value(tape, at, branch, step);
            spot = Spot::After(step);
        }
    }

    fn value(&mut self, tape: &[Node<'_>], at: usize, branch: Option<usize>, step: u32) {
        match tape[at] {
            Node::Object { .. } => self.object(tape, at, branch, Spot::Inside(step)),
            Node::Array { len, .. } => {
                let mut next = at + 1;
                for _ in 0..len {
                    self.value(tape, next, branch, step);
                    next = after(tape, next);
                }
            }
            _ => {}
        }
    }

    /// The step of a key at a spot, a new one where it must be; `None` where there is no room, or
    /// the key is not written as it reads.
    fn grow(
        &mut self,
        spot: Spot,
        key: &str,
        branch: Option<usize>,
        awaited: Awaited,
    ) -> Option<u32> {
        let plain = key.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
        let mut last = None;
        let mut place = match spot {
            Spot::First => self.first,
            Spot::After(step) => self.steps[step as usize].after,
            Spot::Inside(step) => self.steps[step as usize].inside,
        };
        for _ in 0..SHAPE_KEYS_BESIDE_MAX {
            if place == NOWHERE {
                break;
            }
            let known = self.key(place);
            if &known[1..known.len() - 1] == key.as_bytes() {
                return Some(place);
            }
            last = Some(place);
            place = self.steps[place as usize].beside;
        }
        if place != NOWHERE || self.steps.len() >= SHAPE_KEYS_MAX {
            self.turned_away += 1;
            return None;
        }
        if !plain {
            return None;
        }
        let new = self.steps.len() as u32;
        let register = branch.and_then(|b| self.tree.register(b)).map(|path| path.0 as u8);
        let before = match spot {
            Spot::After(step) if self.steps[step as usize].awaited == Awaited::Text => "\",",
            Spot::After(_) => ",",
            Spot::First | Spot::Inside(_) => "",
        };
        let behind = if awaited == Awaited::Text { "\"" } else { "" };
        let tight = format!("{before}\"{key}\":{behind}");
        self.steps.push(Step::new(tight.as_bytes(), register, self.named, awaited));
        self.keys.push(format!("\"{key}\"").into_bytes().into());
        match (last, spot) {
            (Some(last), _) => self.steps[last as usize].beside = new,
            (None, Spot::First) => self.first = new,
            (None, Spot::After(step)) => self.steps[step as usize].after = new,
            (None, Spot::Inside(step)) => self.steps[step as usize].inside = new,
        }
        Some(new)
    }
}
