//! CEL's grammar (Common Expression Language), as far as rules need it: text in, tree out.
//!
//! Our own parser and not a crate's, because every fault must point at its column in the rulebook.

use crate::limits::{EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX};

/// A part of an expression and where it stands: character offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct Ast {
    /// First character.
    pub from: usize,
    /// One past the last.
    pub to: usize,
    /// What it is.
    pub node: Node,
}

/// What a part of an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `true`, `false`.
    Bool(bool),
    /// `42`.
    Int(i64),
    /// `1.5`.
    Float(f64),
    /// `'text'`, `"text"`.
    Text(String),
    /// A name.
    Name(String),
    /// `x.name`.
    Member(Box<Ast>, String),
    /// `x[key]`.
    Index(Box<Ast>, Box<Ast>),
    /// `f(a)`, `x.f(a)`.
    Call(Option<Box<Ast>>, String, Vec<Ast>),
    /// `[a, b]`.
    List(Vec<Ast>),
    /// `!x`.
    Not(Box<Ast>),
    /// `-x`.
    Negate(Box<Ast>),
    /// `a op b`.
    Binary(Operator, Box<Ast>, Box<Ast>),
    /// `a ? b : c`.
    If(Box<Ast>, Box<Ast>, Box<Ast>),
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

const OPERATORS: [(&str, Operator, u8); 14] = [
    ("||", O::Or, 1),
    ("&&", O::And, 2),
    ("==", O::Equal, 3),
    ("!=", O::NotEqual, 3),
    ("<=", O::LessEqual, 3),
    (">=", O::GreaterEqual, 3),
    ("<", O::Less, 3),
    (">", O::Greater, 3),
    ("in", O::In, 3),
    ("+", O::Add, 4),
    ("-", O::Subtract, 4),
    ("*", O::Multiply, 5),
    ("/", O::Divide, 5),
    ("%", O::Remainder, 5),
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
enum Token {
    Int(i64),
    Float(f64),
    Text(String),
    Name(String),
    Symbol(&'static str),
    End,
}

const SYMBOLS: [&str; 24] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

struct Parser {
    tokens: Vec<(Token, usize, usize)>,
    at: usize,
    depth: usize,
}

/// Parses a whole expression.
pub fn parse(text: &str) -> Result<Ast, Fault> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > EXPRESSION_CHARS_MAX {
        let message = format!("an expression of more than {EXPRESSION_CHARS_MAX} characters");
        return Err(Fault { from: 0, width: 1, message, help: None });
    }
    let mut parser = Parser { tokens: lex(&chars)?, at: 0, depth: 0 };
    let ast = parser.conditional()?;
    match parser.peek() {
        Token::End => Ok(ast),
        _ => Err(parser.fault("the expression ends before this", Some("join parts with && or ||"))),
    }
}

fn lex(chars: &[char]) -> Result<Vec<(Token, usize, usize)>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        let start = at;
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let token = if c.is_ascii_digit() {
            number(chars, &mut at)?
        } else if c == '\'' || c == '"' {
            Token::Text(quoted(chars, &mut at)?)
        } else if c.is_alphabetic() || c == '_' {
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            Token::Name(chars[start..at].iter().collect())
        } else {
            let next = chars.get(at + 1);
            let fits = |s: &&&str| match s.as_bytes() {
                [only] => char::from(*only) == c,
                [first, second] => char::from(*first) == c && next == Some(&char::from(*second)),
                _ => false,
            };
            match SYMBOLS.iter().find(fits) {
                Some(symbol) => {
                    at += symbol.len();
                    Token::Symbol(symbol)
                }
                None => {
                    let help = match c {
                        '=' => Some("write == to compare".to_owned()),
                        '&' => Some("write &&".to_owned()),
                        '|' => Some("write ||".to_owned()),
                        _ => None,
                    };
                    let message = format!("`{c}` has no meaning here");
                    return Err(Fault { from: at, width: 1, message, help });
                }
            }
        };
        tokens.push((token, start, at));
    }
    tokens.push((Token::End, chars.len(), chars.len()));
    Ok(tokens)
}

