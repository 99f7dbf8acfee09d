//! What sites expect to be told, against the scenarios that show it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Tree, backquoted, cells, code};

/// Rows, and their edges further in.
const LIST: &str = "rules/tests/scenarios/catalogue.txt";

/// `| row | edge | scenarios |`.
const MAP: &str = "docs/TESTING.md";

const SCENARIOS: &str = "rules/tests/scenarios/";

/// Every edge of every row has a scenario that exists, and every file of scenarios shows something.
/// A scenario is `file.yaml::its name`, or a test of the program, `path/file.rs::function`.
pub fn scenarios_cover_the_catalogue(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let mut uncovered = BTreeMap::new();
    let mut row = "";
    for (number, line) in tree.text(LIST).lines().enumerate() {
        match line.strip_prefix("  ") {
            None => row = line,
            Some(edge) => {
                uncovered.insert((row, edge), number + 1);
            }
        }
    }
    let files = tree.ending(".yaml").filter_map(|(path, text)| {
        let file = path.strip_prefix(SCENARIOS).filter(|file| !file.contains('/'))?;
        let names = text.lines().filter_map(|line| line.strip_prefix("- name: "));
        Some((file, names.collect::<BTreeSet<_>>()))
    });
    let files: BTreeMap<_, _> = files.collect();
    let mut shown = BTreeSet::new();
    for (number, line) in tree.text(MAP).lines().enumerate() {
        let Some(&[row, edge, scenarios]) = cells(line).as_deref().and_then(<[_]>::first_chunk)
        else {
            continue;
        };
        let named: Vec<_> = backquoted(scenarios).filter_map(|s| s.split_once("::")).collect();
        let ours = |(file, _): &&(&str, &str)| file.ends_with(".yaml") || file.ends_with(".rs");
        let named: Vec<_> = named.iter().filter(ours).collect();
        let listed = uncovered.contains_key(&(row, edge));
        let mut fault = |message: String| faults.push(format!("{MAP}:{}: {message}", number + 1));
        if !named.is_empty() && !listed {
            fault(format!("`{row}`, `{edge}` stands twice, or not in {LIST}"));
        }
        let mut whole = !named.is_empty();
        for (file, name) in named {
            shown.insert(*file);
            // What no rulebook's test can say is shown by a test of the program.
            let test = file.ends_with(".rs");
            let told = test && code(tree.text(file)).contains(&format!("fn {name}("));
            if !told && !files.get(file).is_some_and(|names| names.contains(name)) {
                let folder = if test { "" } else { SCENARIOS };
                fault(format!("no scenario `{name}` in {folder}{file}"));
                whole = false;
            }
        }
        if whole {
            uncovered.remove(&(row, edge));
        }
    }
    for ((row, edge), line) in uncovered {
        faults.push(format!("{LIST}:{line}: no scenario shows `{row}`, `{edge}`: see {MAP}"));
    }
    for file in files.keys().filter(|file| !shown.contains(*file)) {
        faults.push(format!("{SCENARIOS}{file}: shows no row of {LIST}"));
    }
    faults
}
