//! Rules about the code itself, as a test: what a reviewer would otherwise have to remember.
//!
//! Every rule is a function from the tree to its faults, so that [`planted_faults_are_found`] can
//! show each of them a fault. A rule tells all faults at once. Code is looked at without comments
//! and texts; the reading is by characters and braces and no parser of Rust, which is enough here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[path = "tidy/catalogue.rs"]
mod catalogue;
#[path = "tidy/mutants.rs"]
mod mutants;

/// Lines of one file: past this nobody keeps it in mind.
const FILE_LINES_MAX: usize = 700;

/// Lines of one function, signature and braces included.
const FUNCTION_LINES_MAX: usize = 90;

/// Functions that may be longer: (file, function, why).
const FUNCTIONS_LONG: &[(&str, &str, &str)] = &[];

/// What may stand below the root unread: built, fetched or run.
const SKIPPED: [&str; 4] = ["target", ".git", ".cache", "portcullis-data"];

const LAWS: &str = "docs/ARCHITECTURE.md";

/// Files of the repository by path, and every folder that holds one.
#[derive(Default)]
struct Tree {
    texts: BTreeMap<String, String>,
    paths: BTreeSet<String>,
}

impl Tree {
    fn read() -> Self {
        let mut tree = Self::default();
        tree.walk(Path::new(env!("CARGO_MANIFEST_DIR")), "");
        assert!(tree.texts.len() > 100, "only {} files were found", tree.texts.len());
        tree
    }

    fn walk(&mut self, dir: &Path, prefix: &str) {
        let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if entry.path().is_dir() {
                self.walk(&entry.path(), &format!("{path}/"));
            } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
                self.add(&path, text);
            } else {
                // Not UTF-8: a picture or a packed file has no lines to judge.
                self.add(&path, String::new());
            }
        }
    }

    fn add(&mut self, path: &str, text: String) {
        let mut folder = path;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            self.paths.insert(parent.to_owned());
            folder = parent;
        }
        self.paths.insert(path.to_owned());
        self.texts.insert(path.to_owned(), text);
    }

    fn text(&self, path: &str) -> &str {
        self.texts.get(path).map_or("", String::as_str)
    }

    fn ending(&self, end: &str) -> impl Iterator<Item = (&str, &str)> {
        let all = self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        all.filter(move |(path, _)| path.ends_with(end))
    }
}

