//! Paths into a payload, read all at once in one walk over simd-json's tape.

use simd_json::{Node, StaticNode};

use super::PathId;
use crate::limits::PATHS_MAX;

/// Not in this payload.
pub(crate) const ABSENT: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Clone, Debug, Default)]
struct TreeNode {
    path: Option<PathId>,
    children: Vec<(Step, usize)>,
}

/// Paths with common beginnings shared.
#[derive(Clone, Debug)]
pub struct PathTree {
    nodes: Vec<TreeNode>,
    paths: Vec<String>,
}

impl Default for PathTree {
    fn default() -> Self {
        Self { nodes: vec![TreeNode::default()], paths: Vec::new() }
    }
}

/// Splits `a.b[0]['c.d']`; the error says what is wrong.
fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (inner, after) = inner.split_once(']').ok_or("`[` without `]`")?;
            let quoted = inner.strip_prefix('\'').and_then(|i| i.strip_suffix('\''));
            steps.push(match quoted {
                Some(key) => Step::Key(key.to_owned()),
                None => Step::Index(
                    inner.parse().map_err(|_| format!("`[{inner}]` is neither [0] nor ['key']"))?,
                ),
            });
            rest = after;
        } else {
            let bare = rest.strip_prefix('.').unwrap_or(rest);
            let end = bare.find(['.', '[']).unwrap_or(bare.len());
            if end == 0 {
                return Err("a key is missing between the dots".into());
            }
            steps.push(Step::Key(bare[..end].to_owned()));
            rest = &bare[end..];
        }
    }
    Ok(steps)
}

impl PathTree {
    /// The register of a path (`a.b[0]`, without `$`; empty: the whole). The error says what is
    /// wrong with it.
    pub fn path(&mut self, text: &str) -> Result<PathId, String> {
        if let Some(known) = self.paths.iter().position(|p| p == text) {
            return Ok(PathId(known as u16));
        }
        if self.paths.len() >= PATHS_MAX {
            return Err(format!("more than {PATHS_MAX} paths in one mapping"));
        }
        let mut node = 0;
        for step in steps(text)? {
            let known = self.nodes[node].children.iter().find(|(s, _)| *s == step).map(|c| c.1);
            node = known.unwrap_or_else(|| {
                self.nodes.push(TreeNode::default());
                let new = self.nodes.len() - 1;
                self.nodes[node].children.push((step, new));
                new
            });
        }
        let id = *self.nodes[node].path.get_or_insert(PathId(self.paths.len() as u16));
        if id.0 as usize == self.paths.len() {
            self.paths.push(text.to_owned());
        }
        Ok(id)
    }

    /// The node of the whole payload.
    pub(crate) const ROOT: usize = 0;

    /// Whether every path goes over keys alone, and none is the whole payload.
    pub(crate) fn is_keys_only(&self) -> bool {
        let mut steps = self.nodes.iter().flat_map(|n| &n.children);
        self.nodes[Self::ROOT].path.is_none() && steps.all(|(s, _)| matches!(s, Step::Key(_)))
    }

    /// The node of a key of the object at a node.
    pub(crate) fn child(&self, node: usize, key: &str) -> Option<usize> {
        let same = |(step, _): &&(Step, usize)| matches!(step, Step::Key(k) if k == key);
        self.nodes[node].children.iter().find(same).map(|(_, child)| *child)
    }

    /// The register of the path that ends at a node.
    pub(crate) fn register(&self, node: usize) -> Option<PathId> {
        self.nodes[node].path
    }

    /// How many registers a walk fills.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// The texts of the paths, by register: columns of a CSV mapping.
    pub(crate) fn texts(&self) -> &[String] {
        &self.paths
    }

    /// Fills `registers` with the tape indexes of the paths, [`ABSENT`] where there is nothing or
    /// null, for the value at `at`.
    pub(crate) fn fill(&self, tape: &[Node<'_>], at: usize, registers: &mut Vec<u32>) {
        registers.clear();
        registers.resize(self.paths.len(), ABSENT);
        self.visit(&self.nodes[0], tape, at, registers);
    }

    fn visit(&self, node: &TreeNode, tape: &[Node<'_>], at: usize, registers: &mut [u32]) {
        if let Some(path) = node.path
            && !matches!(tape[at], Node::Static(StaticNode::Null))
        {
            registers[path.0 as usize] = at as u32;
        }
        if node.children.is_empty() {
            return;
        }
        match tape[at] {
            Node::Object { len, .. } => {
                let mut next = at + 1;
                for _ in 0..len {
                    let Node::String(key) = tape[next] else { return };
                    let child = node.children.iter().find(|(s, _)| match s {
                        Step::Key(k) => k == key,
                        Step::Index(_) => false,
                    });
                    if let Some((_, child)) = child {
                        self.visit(&self.nodes[*child], tape, next + 1, registers);
                    }
                    next = after(tape, next + 1);
                }
            }
            Node::Array { len, .. } => {
                let mut next = at + 1;
                for index in 0..len {
                    let child = node.children.iter().find(|(s, _)| *s == Step::Index(index));
                    if let Some((_, child)) = child {
                        self.visit(&self.nodes[*child], tape, next, registers);
                    }
                    next = after(tape, next);
                }
            }
            _ => {}
        }
    }
}

/// The index behind the value at `at`.
pub(crate) fn after(tape: &[Node<'_>], at: usize) -> usize {
    match tape[at] {
        Node::Object { count, .. } | Node::Array { count, .. } => at + 1 + count,
        _ => at + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_walk_finds_every_path() {
        let mut tree = PathTree::default();
        let text = r#"{"a":{"b":[1,{"c":"x"}],"d":null},"e f":2,"g":[[],7]}"#;
        let want = [
            ("a.b[1].c", true),
            ("a.b", true),
            ("a.d", false),
            ("['e f']", true),
            ("g[1]", true),
            ("g[2]", false),
            ("zz.y", false),
            ("", true),
        ];
        let ids: Vec<_> = want.iter().map(|(p, _)| tree.path(p)).collect();
        let mut bytes = text.as_bytes().to_vec();
        let tape = simd_json::to_tape(&mut bytes).unwrap_or_else(|e| panic!("{e}"));
        let mut registers = Vec::new();
        tree.fill(&tape.0, 0, &mut registers);
        for ((path, there), id) in want.iter().zip(ids) {
            let id = id.unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(registers[id.0 as usize] != ABSENT, *there, "{path}");
        }
        assert_eq!(tape.0[registers[0] as usize], Node::String("x"));
        assert!(tree.path("a..b").is_err() && tree.path("a[x]").is_err());
    }
}
