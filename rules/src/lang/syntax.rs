//! CEL's grammar (Common Expression Language), as far as rules need it: text in, tree out.
//!
//! Our own parser and not a crate's, because every fault must point at its column in the rulebook.

use std::borrow::Cow;
use std::fmt;

use crate::limits::{EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX};

/// A part of an expression and where it stands: character offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct Ast<'a> {
    /// First character.
    pub from: usize,
    /// One past the last.
    pub to: usize,
    /// What it is.
    pub node: Node<'a>,
}

/// What a part of an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    /// `true`, `false`.
    Bool(bool),
    /// `42`.
    Int(i64),
    /// `1.5`.
    Float(f64),
    /// `'text'`, `"text"`.
    Text(Cow<'a, str>),
    /// A name.
    Name(&'a str),
    /// `x.name`.
    Member(Box<Ast<'a>>, &'a str),
    /// `x[key]`.
    Index(Box<Ast<'a>>, Box<Ast<'a>>),
    /// `f(a)`, `x.f(a)`.
    Call(Option<Box<Ast<'a>>>, &'a str, Vec<Ast<'a>>),
    /// `[a, b]`.
    List(Vec<Ast<'a>>),
    /// `!x`.
    Not(Box<Ast<'a>>),
    /// `-x`.
    Negate(Box<Ast<'a>>),
    /// `a op b`.
    Binary(Operator, Box<Ast<'a>>, Box<Ast<'a>>),
    /// `a ? b : c`.
    If(Box<Ast<'a>>, Box<Ast<'a>>, Box<Ast<'a>>),
}

/// Operators of two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named as they are written")]
pub enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

use Operator as O;

const OPERATORS: [(Symbol, Operator, u8); 14] = [
    (Symbol::of("||"), O::Or, 1),
    (Symbol::of("&&"), O::And, 2),
    (Symbol::of("=="), O::Equal, 3),
    (Symbol::of("!="), O::NotEqual, 3),
    (Symbol::of("<="), O::LessEqual, 3),
    (Symbol::of(">="), O::GreaterEqual, 3),
    (Symbol::of("<"), O::Less, 3),
    (Symbol::of(">"), O::Greater, 3),
    (Symbol::of("in"), O::In, 3),
    (Symbol::of("+"), O::Add, 4),
    (Symbol::of("-"), O::Subtract, 4),
    (Symbol::of("*"), O::Multiply, 5),
    (Symbol::of("/"), O::Divide, 5),
    (Symbol::of("%"), O::Remainder, 5),
];

/// What is wrong with the text, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// First character.
    pub from: usize,
    /// Characters to underline.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub help: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Name(&'a str),
    Symbol(Symbol),
    End,
}

/// What is no word: one character or two, or 0 for the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Symbol([u8; 2]);

impl Symbol {
    const fn of(text: &str) -> Self {
        match text.as_bytes() {
            [one, two] => Self([*one, *two]),
            [one] => Self([*one, 0]),
            _ => Self([0; 2]),
        }
    }

    /// The one that stands at the beginning of a text.
    fn at(text: &[u8]) -> Option<Self> {
        let (first, next) = (text[0], text.get(1).copied().unwrap_or_default());
        match (first, next) {
            (b'|', b'|') | (b'&', b'&') | (b'=' | b'!' | b'<' | b'>', b'=') => {
                Some(Self([first, next]))
            }
            _ if b"<>+-*/%!?:.,()[]{}".contains(&first) => Some(Self([first, 0])),
            _ => None,
        }
    }

    fn len(self) -> usize {
        1 + usize::from(self.0[1] != 0)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..self.len()].iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

/// A token, from where to where it stands, in characters.
type Placed<'a> = (Token<'a>, usize, usize);

struct Parser<'a> {
    tokens: Vec<Placed<'a>>,
    at: usize,
    depth: usize,
}

/// Parses a whole expression.
pub fn parse(text: &str) -> Result<Ast<'_>, Fault> {
    if text.len() > EXPRESSION_CHARS_MAX && text.chars().count() > EXPRESSION_CHARS_MAX {
        let message = format!("an expression of more than {EXPRESSION_CHARS_MAX} characters");
        return Err(Fault { from: 0, width: 1, message, help: None });
    }
    let mut parser = Parser { tokens: lex(text)?, at: 0, depth: 0 };
    let ast = parser.conditional()?;
    match parser.peek() {
        Token::End => Ok(ast),
        _ => Err(parser.fault("the expression ends before this", Some("join parts with && or ||"))),
    }
}

fn lex(text: &str) -> Result<Vec<Placed<'_>>, Fault> {
    // One for three characters is more than most have.
    let mut tokens = Vec::with_capacity(text.len() / 3 + 2);
    let mut lexed = lex_into(text, &mut tokens);
    if !text.is_ascii() {
        let characters = |bytes: usize| text[..bytes].chars().count();
        for (_, from, to) in &mut tokens {
            (*from, *to) = (characters(*from), characters(*to));
        }
        lexed = lexed.map_err(|fault| Fault { from: characters(fault.from), ..fault });
    }
    lexed.map(|()| tokens)
}

/// The same with places in bytes, also that of a fault.
fn lex_into<'a>(text: &'a str, tokens: &mut Vec<Placed<'a>>) -> Result<(), Fault> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(c) = char_at(text, at) {
        let start = at;
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let token = if c.is_ascii_digit() {
            number(text, &mut at)?
        } else if c == '\'' || c == '"' {
            Token::Text(quoted(text, &mut at)?)
        } else if c.is_alphabetic() || c == '_' {
            while let Some(c) = char_at(text, at).filter(|c| c.is_alphanumeric() || *c == '_') {
                at += c.len_utf8();
            }
            Token::Name(&text[start..at])
        } else if let Some(symbol) = Symbol::at(&bytes[at..]) {
            at += symbol.len();
            Token::Symbol(symbol)
        } else {
            let help = match c {
                '=' => Some("write == to compare".to_owned()),
                '&' => Some("write &&".to_owned()),
                '|' => Some("write ||".to_owned()),
                _ => None,
            };
            let message = format!("`{c}` has no meaning here");
            return Err(Fault { from: at, width: 1, message, help });
        };
        tokens.push((token, start, at));
    }
    tokens.push((Token::End, at, at));
    Ok(())
}