/// Rust without comments and without what stands in texts and characters; lines stay where they
/// are.
fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = vec![b' '; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            at + rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            at + rest.find("*/").map_or(rest.len(), |n| n + 2)
        } else if let Some(length) = quoted(text, at) {
            at + length
        } else {
            out[at] = bytes[at];
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        for n in at..end {
            if bytes[n] == b'\n' {
                out[n] = b'\n';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Bytes of the text or character that begins here.
fn quoted(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let word_before = text[..at].chars().next_back().is_some_and(char::is_alphanumeric);
    let raw = rest.trim_start_matches('b');
    if let Some(raw) = raw.strip_prefix('r').filter(|_| !word_before) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(body) = raw[hashes..].strip_prefix('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let head = rest.len() - body.len();
            return Some(head + body.find(&close).map_or(body.len(), |n| n + close.len()));
        }
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut chars = rest.char_indices().skip(1);
    if quote == '\'' {
        // 'a' and '\n' are characters, 'a without a second quote is a lifetime.
        let mut ahead = rest.chars().skip(1);
        let escaped = ahead.next() == Some('\\');
        if !escaped && ahead.next() != Some('\'') {
            return None;
        }
    }
    while let Some((place, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(place + 1);
        }
    }
    Some(rest.len())
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

/// Places of a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).is_some_and(|n| is_word(bytes[n]));
        let after = bytes.get(at + word.len()).is_some_and(|c| is_word(*c));
        !before && !after
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Name, first line and lines of every function with a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let name: String =
            code[at + 2..].trim_start().chars().take_while(|c| is_word(*c as u8)).collect();
        // The body is the first brace outside the parentheses; a `;` there is a declaration.
        let (mut inside, mut open, mut end) = (0_i32, 0_i32, None);
        for (place, c) in bytes.iter().enumerate().skip(at) {
            match c {
                b'(' | b'[' => inside += 1,
                b')' | b']' => inside -= 1,
                b'{' => open += 1,
                b'}' => open -= 1,
                b';' if inside == 0 && open == 0 => break,
                _ => {}
            }
            if *c == b'}' && open <= 0 {
                end = Some(place);
                break;
            }
        }
        let Some(end) = end.filter(|_| !name.is_empty()) else { continue };
        let first = line_of(code, at);
        found.push((name, first, line_of(code, end) + 1 - first));
    }
    found
}

/// Whether this is test code: a file of tests, or what follows `#[cfg(test)]`.
fn tests_from(path: &str, code: &str) -> Option<usize> {
    if path.starts_with("tests/") || path.contains("/tests/") {
        return Some(0);
    }
    code.find("#[cfg(test)]")
}

fn files_are_headed_and_short(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".rs") {
        if !text.starts_with("//! ") {
            faults.push(format!("{path}:1: the first line is not `//! ` and what the file is for"));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
    }
    faults
}

fn functions_are_short(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let mut unseen: Vec<_> = FUNCTIONS_LONG.iter().map(|(p, f, _)| (*p, *f)).collect();
    for (path, text) in tree.ending(".rs") {
        for (name, line, lines) in functions(&code(text)) {
            let listed = unseen.contains(&(path, name.as_str()));
            unseen.retain(|known| *known != (path, name.as_str()));
            if lines > FUNCTION_LINES_MAX && !listed {
                faults.push(format!(
                    "{path}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}"
                ));
            }
        }
    }
    faults.extend(unseen.iter().map(|(p, f)| format!("FUNCTIONS_LONG: no `{f}` in {p}")));
    faults
}

fn nothing_is_left_undone(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let code = code(text);
        for word in ["todo!", "unimplemented!", "dbg!"] {
            for at in words(&code, word.trim_end_matches('!')) {
                if code[at..].starts_with(word) {
                    faults.push(format!("{path}:{}: `{word}`", line_of(&code, at)));
                }
            }
        }
        for (at, _) in code.match_indices("#[ignore") {
            faults.push(format!("{path}:{}: an ignored test", line_of(&code, at)));
        }
    }
    faults
}

fn tests_do_not_sleep(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let code = code(text);
        let Some(from) = tests_from(path, &code) else { continue };
        for word in ["thread::sleep", "time::sleep", "sleep_until"] {
            for (at, _) in code.match_indices(word).filter(|(at, _)| *at >= from) {
                let line = line_of(&code, at);
                faults.push(format!("{path}:{line}: wait for a condition with a deadline"));
            }
        }
    }
    faults
}

fn no_machine_is_named(tree: &Tree) -> Vec<String> {
    // Written in halves, or this file would name them.
    let folders = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["/ho", "me/"].concat()];
    let mut faults = Vec::new();
    for (path, text) in &tree.texts {
        for (number, line) in text.lines().enumerate() {
            for folder in &folders {
                if line.contains(folder.as_str()) {
                    faults.push(format!("{path}:{}: names {folder}", number + 1));
                }
            }
        }
    }
    faults
}

/// What `rules/` may not touch of `std`: clocks, files, threads and all else that differs.
const IMPURE: [&str; 7] = ["env", "fs", "io", "net", "process", "thread", "time"];

fn the_rules_are_pure(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| path.starts_with("rules/src/")) {
        let code = code(text);
        for (at, _) in code.match_indices("std::") {
            let rest = &code[at + 5..];
            let group = rest.strip_prefix('{').and_then(|g| g.split_once('}')).map(|(g, _)| g);
            let names: Vec<_> = match group {
                Some(group) => group.split(',').map(str::trim).collect(),
                None => vec![rest],
            };
            for name in names {
                let head: String = name.chars().take_while(|c| is_word(*c as u8)).collect();
                if IMPURE.contains(&head.as_str()) {
                    faults.push(format!("{path}:{}: uses std::{head}", line_of(&code, at)));
                }
            }
        }
    }
    faults
}

