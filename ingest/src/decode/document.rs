//! Payloads that can be read by path: simd-json's tape, and rows of columns.

use event::RejectReason;
use simd_json::{Buffers, ErrorType, Node, StaticNode, Tape};

use crate::limits::KEYS_PAIRWISE_MAX;
use crate::mapping::{Mapping, PathId, PathTree};

/// Not in this payload.
const ABSENT: u32 = u32::MAX;

/// A value as the payload has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    /// Not there, or null.
    Missing,
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// An object or an array.
    Compound,
}

/// A payload whose registers hold places in it.
pub(super) trait Document {
    /// The value that a path leads to, by the registers that the payload filled.
    #[inline(always)]
    fn at(&self, registers: &[u32], path: PathId) -> Raw<'_> {
        Registers::get(registers, path).map_or(Raw::Missing, |at| self.value(at))
    }
    /// Whether a path leads to a value.
    fn is_there(&self, registers: &[u32], path: PathId) -> bool {
        self.at(registers, path) != Raw::Missing
    }
    /// The value at a place.
    fn value(&self, at: u32) -> Raw<'_>;
    /// The places of an array's elements.
    fn elements(&self, at: u32, out: &mut Vec<u32>);
    /// Fills registers for an element.
    fn fill(&self, tree: &PathTree, at: u32, registers: &mut Vec<u32>);
}

/// JSON.
pub(super) struct Json<'a, 'i>(pub &'a [Node<'i>]);

impl Document for Json<'_, '_> {
    fn value(&self, at: u32) -> Raw<'_> {
        raw(self.0[at as usize])
    }

    fn elements(&self, at: u32, out: &mut Vec<u32>) {
        let Node::Array { len, .. } = self.0[at as usize] else { return };
        let mut next = at as usize + 1;
        for _ in 0..len {
            out.push(next as u32);
            next = crate::mapping::after(self.0, next);
        }
    }

    fn fill(&self, tree: &PathTree, at: u32, registers: &mut Vec<u32>) {
        tree.fill(self.0, at as usize, registers);
    }
}

/// A node as a value.
pub(super) fn raw<'i>(node: Node<'i>) -> Raw<'i> {
    match node {
        Node::String(text) => Raw::Text(text),
        Node::Static(StaticNode::I64(n)) => Raw::Int(n),
        Node::Static(StaticNode::U64(n)) => i64::try_from(n).map_or(Raw::Float(n as f64), Raw::Int),
        Node::Static(StaticNode::F64(n)) => Raw::Float(n),
        Node::Static(StaticNode::Bool(b)) => Raw::Bool(b),
        Node::Static(StaticNode::Null) => Raw::Missing,
        Node::Object { .. } | Node::Array { .. } => Raw::Compound,
    }
}

/// Parses JSON; the grammar's reasons are ours.
pub(super) fn parse<'i>(
    input: &'i mut [u8],
    buffers: &mut Buffers,
    tape: &mut Tape<'i>,
) -> Result<(), RejectReason> {
    simd_json::fill_tape(input, buffers, tape).map_err(|error| match error.error() {
        ErrorType::InvalidUtf8 => RejectReason::InvalidUtf8,
        ErrorType::DepthLimitExceeded => RejectReason::TooDeep,
        _ => RejectReason::InvalidJson,
    })?;
    if tape.0.is_empty() {
        return Err(RejectReason::InvalidJson);
    }
    unique_keys(&tape.0)
}

/// Refuses an object that names a key twice: readers disagree about which one counts.
fn unique_keys(tape: &[Node<'_>]) -> Result<(), RejectReason> {
    for (at, node) in tape.iter().enumerate() {
        let Node::Object { len, .. } = *node else { continue };
        if len > KEYS_PAIRWISE_MAX {
            let mut keys: Vec<_> = keys(tape, at, len).collect();
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(RejectReason::DuplicateKey);
            }
            continue;
        }
        let mut seen = [""; KEYS_PAIRWISE_MAX];
        for (place, key) in keys(tape, at, len).enumerate() {
            if seen[..place].contains(&key) {
                return Err(RejectReason::DuplicateKey);
            }
            seen[place] = key;
        }
    }
    Ok(())
}

