//! A configuration folder, loaded whole: vocabulary, site model, rules, mappings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use event::config::{Diagnostic, Reader};
use event::identity::Digest;
use event::{Interner, Vocabulary};
use ingest::decode::{Decoder, SourceDecoding};
use ingest::mapping::Mappings;
use rules::engine::{Options, SourceOptions};
use rules::plan::Plan;

use crate::config::Config;

/// Everything a configuration says, compiled.
pub struct Setup {
    /// The top file.
    pub config: Config,
    /// Kinds and fields.
    pub vocabulary: Arc<Vocabulary>,
    /// Texts.
    pub interner: Arc<Interner>,
    /// The rules.
    pub plan: Arc<Plan>,
    /// The mappings.
    pub mappings: Arc<Mappings>,
    /// Hash over all that decides about incidents, in hex: which configuration was in force.
    pub hash: String,
}

/// Path and text of a file.
type Text = (String, String);

impl Setup {
    /// Loads a folder. The error holds every fault of every file, with its place.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        Self::load_with(dir, Interner::shared(), &[])
    }

    /// As [`Self::load`], with texts that a snapshot has put back already, and with further
    /// folders for the data files that tables name.
    pub fn load_with(
        dir: &Path,
        interner: Arc<Interner>,
        further: &[PathBuf],
    ) -> anyhow::Result<Self> {
        Self::load_over(dir, interner, further, None)
    }

    /// As [`Self::load_with`], with another rulebook laid over the configuration's own: a folder
    /// takes its place, a file that of the file of its name.
    pub fn load_over(
        dir: &Path,
        interner: Arc<Interner>,
        further: &[PathBuf],
        rulebook: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let top = dir.join("portcullis.yaml");
        let text = std::fs::read_to_string(&top).with_context(|| {
            format!("{} cannot be read; a configuration folder holds it", top.display())
        })?;
        let (mut reader, root) = Reader::parse(&top.display().to_string(), &text);
        let mut config = Config::read(dir, &mut reader, &root);
        if let Some(rulebook) = rulebook {
            lay_over(&mut config.rules, rulebook)?;
        }
        let mut faults = std::mem::take(&mut reader.diagnostics);

        let mapping_files = read_all(&config.mappings)?;
        let model_files = read_all(&config.model)?;
        let rule_files = read_all(&config.rules)?;
        let mut vocabulary = Vocabulary::default();
        faults.extend(ingest::mapping::declare(&mapping_files, &mut vocabulary));
        faults.extend(rules::lang::declare(&rule_files, &mut vocabulary));
        let vocabulary = Arc::new(vocabulary);

        let dirs = search_dirs(dir, further);
        let sites = &config.sites;
        let model = ingest::model::load(&model_files, &dirs, sites, &vocabulary, &interner);
        let model = match model {
            Ok(model) => Arc::new(model),
            Err(found) => {
                // A missing table makes every rule that reads it faulty: tell the cause alone.
                faults.extend(found);
                check(&faults)?;
                return Err(anyhow!("the site model could not be read"));
            }
        };
        let mappings = ingest::mapping::compile(&mapping_files, vocabulary.clone(), model.clone());
        let plan = rules::lang::compile(&rule_files, vocabulary.clone(), model.clone(), &interner);
        let (mappings, plan) = match (mappings, plan) {
            (Ok(mappings), Ok(plan)) => (Arc::new(mappings), Arc::new(plan)),
            (mappings, plan) => {
                faults.extend(mappings.err().into_iter().flatten());
                faults.extend(plan.err().into_iter().flatten());
                check(&faults)?;
                return Err(anyhow!("the configuration did not compile"));
            }
        };
        check(&faults)?;
        let mut digest = Digest::default().part(config.fingerprint().as_bytes()).number(plan.hash);
        for (_, text) in mapping_files.iter().chain(&model_files).chain(&rule_files) {
            digest = digest.part(text.as_bytes());
        }
        let hash = format!("{:032x}", digest.finish());
        let setup = Self { config, vocabulary, interner, plan, mappings, hash };
        setup.decoder()?;
        Ok(setup)
    }

    /// A decoder for the configured sources.
    pub fn decoder(&self) -> anyhow::Result<Decoder> {
        let sources = self.config.sources.iter().map(|s| SourceDecoding {
            mappings: s.mappings.clone(),
            feed: s.feed.clone(),
            site: s.site.clone(),
            history: !self.config.live,
        });
        let sources: Vec<_> = sources.collect();
        Decoder::new(self.mappings.clone(), &sources, self.interner.clone())
            .map_err(|e| anyhow!("portcullis.yaml: {e}"))
    }

    /// How the engine admits events.
    pub fn options(&self, shards: usize) -> Options {
        let sources = self.config.sources.iter().map(|s| SourceOptions { slack: s.slack });
        Options {
            live: self.config.live,
            shards,
            sources: sources.collect(),
            duplicates_within: self.config.duplicates_within,
            duplicates_max: self.config.duplicates_max,
            clock_skew_max: self.config.live.then_some(self.config.clock_skew_max),
            ..Options::default()
        }
    }

    /// What was read, in a line.
    pub fn summary(&self) -> String {
        format!(
            "ok: {} rules, {} facts, {} mappings, {} tables, {} sources; configuration {}",
            self.plan.rules.len(),
            self.plan.facts.len(),
            self.mappings.names().count(),
            self.plan.model.tables.len(),
            self.config.sources.len(),
            &self.hash[..12],
        )
    }
}