const MEMBERS: [&str; 5] = ["event", "ingest", "rules", "sinks", "workload"];

/// Names of a manifest's dependencies, by section.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let (mut section, mut found) = ("", Vec::new());
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((name, _)) = line.split_once(['=', '.'])
            && section.ends_with("dependencies")
            && !section.starts_with("workspace")
        {
            found.push((section, name.trim()));
        }
    }
    found
}

fn parts_depend_in_one_direction(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for part in ["event", "ingest", "rules", "sinks", "benches"] {
        let path = format!("{part}/Cargo.toml");
        for (section, name) in dependencies(tree.text(&path)) {
            // The benches measure all parts; what they simulate with knows the vocabulary only.
            let free = part == "benches" && section == "dev-dependencies";
            let allowed = name == "event" && part != "event" || free;
            if (MEMBERS.contains(&name) || name == "portcullis") && !allowed {
                faults.push(format!("{path}: {part} may not depend on {name} ({section})"));
            }
        }
    }
    faults
}

/// Cells of a table's row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(line.split('|').map(str::trim).collect())
}

/// What stands in backquotes.
fn backquoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// `| INV-… | status | assertion | test | mutant |`: what stands has all of it, and tests exist.
fn laws_have_their_tests(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let mut told = BTreeSet::new();
    for (number, line) in tree.text(LAWS).lines().enumerate() {
        let Some(cells) = cells(line).filter(|c| c[0].starts_with("**INV-")) else { continue };
        let mut fault = |message: String| faults.push(format!("{LAWS}:{}: {message}", number + 1));
        let [law, status, assertion, tests, mutant] = cells[..] else {
            fault(format!("{} cells, wanted law, status, assertion, test, mutant", cells.len()));
            continue;
        };
        let law = law.trim_matches('*');
        told.insert(law.to_owned());
        match status {
            "stands" => {
                for (cell, name) in
                    [(assertion, "an assertion"), (tests, "a test"), (mutant, "a mutant")]
                {
                    if backquoted(cell).next().is_none() {
                        fault(format!("{law} stands without {name}"));
                    }
                }
            }
            "in part" | "not yet" => {}
            other => fault(format!("`{other}` is none of stands, in part, not yet")),
        }
        for file in backquoted(assertion).filter(|f| f.contains('/')) {
            if !tree.paths.contains(file) {
                fault(format!("{law}: no file {file}"));
            }
        }
        for test in backquoted(tests).filter(|_| status != "not yet") {
            let Some((file, function)) = test.split_once("::") else {
                fault(format!("{law}: `{test}` is not file::function"));
                continue;
            };
            if !code(tree.text(file)).contains(&format!("fn {function}(")) {
                fault(format!("{law}: no function {function} in {file}"));
            }
        }
    }
    for (path, text) in tree.ending(".rs").chain(tree.ending(".md")) {
        for (at, _) in text.match_indices("INV-") {
            let name: String =
                text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '-').collect();
            if name.len() > 4 && !told.contains(&name) {
                faults.push(format!("{path}:{}: {name} is not in {LAWS}", line_of(text, at)));
            }
        }
    }
    faults
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A path seen from the folder of `from`.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

fn links_lead_somewhere(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".md") {
        for (at, _) in text.match_indices("](") {
            let Some((target, _)) = text[at + 2..].split_once(')') else { continue };
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
            let line = line_of(text, at);
            let headings = tree.text(&file).lines().filter(|l| l.starts_with('#'));
            if !tree.paths.contains(&file) {
                faults.push(format!("{path}:{line}: no {file}"));
            } else if !heading.is_empty() && !headings.map(anchor).any(|a| a == heading) {
                faults.push(format!("{path}:{line}: no heading #{heading} in {file}"));
            }
        }
    }
    faults
}

