//! The plain part of YAML, read at one go: what most rulebooks are written in.
//!
//! ASCII; mappings and lists, line by line or in brackets on one line; scalars on one line, without escapes.
//! Of anything else, and of anything that may be wrong, nothing is said here: the whole parser reads the
//! text then, and what both read is the same. It takes a tenth of the time, and no more memory than is kept.

use super::{Node, Place, Yaml};

/// Brackets in brackets, and lines in lines: deeper goes nobody.
const DEPTH_MAX: usize = 32;

/// Of a key, which must be short for a parser that looks ahead for its colon.
const KEY_MAX: usize = 128;

struct Plain<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    /// Spaces before what stands in this line; none at the end of the text.
    indent: Option<usize>,
    depth: usize,
    /// Of what is open: each takes its own off the end, in a piece of their size.
    items: Vec<Node>,
    entries: Vec<(Node, Node)>,
}

/// The tree of a text that is a plain mapping.
pub(super) fn read(text: &str) -> Option<Node> {
    // No byte is left out: this way the compiler looks at many at a time.
    let is_plain = |all: bool, byte: u8| all & (matches!(byte, b' '..=b'~') | (byte == b'\n'));
    if !text.bytes().fold(true, is_plain) {
        return None;
    }
    let (items, entries) = Default::default();
    let mut plain =
        Plain { text, at: 0, line: 1, line_start: 0, indent: None, depth: 0, items, entries };
    plain.find_line();
    let root = plain.mapping(plain.indent.filter(|indent| *indent == 0)?)?;
    plain.indent.is_none().then_some(root)
}

