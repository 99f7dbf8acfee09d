//! Every text that the compiler can tell is told by some wrong rulebook: a fault that nobody has
//! seen is a fault whose words nobody has read.

use std::path::Path;

/// Texts that no rulebook of a test can bring out, and why.
const UNSEEN: &[(&str, &str)] = &[
    ("a text too long", "a kilobyte of text in one condition"),
    ("an expression of more than {EXPRESSION_CHARS_MAX} characters", "as long"),
    ("more than {POLICIES_MAX} entries of `escalate`", "as many"),
    (
        "write {key}: e.area, or a table `access_points` with `from`, `to`",
        "the model of the tests has that table",
    ),
    ("one rule over a list or a table takes the place of many", "`language` writes as many rules"),
    ("{number} {what} are more than {RULES_MAX}", "as many"),
];

/// The texts between quotes in a piece of Rust, with their lines.
fn quoted(source: &str) -> Vec<(usize, String)> {
    let (mut found, mut line) = (Vec::new(), 1);
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            '/' if chars.peek() == Some(&'/') => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            // A character, or a lifetime.
            '\'' => {
                let rest: Vec<char> = chars.clone().take(3).collect();
                let length = match rest.as_slice() {
                    ['\\', _, '\''] => 3,
                    [_, '\'', ..] => 2,
                    _ => 0,
                };
                (0..length).for_each(|_| {
                    chars.next();
                });
            }
            '"' => {
                let (at, mut text) = (line, String::new());
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => match chars.next() {
                            // A line that goes on leaves out its indentation.
                            Some('\n') => {
                                line += 1;
                                while chars.peek().is_some_and(|c| *c == ' ') {
                                    chars.next();
                                }
                            }
                            Some(c) => text.push(c),
                            None => {}
                        },
                        c => text.push(c),
                    }
                }
                found.push((at, text));
            }
            _ => {}
        }
    }
    found
}

/// What a text looks like once its places are filled.
fn pattern(text: &str) -> regex::Regex {
    let (mut pattern, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        pattern += &regex::escape(before);
        match after.strip_prefix('{') {
            Some(after) => {
                let (inner, after) = after.split_once("}}").unwrap_or((after, ""));
                // `{{` and `}}` are braces; what stands between them may hold places.
                pattern += &format!("\\{{{}\\}}", regex::escape(inner));
                rest = after;
            }
            None => {
                pattern += ".*";
                rest = after.split_once('}').map_or("", |(_, after)| after);
            }
        }
    }
    regex::Regex::new(&(pattern + &regex::escape(rest))).expect("escaped")
}

fn texts(folder: &Path, end: &str) -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut files: Vec<_> = files.map(|entry| entry.path()).collect();
    files.sort();
    let ours = files.iter().filter(|path| path.to_string_lossy().ends_with(end));
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ours.map(|path| (name(path), std::fs::read_to_string(path).expect("readable"))).collect()
}

#[test]
fn every_text_of_the_compiler_is_told_by_some_wrong_rulebook() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let told: Vec<String> = texts(&crate_root.join("tests/engine/rulebooks/wrong"), ".txt")
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.strip_prefix("error: ").or_else(|| line.strip_prefix("  = help: ")))
        .map(str::to_owned)
        .collect();
    let (mut unseen, mut count) = (Vec::new(), 0);
    for (name, source) in texts(&crate_root.join("src/lang"), ".rs") {
        // Its texts are descriptions for editors.
        if name == "schema.rs" {
            continue;
        }
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        for (line, text) in quoted(source) {
            // One word is a key or a name; a sentence is told to somebody.
            let reason = source.lines().nth(line - 1).is_some_and(|l| l.contains("reason = "));
            if reason || text.split_whitespace().count() < 2 {
                continue;
            }
            count += 1;
            let shape = pattern(&text);
            let known = UNSEEN.iter().any(|(unseen, _)| *unseen == text);
            if known == told.iter().any(|told| shape.is_match(told)) {
                unseen.push(format!("{name}:{line} {text:?}"));
            }
        }
    }
    assert!(count > 150, "{count} texts");
    assert!(
        unseen.is_empty(),
        "told by no wrong rulebook, or unseen no more:\n{}",
        unseen.join("\n")
    );
}