/// Paths in backquotes that begin at a part of the tree. A changelog may name what is gone; a path
/// with capitals for a name, or with a star, stands for many.
fn documents_name_what_exists(tree: &Tree) -> Vec<String> {
    let parts = ["event", "ingest", "rules", "sinks", "benches", "src", "config", "docker", "docs"];
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".md").filter(|(path, _)| *path != "CHANGELOG.md") {
        for (number, line) in text.lines().enumerate() {
            for word in backquoted(line) {
                let word = word.split("::").next().unwrap_or(word).trim_end_matches('/');
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                let ours = parts.iter().chain(&["tests"]).any(|p| {
                    word.strip_prefix(p).is_some_and(|rest| rest.starts_with('/'))
                        && (word.contains('.') || word.matches('/').count() > 1)
                });
                let name = |c: char| plain(c) || matches!(c, '/' | '.' | '_' | '-');
                if ours && word.chars().all(name) && !tree.paths.contains(word) {
                    faults.push(format!("{path}:{}: no {word}", number + 1));
                }
            }
        }
    }
    faults
}

fn decisions_are_numbered(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let decisions = tree.ending(".md").filter_map(|(p, _)| p.strip_prefix("docs/decisions/"));
    for (number, name) in decisions.filter(|name| *name != "README.md").enumerate() {
        if !name.starts_with(&format!("{:04}-", number + 1)) {
            faults.push(format!("docs/decisions/{name}: wanted number {:04}", number + 1));
        }
    }
    faults
}

fn configurations_are_whole(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for path in tree.paths.iter().filter(|p| p.starts_with("config/")) {
        let folder = !tree.texts.contains_key(path);
        let has = |dir: &str| tree.paths.contains(&format!("{dir}/portcullis.yaml"));
        let above = path.match_indices('/').any(|(at, _)| has(&path[..at]));
        let named = tree.ending("/portcullis.yaml").any(|(file, text)| {
            let files =
                text.split(['[', ']', ',', '\n', ' ']).filter(|word| word.starts_with("../"));
            files.map(|word| resolve(file, word)).any(|word| word.starts_with(&format!("{path}/")))
        });
        let prefix = format!("{path}/");
        let below =
            tree.paths.iter().any(|p| p.starts_with(&prefix) && p.ends_with("/portcullis.yaml"));
        if folder && !above && !has(path) && !below && !named {
            faults.push(format!("{path}: no portcullis.yaml here, and none that names it"));
        }
    }
    faults
}

/// The texts of a JSON array of texts: an exec form.
fn exec_form(line: &str) -> Vec<&str> {
    line.split('"').skip(1).step_by(2).collect()
}