#[inline]
fn char_at(text: &str, at: usize) -> Option<char> {
    match text.as_bytes().get(at) {
        Some(byte) if byte.is_ascii() => Some(char::from(*byte)),
        _ => text[at..].chars().next(),
    }
}

fn number<'a>(text: &str, at: &mut usize) -> Result<Token<'a>, Fault> {
    let start = *at;
    let part = |c: &u8| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E');
    *at += text.as_bytes()[start..].iter().take_while(|c| part(c)).count();
    let text = &text[start..*at];
    let token = match text.parse::<i64>() {
        Ok(n) => Some(Token::Int(n)),
        Err(_) => text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Token::Float),
    };
    token.ok_or_else(|| Fault {
        from: start,
        width: *at - start,
        message: format!("`{text}` is not a number"),
        help: None,
    })
}

fn quoted<'a>(text: &'a str, at: &mut usize) -> Result<Cow<'a, str>, Fault> {
    let (start, quote) = (*at, text.as_bytes()[*at]);
    let mut from = start + 1;
    let mut whole = Cow::Borrowed("");
    loop {
        let ends = |c: &u8| *c == quote || *c == b'\\';
        let Some(length) = text.as_bytes()[from..].iter().position(ends) else {
            return Err(Fault {
                from: start,
                width: text[start..].chars().count(),
                message: "a text that is not closed".to_owned(),
                help: Some(format!("end it with {}", char::from(quote))),
            });
        };
        let end = from + length;
        whole += &text[from..end];
        if text.as_bytes()[end] == quote {
            *at = end + 1;
            return Ok(whole);
        }
        whole += match text.as_bytes().get(end + 1) {
            Some(b'n') => "\n",
            Some(b't') => "\t",
            Some(b'\\' | b'\'' | b'"') => &text[end + 1..end + 2],
            _ => {
                let message = "an escape that is none of \\n \\t \\\\ \\' \\\"".to_owned();
                return Err(Fault { from: end, width: 2, message, help: None });
            }
        };
        from = end + 2;
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &Token<'a> {
        &self.tokens[self.at].0
    }

    fn from(&self) -> usize {
        self.tokens[self.at].1
    }

    /// Takes the next token, where it is not the end.
    fn next(&mut self) -> Token<'a> {
        let token = std::mem::replace(&mut self.tokens[self.at].0, Token::End);
        self.at += usize::from(token != Token::End);
        token
    }

    /// The same of a name.
    fn name(&mut self) -> Option<&'a str> {
        let Token::Name(name) = self.tokens[self.at].0 else { return None };
        self.at += 1;
        Some(name)
    }

    /// Where the token before this one ended.
    fn end(&self) -> usize {
        self.tokens[self.at.saturating_sub(1)].2
    }

    #[inline(always)]
    fn take(&mut self, symbol: &'static str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(s) if *s == Symbol::of(symbol));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), Fault> {
        if self.take(symbol) {
            return Ok(());
        }
        Err(self.fault(&format!("expected `{symbol}`"), None))
    }

    fn fault(&self, message: &str, help: Option<&str>) -> Fault {
        let (_, from, to) = self.tokens[self.at];
        let message = message.to_owned();
        Fault { from, width: (to - from).max(1), message, help: help.map(str::to_owned) }
    }

    fn ast(&self, from: usize, node: Node<'a>) -> Ast<'a> {
        Ast { from, to: self.end(), node }
    }

    fn conditional(&mut self) -> Result<Ast<'a>, Fault> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return Err(self.fault("nested too deep", None));
        }
        let from = self.from();
        let mut ast = self.binary(1)?;
        if self.take("?") {
            let yes = self.conditional()?;
            self.expect(":")?;
            let no = self.conditional()?;
            ast = self.ast(from, Node::If(Box::new(ast), Box::new(yes), Box::new(no)));
        }
        self.depth -= 1;
        Ok(ast)
    }

    fn operator(&self) -> Option<(Operator, u8)> {
        let symbol = match self.peek() {
            Token::Symbol(symbol) => *symbol,
            Token::Name("in") => Symbol::of("in"),
            _ => return None,
        };
        OPERATORS.iter().find(|(it, ..)| *it == symbol).map(|(_, o, binding)| (*o, *binding))
    }

    fn binary(&mut self, least: u8) -> Result<Ast<'a>, Fault> {
        let from = self.from();
        let mut left = self.unary()?;
        while let Some((operator, binding)) = self.operator().filter(|(_, b)| *b >= least) {
            self.at += 1;
            let right = self.binary(binding + 1)?;
            left = self.ast(from, Node::Binary(operator, Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Ast<'a>, Fault> {
        let from = self.from();
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return Err(self.fault("nested too deep", None));
        }
        let ast = if self.take("!") {
            let inner = self.unary()?;
            self.ast(from, Node::Not(Box::new(inner)))
        } else if self.take("-") {
            let inner = self.unary()?;
            self.ast(from, Node::Negate(Box::new(inner)))
        } else {
            self.postfix()?
        };
        self.depth -= 1;
        Ok(ast)
    }

    fn postfix(&mut self) -> Result<Ast<'a>, Fault> {
        let from = self.from();
        let mut ast = self.primary()?;
        loop {
            if self.take(".") {
                let Some(name) = self.name() else {
                    return Err(self.fault("expected a name behind the dot", None));
                };
                ast = if self.take("(") {
                    let arguments = self.list(")")?;
                    self.ast(from, Node::Call(Some(Box::new(ast)), name, arguments))
                } else {
                    self.ast(from, Node::Member(Box::new(ast), name))
                };
            } else if self.take("[") {
                let key = self.conditional()?;
                self.expect("]")?;
                ast = self.ast(from, Node::Index(Box::new(ast), Box::new(key)));
            } else {
                return Ok(ast);
            }
        }
    }

    fn list(&mut self, close: &'static str) -> Result<Vec<Ast<'a>>, Fault> {
        let mut items = Vec::new();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(self.item()?);
            if self.take(close) {
                return Ok(items);
            }
            if !self.take(",") {
                return Err(self.fault(&format!("expected `,` or `{close}`"), None));
            }
        }
    }

    /// One of a list. Most are texts by themselves.
    fn item(&mut self) -> Result<Ast<'a>, Fault> {
        let alone = matches!(self.tokens.get(self.at + 1), Some((Token::Symbol(s), ..)) if *s == Symbol::of(","));
        match &mut self.tokens[self.at] {
            (Token::Text(text), from, to) if alone => {
                let (node, from, to) = (Node::Text(std::mem::take(text)), *from, *to);
                self.at += 1;
                Ok(Ast { from, to, node })
            }
            _ => self.conditional(),
        }
    }

    fn primary(&mut self) -> Result<Ast<'a>, Fault> {
        let from = self.from();
        let node = match self.next() {
            Token::Int(n) => Node::Int(n),
            Token::Float(x) => Node::Float(x),
            Token::Text(text) => Node::Text(text),
            Token::Name("true") => Node::Bool(true),
            Token::Name("false") => Node::Bool(false),
            Token::Name(name) if self.take("(") => Node::Call(None, name, self.list(")")?),
            Token::Name(name) => Node::Name(name),
            Token::Symbol(Symbol([b'(', 0])) => {
                let inner = self.conditional()?;
                self.expect(")")?;
                return Ok(Ast { from, to: self.end(), node: inner.node });
            }
            Token::Symbol(Symbol([b'[', 0])) => Node::List(self.list("]")?),
            Token::End => return Err(self.fault("the expression ends too early", None)),
            Token::Symbol(symbol) => {
                self.at -= 1;
                return Err(self.fault(&format!("`{symbol}` cannot begin a value"), None));
            }
        };
        Ok(self.ast(from, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> String {
        fn show(ast: &Ast) -> String {
            match &ast.node {
                Node::Name(name) => (*name).to_owned(),
                Node::Int(n) => n.to_string(),
                Node::Not(a) => format!("!{}", show(a)),
                Node::Negate(a) => format!("-{}", show(a)),
                Node::Member(a, name) => format!("{}.{name}", show(a)),
                Node::Index(a, b) => format!("{}[{}]", show(a), show(b)),
                Node::Binary(o, a, b) => format!("({o:?} {} {})", show(a), show(b)),
                Node::If(a, b, c) => format!("(If {} {} {})", show(a), show(b), show(c)),
                other => format!("{other:?}"),
            }
        }
        parse(text).map_or_else(|f| format!("{} at {}", f.message, f.from), |a| show(&a))
    }

    #[test]
    fn precedence_is_that_of_cel() {
        assert_eq!(shape("a || b && c"), "(Or a (And b c))");
        assert_eq!(shape("!a.b == c + 1 * 2"), "(Equal !a.b (Add c (Multiply 1 2)))");
        assert_eq!(shape("a - b - c"), "(Subtract (Subtract a b) c)");
        assert_eq!(shape("a ? b : c ? d : e"), "(If a b (If c d e))");
        assert_eq!(shape("t[e.k].n != x"), "(NotEqual t[e.k].n x)");
        assert_eq!(shape("-a in b"), "(In -a b)");
    }

    #[test]
    fn faults_point_at_the_character() {
        assert_eq!(shape("a = b"), "`=` has no meaning here at 2");
        assert_eq!(shape("a == "), "the expression ends too early at 5");
        assert_eq!(shape("a b"), "the expression ends before this at 2");
        assert_eq!(shape("x == 'abc"), "a text that is not closed at 5");
        assert_eq!(shape("'ä' = \"ö\""), "`=` has no meaning here at 4");
        assert_eq!(shape("'äö\\x'"), "an escape that is none of \\n \\t \\\\ \\' \\\" at 3");
        assert_eq!(shape("'ä' b"), "the expression ends before this at 4");
        assert_eq!(shape("'a\\'b\\n' < \"\\\"\""), "(Less Text(\"a'b\\n\") Text(\"\\\"\"))");
        assert_eq!(
            shape(&"(".repeat(10_000)),
            format!("an expression of more than {EXPRESSION_CHARS_MAX} characters at 0")
        );
        assert!(shape(&"!".repeat(4_000)).starts_with("nested too deep"));
    }
}