impl Plain<'_> {
    /// The character at hand; the end of a line, at the end of the text.
    fn peek(&self) -> u8 {
        self.byte(self.at)
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(b'\n')
    }

    fn column(&self) -> usize {
        self.at - self.line_start
    }

    fn place(&self) -> Place {
        Place { line: self.line, column: self.column() as u32 + 1 }
    }

    fn skip_spaces(&mut self) {
        while self.peek() == b' ' {
            self.at += 1;
        }
    }

    /// Goes to where something stands in this line, or in one of those behind it.
    fn find_line(&mut self) {
        loop {
            self.skip_spaces();
            if self.at == self.text.len() {
                self.indent = None;
                return;
            }
            match self.peek() {
                b'#' => self.skip_line(),
                b'\n' => {}
                _ => break,
            }
            self.next_line();
        }
        self.indent = Some(self.column());
    }

    fn skip_line(&mut self) {
        while self.peek() != b'\n' {
            self.at += 1;
        }
    }

    fn next_line(&mut self) {
        if self.at < self.text.len() {
            self.at += 1;
            self.line += 1;
            self.line_start = self.at;
        }
    }

    /// Nothing more stands in this line but a remark: goes on to where something does.
    fn end_line(&mut self) -> Option<()> {
        let end = self.at;
        self.skip_spaces();
        if self.peek() == b'#' && self.at > end {
            self.skip_line();
        }
        if self.peek() != b'\n' {
            return None;
        }
        self.next_line();
        self.find_line();
        Some(())
    }

    fn scalar(&self, place: Place, (from, to): (usize, usize), plain: bool) -> Option<Node> {
        let text = self.text.get(from..to)?.into();
        Some(Node { place, value: Yaml::Scalar { text, plain } })
    }

    /// Where a key ends that stands here.
    fn key_end(&self) -> Option<usize> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let mut end = self.at;
        while is_word(self.byte(end)) || end > self.at && matches!(self.byte(end), b'-' | b'.') {
            end += 1;
        }
        let ends = self.byte(end) == b':' && matches!(self.byte(end + 1), b' ' | b'\n');
        (ends && end > self.at && end - self.at <= KEY_MAX).then_some(end)
    }

    /// A key, its colon, and the spaces behind it.
    fn key(&mut self) -> Option<Node> {
        let end = self.key_end()?;
        let key = self.scalar(self.place(), (self.at, end), true)?;
        self.at = end + 1;
        self.skip_spaces();
        Some(key)
    }

    fn is_item(&self) -> bool {
        self.peek() == b'-' && self.byte(self.at + 1) == b' '
    }

    /// A mapping, an entry a line.
    fn mapping(&mut self, indent: usize) -> Option<Node> {
        let (place, from) = (self.place(), self.entries.len());
        self.depth += 1;
        loop {
            let key = self.key()?;
            let value = if matches!(self.peek(), b'\n' | b'#') {
                self.end_line()?;
                self.below(indent)?
            } else {
                let value = self.inline::<false>()?;
                self.end_line()?;
                value
            };
            self.entries.push((key, value));
            match self.indent {
                // It would belong to the value.
                Some(next) if next > indent => return None,
                Some(next) if next == indent && !self.is_item() => {}
                _ => break,
            }
        }
        self.depth -= 1;
        self.mapping_of(place, from)
    }

    /// A value that stands in the lines below its key.
    fn below(&mut self, indent: usize) -> Option<Node> {
        if self.depth > DEPTH_MAX {
            return None;
        }
        match self.indent? {
            next if next > indent && self.is_item() => self.list(self.place(), next),
            next if next == indent && self.is_item() => {
                // The whole parser has a list that stands no further in begin behind its first mark.
                let Place { line, column } = self.place();
                self.list(Place { line, column: column + 2 }, next)
            }
            next if next > indent => self.mapping(next),
            _ => None,
        }
    }

    /// A list, an item a line or more.
    fn list(&mut self, place: Place, indent: usize) -> Option<Node> {
        let from = self.items.len();
        self.depth += 1;
        while self.indent == Some(indent) && self.is_item() {
            self.at += 2;
            let item = if self.key_end().is_some() {
                let within = self.column();
                self.indent = Some(within);
                self.mapping(within)?
            } else {
                let item = self.inline::<false>()?;
                self.end_line()?;
                item
            };
            self.items.push(item);
            if self.indent.is_some_and(|next| next > indent) {
                return None;
            }
        }
        self.depth -= 1;
        Some(Node { place, value: Yaml::Sequence(self.items.drain(from..).collect()) })
    }

    /// What stands in one line.
    fn inline<const BRACKETS: bool>(&mut self) -> Option<Node> {
        match self.peek() {
            b'{' => self.entries_in_brackets(),
            b'[' => self.items_in_brackets(),
            quote @ (b'"' | b'\'') => self.quoted(quote),
            _ => self.unquoted::<BRACKETS>(),
        }
    }

    fn quoted(&mut self, quote: u8) -> Option<Node> {
        let (place, from) = (self.place(), self.at + 1);
        let to = from + memchr::memchr3(quote, b'\\', b'\n', &self.text.as_bytes()[from..])?;
        // A quote stands in quotes as two, and is escaped elsewhere.
        if self.byte(to) != quote || self.byte(to + 1) == quote {
            return None;
        }
        self.at = to + 1;
        self.scalar(place, (from, to), false)
    }

    fn unquoted<const BRACKETS: bool>(&mut self) -> Option<Node> {
        let (place, from) = (self.place(), self.at);
        let begins = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'(' | b'/');
        if !(begins(self.peek()) || self.peek() == b'-' && begins(self.byte(from + 1))) {
            return None;
        }
        let mut to = from;
        loop {
            while self.peek().is_ascii_alphanumeric() {
                self.at += 1;
                to = self.at;
            }
            match self.peek() {
                b'\n' => break,
                b',' | b'[' | b']' | b'{' | b'}' if BRACKETS => break,
                b':' => match self.byte(self.at + 1) {
                    b' ' | b'\n' | b',' | b'[' | b']' | b'{' | b'}' => return None,
                    _ => to = self.at + 1,
                },
                b'#' if self.at > to => break,
                b' ' => {}
                _ => to = self.at + 1,
            }
            self.at += 1;
        }
        self.at = to;
        self.scalar(place, (from, to), true)
    }

    /// Whether another one follows in brackets.
    fn goes_on(&mut self, close: u8) -> Option<bool> {
        self.skip_spaces();
        let next = self.peek();
        self.at += 1;
        match next {
            b',' => {
                self.skip_spaces();
                Some(true)
            }
            _ if next == close => {
                self.depth -= 1;
                Some(false)
            }
            _ => None,
        }
    }

    /// Whether brackets that open here hold anything.
    fn open(&mut self, close: u8) -> Option<bool> {
        self.depth += 1;
        self.at += 1;
        self.skip_spaces();
        let empty = self.peek() == close;
        if empty {
            self.at += 1;
            self.depth -= 1;
        }
        (self.depth <= DEPTH_MAX).then_some(!empty)
    }

    fn entries_in_brackets(&mut self) -> Option<Node> {
        let (place, from) = (self.place(), self.entries.len());
        let mut more = self.open(b'}')?;
        while more {
            let key = self.key()?;
            let value = self.inline::<true>()?;
            self.entries.push((key, value));
            more = self.goes_on(b'}')?;
        }
        self.mapping_of(place, from)
    }

    fn items_in_brackets(&mut self) -> Option<Node> {
        let (place, from) = (self.place(), self.items.len());
        let mut more = self.open(b']')?;
        while more {
            let item = self.inline::<true>()?;
            self.items.push(item);
            more = self.goes_on(b']')?;
        }
        Some(Node { place, value: Yaml::Sequence(self.items.drain(from..).collect()) })
    }

    /// The mapping of all entries from one on; none where a key stands twice.
    fn mapping_of(&mut self, place: Place, from: usize) -> Option<Node> {
        let entries: Box<[_]> = self.entries.drain(from..).collect();
        let names = || entries.iter().filter_map(|(key, _)| key.text());
        let again = if entries.len() <= super::whole::SHORT {
            names().enumerate().any(|(nth, name)| names().take(nth).any(|other| other == name))
        } else {
            let mut sorted: Vec<&str> = names().collect();
            sorted.sort_unstable();
            sorted.windows(2).any(|pair| pair[0] == pair[1])
        };
        (!again).then_some(Node { place, value: Yaml::Mapping(entries) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reader, whole};
    use super::*;

    /// What the whole parser makes of a text, where it finds no fault.
    fn whole_of(text: &str) -> Option<String> {
        let mut reader = Reader::parse("x", "").0;
        let node = whole::read(text, &mut reader);
        node.filter(|_| reader.diagnostics.is_empty()).map(|node| format!("{node:?}"))
    }

    fn texts() -> Vec<String> {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../config");
        let (mut dirs, mut texts) = (vec![std::path::PathBuf::from(config)], Vec::new());
        while let Some(dir) = dirs.pop() {
            for path in std::fs::read_dir(dir)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").path())
            {
                if path.is_dir() {
                    dirs.push(path);
                } else if path.extension().is_some_and(|end| end == "yaml") {
                    texts.push(std::fs::read_to_string(path).expect("a text"));
                }
            }
        }
        texts.sort();
        texts
    }

    const PLAIN: &str = "a: 1\nincidents: {stale: never, by: [], at: {}}\n\n# no\nrules:\n- {id: W1, on: [A, B-c, d.e], if: \"e.door in ['D1', 'D2'] && x >= 4\", last: -10s}\n\
        - id: W2 # yes\n  title: 'A title: of it'\n  why:\n    a b: c\n    d: e # f\n  list:\n  - x\n  - {y: [z, [1, 2]]}\n  - \"q\"\n\
        - deep:\n    - a:b c#d, e\n    -   g\n  time: 08:00-17:00\nend: (a || b) [c]\n";

    #[test]
    fn what_is_plain_reads_as_the_whole_parser_reads_it() {
        let plain = PLAIN.replace("    a b: c\n", "").replace("    -   g\n", "");
        assert_eq!(read(&plain).map(|node| format!("{node:?}")), whole_of(&plain));
        assert!(read(&plain).is_some());
        let long = format!("a:\n- {{id: {}, b: c}}\n", "x y ".repeat(2_000));
        assert_eq!(read(&long).map(|node| format!("{node:?}")), whole_of(&long));
        let mut taken = 0;
        for text in texts() {
            if let Some(node) = read(&text) {
                taken += 1;
                assert_eq!(Some(format!("{node:?}")), whole_of(&text), "{text}");
            }
        }
        assert!(taken > 10, "{taken}");
    }

    /// Whatever is changed in it: it reads the same, or is left to the whole parser.
    #[test]
    fn what_is_not_plain_is_left_to_the_whole_parser() {
        let mut texts = texts();
        texts.retain(|text| text.len() < 6_000);
        texts.extend([PLAIN.to_owned(), PLAIN.to_owned(), PLAIN.to_owned()]);
        let parts = [
            " ", "  ", "\n", "\n  ", ":", ": ", " :", "#", " #", ",", "[", "]", "{", "}", "-",
            "- ", "\"", "'", "''", "\\", "&a", "*a", "!", "|", ">", "%", "@", "?", "? ", "---",
            "...", "\t", "\r", "~", "null", "a: b", "a:", "<<", "\n\n", "\n- ", "x", "(", "\u{fc}",
            "\u{0}",
        ];
        let mut random = 7_u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % below
        };
        let mut taken = 0;
        for round in 0..30_000 {
            let mut text: Vec<char> = texts[next(texts.len())].chars().collect();
            // A part of the text, so that what is changed is not lost among what is not.
            let lines: Vec<usize> =
                (0..text.len()).filter(|at| *at == 0 || text[at - 1] == '\n').collect();
            let from = lines[next(lines.len())];
            let to =
                lines.iter().copied().find(|at| *at > from + 40 + next(200)).unwrap_or(text.len());
            text = text[from..to].to_vec();
            for _ in 0..next(3) {
                let at = next(text.len() + 1);
                let to = (at + next(3)).min(text.len());
                text.splice(at..to, parts[next(parts.len())].chars());
            }
            let text: String = text.into_iter().collect();
            if let Some(node) = read(&text) {
                taken += 1;
                assert_eq!(Some(format!("{node:?}")), whole_of(&text), "{round}: {text:?}");
            }
        }
        assert!(taken > 2_000, "{taken}");
    }
}