fn images_name_what_exists(tree: &Tree) -> Vec<String> {
    let (dockerfile, compose) = ("docker/Dockerfile", "docker/compose.yaml");
    let mut faults = Vec::new();
    let cli = tree.text("src/cli.rs");
    let console = tree.ending(".rs").filter(|(path, _)| path.starts_with("src/console"));
    let console: String = console.map(|(_, text)| text).collect();
    let mut exposed = BTreeSet::new();
    for line in tree.text(dockerfile).lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "COPY" if !rest.starts_with("--from") => {
                let sources: Vec<_> = rest.split(' ').filter(|w| !w.starts_with("--")).collect();
                for source in sources.iter().rev().skip(1).filter(|s| **s != ".") {
                    if !tree.paths.contains(source.trim_end_matches('/')) {
                        faults.push(format!("{dockerfile}: no {source}"));
                    }
                }
            }
            "EXPOSE" => exposed.extend(rest.split(' ').map(str::to_owned)),
            "CMD" => {
                let words = exec_form(rest);
                let command = words.first().copied().unwrap_or_default();
                let first = command.get(..1).unwrap_or_default().to_uppercase();
                let variant = format!("    {first}{}", command.get(1..).unwrap_or_default());
                if !cli.lines().any(|l| l.starts_with(&variant)) {
                    faults.push(format!("{dockerfile}: no command `{command}` in src/cli.rs"));
                }
                for flag in words.iter().filter_map(|w| w.strip_prefix("--")) {
                    if !cli.contains(&format!("pub {}:", flag.replace('-', "_"))) {
                        faults.push(format!("{dockerfile}: no flag --{flag} in src/cli.rs"));
                    }
                }
                for word in words.iter().filter_map(|w| w.rsplit_once(':')) {
                    if !exposed.contains(word.1) {
                        faults.push(format!("{dockerfile}: port {} is not exposed", word.1));
                    }
                }
            }
            _ => {}
        }
    }
    for (path, text) in tree.ending(".sh").filter(|(path, _)| path.starts_with("docker/")) {
        for (at, _) in text.match_indices("GET /") {
            let target = text[at + 4..].split(' ').next().unwrap_or_default();
            if !console.contains(&format!("\"{target}\"")) {
                faults.push(format!("{path}: the console has no {target}"));
            }
        }
    }
    for line in tree.text(compose).lines() {
        let item = line.trim().trim_start_matches("- ").trim_matches('"');
        if item.starts_with("./") || item.starts_with("../") {
            let named = resolve(compose, item.split(':').next().unwrap_or_default());
            if !tree.paths.contains(&named) {
                faults.push(format!("{compose}: no {named}"));
            }
        }
    }
    faults.extend(ports_are_served(tree, &exposed));
    faults
}

/// Ports that compose publishes or configurations dial, against what the services listen on.
fn ports_are_served(tree: &Tree, exposed: &BTreeSet<String>) -> Vec<String> {
    let compose = tree.text("docker/compose.yaml");
    let mut faults = Vec::new();
    let mut served = exposed.clone();
    let mosquitto = tree.text("docker/mosquitto.conf").lines();
    served.extend(mosquitto.filter_map(|l| Some(l.strip_prefix("listener ")?.to_owned())));
    let kafka = compose.lines().filter_map(|l| l.split_once("KAFKA_LISTENERS:"));
    for (_, listeners) in kafka {
        let ports =
            listeners.split(',').filter_map(|l| l.trim_matches([' ', '"']).rsplit(':').next());
        served.extend(ports.map(str::to_owned));
    }
    for line in compose.lines().filter(|l| l.trim().starts_with("- \"")) {
        let port = line.trim().trim_end_matches('"').rsplit(':').next().unwrap_or_default();
        if !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) && !served.contains(port) {
            faults.push(format!("docker/compose.yaml: nothing listens on {port}"));
        }
    }
    let configs = tree.ending(".yaml").filter(|(path, _)| path.starts_with("docker/config/"));
    for (path, text) in configs {
        for service in ["kafka", "mosquitto"] {
            for (at, _) in text.match_indices(&format!("{service}:")) {
                let port: String = text[at + service.len() + 1..]
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .collect();
                if !port.is_empty() && !served.contains(&port) {
                    faults.push(format!("{path}: {service} does not listen on {port}"));
                }
            }
        }
    }
    faults
}

type Rule = fn(&Tree) -> Vec<String>;

const RULES: [(&str, Rule); 15] = [
    ("files are headed and short", files_are_headed_and_short),
    ("functions are short", functions_are_short),
    ("nothing is left undone", nothing_is_left_undone),
    ("tests do not sleep", tests_do_not_sleep),
    ("no machine is named", no_machine_is_named),
    ("the rules are pure", the_rules_are_pure),
    ("parts depend in one direction", parts_depend_in_one_direction),
    ("laws have their tests", laws_have_their_tests),
    ("links lead somewhere", links_lead_somewhere),
    ("documents name what exists", documents_name_what_exists),
    ("decisions are numbered", decisions_are_numbered),
    ("configurations are whole", configurations_are_whole),
    ("images name what exists", images_name_what_exists),
    ("scenarios cover the catalogue", catalogue::scenarios_cover_the_catalogue),
    ("mutants fit the code", mutants::mutants_fit_the_code),
];

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::read();
    let mut count = 0;
    for (name, rule) in RULES {
        let faults = rule(&tree);
        if !faults.is_empty() {
            println!("{name}:");
        }
        for fault in &faults {
            println!("  {fault}");
        }
        count += faults.len();
    }
    assert_eq!(count, 0, "{count} faults, listed above");
}