/// What is wrong with a configuration, all at once.
#[derive(Debug)]
pub struct Faults(pub Vec<Diagnostic>);

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.iter().filter(|d| !d.warning).count();
        let text: String = self.0.iter().map(|d| format!("{d}\n")).collect();
        write!(f, "the configuration has {count} fault(s)\n\n{}", text.trim_end())
    }
}

impl std::error::Error for Faults {}

impl Faults {
    /// For editors and build servers: an array of objects.
    pub fn json(&self) -> serde_json::Value {
        let one = |d: &Diagnostic| {
            serde_json::json!({
                "file": d.file,
                "line": d.place.line,
                "column": d.place.column,
                "width": d.width,
                "severity": if d.warning { "warning" } else { "error" },
                "message": d.message,
                "suggestion": d.suggestion,
            })
        };
        self.0.iter().map(one).collect()
    }
}

/// Stops where there is a fault; prints warnings.
pub fn check(faults: &[Diagnostic]) -> anyhow::Result<()> {
    if faults.iter().any(|d| !d.warning) {
        return Err(Faults(faults.to_vec()).into());
    }
    faults.iter().for_each(|warning| eprintln!("{warning}"));
    Ok(())
}

/// Takes a folder's files of YAML for the rulebook, or one file for the one of its name.
fn lay_over(rules: &mut Vec<PathBuf>, rulebook: &Path) -> anyhow::Result<()> {
    if rulebook.is_file() {
        match rules.iter_mut().find(|own| own.file_name() == rulebook.file_name()) {
            Some(own) => *own = rulebook.to_owned(),
            None => rules.push(rulebook.to_owned()),
        }
        return Ok(());
    }
    let named = || rulebook.display().to_string();
    let entries = std::fs::read_dir(rulebook).with_context(named)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|e| e.map(|e| e.path())).collect();
    *rules = paths.with_context(named)?;
    rules.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    rules.sort();
    if rules.is_empty() {
        return Err(anyhow!("{} holds no rulebook: no file ends with .yaml", named()));
    }
    Ok(())
}

/// Paths and texts of files.
pub fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Text>> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Ok((path.display().to_string(), text))
    };
    paths.iter().map(read).collect()
}

/// Where data files that tables name are looked for.
fn search_dirs(dir: &Path, further: &[PathBuf]) -> Vec<PathBuf> {
    let mut dirs = vec![dir.to_owned()];
    dirs.extend_from_slice(further);
    if let Some(data) = std::env::var_os("PORTCULLIS_DATA") {
        dirs.push(PathBuf::from(&data));
        // The data of an example stands in a folder of the example's name.
        dirs.extend(dir.file_name().map(|name| Path::new(&data).join(name)));
    }
    dirs
}
