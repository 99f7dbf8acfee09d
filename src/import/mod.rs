//! `import`: rules of other systems as a rulebook.

mod detection;
mod sigma;

use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// Runs `import sigma`: the rulebook goes to standard output, what it cannot say to standard error.
pub fn sigma(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut documents = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        documents.extend(sigma::documents(&path.display().to_string(), &text));
    }
    let imported = sigma::import(&documents);
    for refusal in &imported.refused {
        eprintln!("not imported: {refusal}");
    }
    if imported.rules == 0 {
        bail!("nothing could be imported");
    }
    print!("{}", imported.rulebook);
    eprintln!(
        "{} rules imported, {} not; map the named kinds and fields, then run `portcullis check`",
        imported.rules,
        imported.refused.len()
    );
    Ok(())
}
