//! Planted mutants, against the code that they are planted in.

use std::collections::BTreeSet;

use super::Tree;

/// Name, file, from, to, the test that must fail; between them one tab.
const LIST: &str = "tests/mutants/list";

/// Each mutant has all of its parts and a name of its own, and what it changes still stands in its file.
pub fn mutants_fit_the_code(tree: &Tree) -> Vec<String> {
    let mut names = BTreeSet::new();
    let lines = tree.text(LIST).lines().enumerate();
    let faults = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).filter_map(
        |(number, line)| {
            let parts: Vec<_> = line.split('\t').collect();
            let told = |message: String| Some(format!("{LIST}:{}: {message}", number + 1));
            let [name, file, from, to, test] = parts[..] else {
                return told(format!("{} parts, wanted 5", parts.len()));
            };
            if !tree.text(file).contains(from) || from == to {
                return told(format!("{name}: {file} does not say `{from}`"));
            }
            (!names.insert(name) || test.is_empty())
                .then(|| told(format!("{name} stands twice, or names no test")))?
        },
    );
    faults.collect()
}