fn number(chars: &[char], at: &mut usize) -> Result<Token, Fault> {
    let start = *at;
    let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E');
    while *at < chars.len() && part(chars[*at]) {
        *at += 1;
    }
    let text: String = chars[start..*at].iter().collect();
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

fn quoted(chars: &[char], at: &mut usize) -> Result<String, Fault> {
    let (start, quote) = (*at, chars[*at]);
    let mut text = String::new();
    *at += 1;
    while *at < chars.len() {
        let c = chars[*at];
        *at += 1;
        if c == quote {
            return Ok(text);
        }
        if c != '\\' {
            text.push(c);
            continue;
        }
        let escaped = chars.get(*at).copied();
        *at += 1;
        text.push(match escaped {
            Some('n') => '\n',
            Some('t') => '\t',
            Some(c @ ('\\' | '\'' | '"')) => c,
            _ => {
                let message = "an escape that is none of \\n \\t \\\\ \\' \\\"".to_owned();
                return Err(Fault { from: *at - 2, width: 2, message, help: None });
            }
        });
    }
    let message = "a text that is not closed".to_owned();
    Err(Fault {
        from: start,
        width: chars.len() - start,
        message,
        help: Some(format!("end it with {quote}")),
    })
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn from(&self) -> usize {
        self.tokens[self.at].1
    }

    /// Takes the next token, where it is not the end.
    fn next(&mut self) -> Token {
        let token = std::mem::replace(&mut self.tokens[self.at].0, Token::End);
        self.at += usize::from(token != Token::End);
        token
    }

    /// The same of a name.
    fn name(&mut self) -> Option<String> {
        let Token::Name(name) = &mut self.tokens[self.at].0 else { return None };
        self.at += 1;
        Some(std::mem::take(name))
    }

    /// Where the token before this one ended.
    fn end(&self) -> usize {
        self.tokens[self.at.saturating_sub(1)].2
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
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

    fn ast(&self, from: usize, node: Node) -> Ast {
        Ast { from, to: self.end(), node }
    }

    fn conditional(&mut self) -> Result<Ast, Fault> {
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
        let text = match self.peek() {
            Token::Symbol(symbol) => *symbol,
            Token::Name(name) if name == "in" => "in",
            _ => return None,
        };
        OPERATORS.iter().find(|(t, ..)| *t == text).map(|(_, o, binding)| (*o, *binding))
    }

    fn binary(&mut self, least: u8) -> Result<Ast, Fault> {
        let from = self.from();
        let mut left = self.unary()?;
        while let Some((operator, binding)) = self.operator().filter(|(_, b)| *b >= least) {
            self.at += 1;
            let right = self.binary(binding + 1)?;
            left = self.ast(from, Node::Binary(operator, Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Ast, Fault> {
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

    fn postfix(&mut self) -> Result<Ast, Fault> {
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

    fn list(&mut self, close: &'static str) -> Result<Vec<Ast>, Fault> {
        let mut items = Vec::new();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(self.conditional()?);
            if self.take(close) {
                return Ok(items);
            }
            if !self.take(",") {
                return Err(self.fault(&format!("expected `,` or `{close}`"), None));
            }
        }
    }

    fn primary(&mut self) -> Result<Ast, Fault> {
        let from = self.from();
        let node = match self.next() {
            Token::Int(n) => Node::Int(n),
            Token::Float(x) => Node::Float(x),
            Token::Text(text) => Node::Text(text),
            Token::Name(name) => match name.as_str() {
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                _ if self.take("(") => Node::Call(None, name, self.list(")")?),
                _ => Node::Name(name),
            },
            Token::Symbol("(") => {
                let inner = self.conditional()?;
                self.expect(")")?;
                return Ok(Ast { from, to: self.end(), node: inner.node });
            }
            Token::Symbol("[") => Node::List(self.list("]")?),
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
                Node::Name(name) => name.clone(),
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
        assert_eq!(
            shape(&"(".repeat(10_000)),
            format!("an expression of more than {EXPRESSION_CHARS_MAX} characters at 0")
        );
        assert!(shape(&"!".repeat(4_000)).starts_with("nested too deep"));
    }
}
