//! What payloads of one mapping look like: the sequences of keys that were seen, as a tree, so that
//! the fast road knows which key comes next and which of them the mapping wants.
//!
//! Only payloads that simd-json's road has decoded are learned, so every way from the root is a
//! beginning of an object whose keys are all different: whoever follows the tree has nothing left
//! to compare.

use simd_json::Node;

use super::canonical::entries;
use super::scan::sixteen;
use crate::limits::{REGISTERS_MAX, SHAPE_KEYS_BESIDE_MAX, SHAPE_KEYS_MAX};
use crate::mapping::{PathTree, after};

/// No step, and no value.
pub(super) const NOWHERE: u32 = u32::MAX;

/// One key behind a certain sequence of keys: a cache line.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The first sixteen bytes of `tight`, and which of them count.
    word: [u64; 2],
    mask: [u64; 2],
    /// The key as it mostly stands: `"id":`, or `,"id":` behind another.
    tight: Box<[u8]>,
    /// How many bytes that are.
    pub len: u16,
    /// The register that the value goes to.
    pub register: u8,
    /// Whether the value's symbol is wanted.
    pub named: bool,
    /// The first of the keys that may come next in this object.
    pub after: u32,
    /// The first of the keys that may begin the object which is the value.
    pub inside: u32,
    /// Another key that may stand in this one's place.
    pub beside: u32,
}

impl Step {
    /// The register of what no path leads to.
    pub const UNWANTED: u8 = REGISTERS_MAX as u8;

    /// `None` for a key that is longer than any key.
    fn new(key: &str, follows: bool, register: u8, named: bool) -> Option<Self> {
        let comma = if follows { "," } else { "" };
        let tight: Box<[u8]> = format!("{comma}\"{key}\":").into_bytes().into();
        let len = u16::try_from(tight.len()).ok()?;
        let mut word = [0; 16];
        let mut mask = [0; 16];
        for (place, byte) in tight.iter().take(16).enumerate() {
            (word[place], mask[place]) = (*byte, 0xFF);
        }
        let (word, mask) = (sixteen(&word, 0), sixteen(&mask, 0));
        let (after, inside, beside) = (NOWHERE, NOWHERE, NOWHERE);
        Some(Self { word, mask, tight, len, register, named, after, inside, beside })
    }

    fn follows(&self) -> bool {
        self.tight[0] == b','
    }

    /// The key in its quotes.
    pub fn key(&self) -> &[u8] {
        &self.tight[usize::from(self.follows())..self.tight.len() - 1]
    }

    /// Whether the first sixteen bytes are this key's, as far as it goes.
    #[inline(always)]
    pub fn begins(&self, word: [u64; 2]) -> bool {
        (word[0] ^ self.word[0]) & self.mask[0] | (word[1] ^ self.word[1]) & self.mask[1] == 0
    }

    /// Whether what is behind sixteen bytes is this key's too.
    #[inline(always)]
    pub fn goes_on(&self, bytes: &[u8], at: u32) -> bool {
        self.len <= 16 || self.goes_on_long(bytes, at)
    }

    #[inline(never)]
    fn goes_on_long(&self, bytes: &[u8], at: u32) -> bool {
        bytes.get(at as usize..).is_some_and(|rest| rest.starts_with(&self.tight))
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
        let (tree, first, steps) = (tree.clone(), NOWHERE, Vec::new());
        Some(Self { tree, named, first, steps, turned_away: 0 })
    }

    /// The first of the keys that a payload may begin with.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// All steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Learns the shape of a payload whose keys are known to be unique.
    pub fn learn(&mut self, tape: &[Node<'_>]) {
        if self.turned_away >= SHAPE_KEYS_MAX {
            // Somebody sends ever new keys, or did: begin again with what comes now.
            self.steps.clear();
            (self.first, self.turned_away) = (NOWHERE, 0);
        }
        self.object(tape, 0, Some(PathTree::ROOT), Spot::First);
    }

    fn object(&mut self, tape: &[Node<'_>], at: usize, branch: Option<usize>, spot: Spot) {
        let mut spot = spot;
        for (key, at) in entries(tape, at).into_iter().flatten() {
            let branch = branch.and_then(|b| self.tree.child(b, key));
            let Some(step) = self.step(spot, key, branch) else { return };
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
    fn step(&mut self, spot: Spot, key: &str, branch: Option<usize>) -> Option<u32> {
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
            let step = &self.steps[place as usize];
            if &step.key()[1..step.key().len() - 1] == key.as_bytes() {
                return Some(place);
            }
            last = Some(place);
            place = step.beside;
        }
        if place != NOWHERE || self.steps.len() >= SHAPE_KEYS_MAX {
            self.turned_away += 1;
            return None;
        }
        if !plain {
            return None;
        }
        let new = self.steps.len() as u32;
        let register = branch.and_then(|b| self.tree.register(b));
        let register = register.map_or(Step::UNWANTED, |p| p.0 as u8);
        let follows = matches!(spot, Spot::After(_));
        self.steps.push(Step::new(key, follows, register, self.named >> register & 1 == 1)?);
        match (last, spot) {
            (Some(last), _) => self.steps[last as usize].beside = new,
            (None, Spot::First) => self.first = new,
            (None, Spot::After(step)) => self.steps[step as usize].after = new,
            (None, Spot::Inside(step)) => self.steps[step as usize].inside = new,
        }
        Some(new)
    }
}