/// Which rule, the files it reads, and how many faults it must find.
type Case<'a> = (usize, &'a [(&'a str, &'a str)], usize);

/// A small tree for each rule, with the faults it must find.
#[test]
fn planted_faults_are_found() {
    let long = format!("//! x\nfn f() {{\n{}}}\n", "let _ = 1;\n".repeat(90));
    let machine = ["see /wo", "rk/x"].concat();
    let law = "| **INV-LOG** | stands | `a/b.rs` | `a/t.rs::gone` | x |\nINV-ACK";
    let image = "COPY gone /x\nEXPOSE 1\nCMD [\"fly\", \"--gone\", \"0.0.0.0:2\"]\n";
    let scenario = |name: &str| format!("rules/tests/scenarios/{name}");
    let (list, shown, other) = (scenario("catalogue.txt"), scenario("f.yaml"), scenario("g.yaml"));
    let map = "| A | b | `f.yaml::x` |\n| A | c | `f.yaml::x` |\n";
    let compose = "- ./gone:/x\n- \"9:9\"\n";
    let mutants =
        "# n\nm\ta.rs\tx\ty\tt\nm\ta.rs\tx\ty\tt\no\ta.rs\tz\ty\tt\np\tb.rs\tx\ty\tt\nq\ta.rs\tx\n";
    let cases: [Case<'_>; 18] = [
        (0, &[("a.rs", "fn f() {}\n"), ("b.rs", "//! x\n")], 1),
        (1, &[("a.rs", &long), ("b.rs", "//! x\nfn f(a: [u8; 2]);\nfn g() {}\n")], 1),
        (2, &[("a.rs", "//! todo!()\nfn f() { todo!() }\n#[ignore]\nlet s = \"dbg!\";")], 2),
        (3, &[("a.rs", "thread::sleep(x);\n#[cfg(test)]\nthread::sleep(x);")], 1),
        (3, &[("a/tests/b.rs", "time::sleep(x); // thread::sleep")], 1),
        (4, &[("a.md", &machine)], 1),
        (5, &[("rules/src/a.rs", "use std::{fmt, fs::File};\nstd::time::Instant::now()")], 2),
        (6, &[("rules/Cargo.toml", "[dependencies]\nevent = {}\nsinks = {}\n")], 1),
        (7, &[(LAWS, law)], 4),
        (8, &[("d/a.md", "[x](../b.md) [y](a.md#no) [z](#here)\n# Here")], 2),
        (9, &[("a.md", "`src/gone.rs` `src/NAME.rs` `src` `ingest/a/b`")], 2),
        (10, &[("docs/decisions/0002-x.md", "")], 1),
        (11, &[("config/x/y.yaml", ""), ("config/z/portcullis.yaml", "r: [../w/*.yaml]")], 1),
        (11, &[("config/w/y.yaml", ""), ("config/z/portcullis.yaml", "r: [../w/*.yaml]")], 0),
        (12, &[("docker/Dockerfile", image), ("docker/compose.yaml", compose)], 6),
        (13, &[(&list, "A\n  b\n  c\n"), (&shown, "- name: x\n"), ("docs/TESTING.md", map)], 0),
        // One edge is not shown, one scenario and one edge are not there, one file shows nothing.
        (13, &[(&list, "A\n  b\n  c\n  d\n"), (&other, ""), ("docs/TESTING.md", map)], 6),
        (14, &[("tests/mutants/list", mutants), ("a.rs", "x")], 4),
    ];
    for (number, files, wanted) in cases {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.add(path, (*text).to_owned());
        }
        let faults = RULES[number].1(&tree);
        assert_eq!(faults.len(), wanted, "{}: {faults:#?}", RULES[number].0);
    }
}