fn keys<'a, 'i>(
    tape: &'a [Node<'i>],
    at: usize,
    len: usize,
) -> impl Iterator<Item = &'i str> + use<'a, 'i> {
    let mut next = at + 1;
    (0..len).map(move |_| {
        let Node::String(key) = tape[next] else { return "" };
        next = crate::mapping::after(tape, next + 1);
        key
    })
}

/// One CSV row, or one whole text.
pub(super) struct Row {
    reader: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: Vec<(usize, usize)>,
}

impl Default for Row {
    fn default() -> Self {
        let reader = csv_core::ReaderBuilder::new().build();
        Self { reader, text: Vec::new(), ends: Vec::new(), fields: Vec::new() }
    }
}

impl Row {
    /// Splits a row by RFC 4180; blanks around a value are not part of it.
    pub fn read(&mut self, input: &[u8]) -> Result<(), RejectReason> {
        std::str::from_utf8(input).map_err(|_| RejectReason::InvalidUtf8)?;
        self.reader.reset();
        self.text.resize(input.len() + 1, 0);
        self.ends.resize(input.len() + 2, 0);
        let (mut read, mut wrote, mut fields) = (0, 0, 0);
        loop {
            let (result, nin, nout, nend) = self.reader.read_record(
                &input[read..],
                &mut self.text[wrote..],
                &mut self.ends[fields..],
            );
            read += nin;
            (wrote, fields) = (wrote + nout, fields + nend);
            match result {
                // A second call with no input says that this was all.
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::Record => break,
                csv_core::ReadRecordResult::End => break,
                _ => return Err(RejectReason::InvalidCsv),
            }
        }
        if read < input.len() && !input[read..].iter().all(u8::is_ascii_whitespace) {
            return Err(RejectReason::InvalidCsv);
        }
        self.fields.clear();
        let mut start = 0;
        for end in &self.ends[..fields] {
            let field = &self.text[start..*end];
            let head = field.len() - field.trim_ascii_start().len();
            let len = field.trim_ascii().len();
            self.fields.push((start + head, start + head + len));
            start = *end;
        }
        Ok(())
    }

    /// The whole payload as one value.
    pub fn whole(&mut self, input: &[u8]) -> Result<(), RejectReason> {
        std::str::from_utf8(input).map_err(|_| RejectReason::InvalidUtf8)?;
        self.text.clear();
        self.text.extend_from_slice(input.trim_ascii());
        self.fields.clear();
        self.fields.push((0, self.text.len()));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    fn field(&self, index: usize) -> &str {
        let (start, end) = self.fields[index];
        std::str::from_utf8(&self.text[start..end]).unwrap_or_default()
    }

    pub fn is_header(&self, columns: &[String]) -> bool {
        self.len() == columns.len() && columns.iter().enumerate().all(|(i, c)| self.field(i) == c)
    }
}

impl Document for Row {
    fn value(&self, at: u32) -> Raw<'_> {
        match self.field(at as usize) {
            "" => Raw::Missing,
            text => Raw::Text(text),
        }
    }

    fn elements(&self, _: u32, _: &mut Vec<u32>) {}

    fn fill(&self, tree: &PathTree, _: u32, registers: &mut Vec<u32>) {
        registers.clear();
        registers.resize(tree.len(), ABSENT);
    }
}

/// Where each path of the mapping stands in the payload at hand.
#[derive(Default)]
pub(super) struct Registers {
    pub payload: Vec<u32>,
    pub item: Vec<u32>,
    pub elements: Vec<u32>,
    pub without: Vec<u32>,
}

impl Registers {
    pub fn of_tape(&mut self, mapping: &Mapping, tape: &[Node<'_>]) {
        mapping.tree.fill(tape, 0, &mut self.payload);
    }

    pub fn of_columns(&mut self, mapping: &Mapping, columns: &[String]) {
        let place = |path: &String| columns.iter().position(|c| c == path);
        self.payload.clear();
        let places = mapping.tree.texts().iter().map(|p| place(p).map_or(ABSENT, |i| i as u32));
        self.payload.extend(places);
    }

    pub fn of_text(&mut self, mapping: &Mapping) {
        self.payload.clear();
        let places = mapping.tree.texts().iter().map(|p| if p.is_empty() { 0 } else { ABSENT });
        self.payload.extend(places);
    }

    pub fn get(registers: &[u32], path: PathId) -> Option<u32> {
        Some(registers[path.0 as usize]).filter(|at| *at != ABSENT)
    }
}
