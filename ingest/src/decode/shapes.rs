//! What payloads of one mapping look like: the sequences of keys that were seen, as a tree, so that
//! the fast road knows which key comes next and which of them the mapping wants.
//!
//! Only payloads that simd-json's road has decoded are learned, so every way from the root is a
//! beginning of an object whose keys are all different: whoever follows the tree has nothing left
//! to compare.

use simd_json::Node;

use super::canonical::entries;
use super::sixteen::Sixteen;
use crate::limits::{REGISTERS_MAX, SHAPE_KEYS_BESIDE_MAX, SHAPE_KEYS_MAX};
use crate::mapping::{PathTree, after};

/// No step, and no value.
pub(super) const NOWHERE: u32 = u32::MAX;

/// One key behind a certain sequence of keys: a cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Step {
    /// The first sixteen bytes of the key as it mostly stands, `"id":`, or `,"id":` behind another.
    head: Sixteen,
    /// Which of them count.
    counts: u32,
    /// The register that the value goes to, as a bit of what is present; no bit for a value that
    /// no path leads to.
    pub bit: u64,
    /// The first of the keys that may come next in this object.
    pub after: u32,
    /// The first of the keys that may begin the object which is the value.
    pub inside: u32,
    /// Another key that may stand in this one's place.
    pub beside: u32,
    /// Bytes of the key as it mostly stands.
    pub len: u16,
    pub register: u8,
    /// Whether the value's symbol is wanted.
    pub named: bool,
}

impl Step {
    /// `None` for a key that is longer than any key.
    fn new(tight: &[u8], register: Option<u8>, named: u64) -> Option<Self> {
        let len = u16::try_from(tight.len()).ok()?;
        let mut head = [0; 16];
        head.iter_mut().zip(tight).for_each(|(to, from)| *to = *from);
        let counts = (1 << tight.len().min(16)) - 1;
        let bit = register.map_or(0, |register| 1 << register);
        let (after, inside, beside) = (NOWHERE, NOWHERE, NOWHERE);
        Some(Self {
            head: Sixteen::of(head),
            counts,
            bit,
            after,
            inside,
            beside,
            len,
            register: register.unwrap_or(REGISTERS_MAX as u8),
            named: named & bit != 0,
        })
    }

    /// Whether the first sixteen bytes are this key's, as far as it goes.
    #[inline(always)]
    pub fn begins(&self, bytes: Sixteen) -> bool {
        bytes.same(self.head) & self.counts == self.counts
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
    /// Each key as it mostly stands.
    tights: Vec<Box<[u8]>>,
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
        let (steps, tights) = (Vec::new(), Vec::new());
        Some(Self { tree: tree.clone(), named, first: NOWHERE, steps, tights, turned_away: 0 })
    }

    /// The first of the keys that a payload may begin with.
    #[inline]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// A step; `None` where there is none.
    #[inline(always)]
    pub fn step(&self, place: u32) -> Option<&Step> {
        self.steps.get(place as usize)
    }

    /// A step's key as it mostly stands.
    pub fn tight(&self, place: u32) -> &[u8] {
        &self.tights[place as usize]
    }

    /// A step's key in its quotes.
    pub fn key(&self, place: u32) -> &[u8] {
        let tight = self.tight(place);
        let tight = &tight[..tight.len() - 1];
        tight.strip_prefix(b",").unwrap_or(tight)
    }

    /// Learns the shape of a payload whose keys are known to be unique.
    pub fn learn(&mut self, tape: &[Node<'_>]) {
        if self.turned_away >= SHAPE_KEYS_MAX {
            // Somebody sends ever new keys, or did: begin again with what comes now.
            self.steps.clear();
            self.tights.clear();
            (self.first, self.turned_away) = (NOWHERE, 0);
        }
        self.object(tape, 0, Some(PathTree::ROOT), Spot::First);
    }

    fn object(&mut self, tape: &[Node<'_>], at: usize, branch: Option<usize>, spot: Spot) {
        let mut spot = spot;
        for (key, at) in entries(tape, at).into_iter().flatten() {
            let branch = branch.and_then(|b| self.tree.child(b, key));
            let Some(step) = self.grow(spot, key, branch) else { return };
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
    fn grow(&mut self, spot: Spot, key: &str, branch: Option<usize>) -> Option<u32> {
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
        let comma = if matches!(spot, Spot::After(_)) { "," } else { "" };
        let tight = format!("{comma}\"{key}\":").into_bytes();
        self.steps.push(Step::new(&tight, register, self.named)?);
        self.tights.push(tight.into());
        match (last, spot) {
            (Some(last), _) => self.steps[last as usize].beside = new,
            (None, Spot::First) => self.first = new,
            (None, Spot::After(step)) => self.steps[step as usize].after = new,
            (None, Spot::Inside(step)) => self.steps[step as usize].inside = new,
        }
        Some(new)
    }
}
