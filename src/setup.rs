//! A configuration folder, loaded whole: vocabulary, site model, rules, mappings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use event::config::Diagnostic;
use event::identity::Digest;
use event::{Interner, Vocabulary};
use ingest::decode::{Decoder, SourceDecoding};
use ingest::mapping::Mappings;
use rules::engine::{Options, SourceOptions};
use rules::plan::Plan;

use crate::config::Config;
use crate::files::Files;

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
    /// What it was compiled from.
    pub files: Files,
}

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
        let (files, config, faults) = Files::read(dir, further, rulebook)?;
        Self::compile(files, config, faults, interner)
    }

    /// One that was kept by [`Files::keep`].
    pub fn kept(dir: &Path, interner: Arc<Interner>) -> anyhow::Result<Self> {
        let (files, config, faults) = Files::kept(dir)?;
        Self::compile(files, config, faults, interner)
    }

    fn compile(
        files: Files,
        config: Config,
        mut faults: Vec<Diagnostic>,
        interner: Arc<Interner>,
    ) -> anyhow::Result<Self> {
        let mut vocabulary = Vocabulary::default();
        faults.extend(ingest::mapping::declare(&files.mappings, &mut vocabulary));
        let mut rulebook = rules::lang::parse(&files.rules);
        faults.extend(rules::lang::declare(&mut rulebook, &mut vocabulary));
        let vocabulary = Arc::new(vocabulary);

        let sites = &config.sites;
        let model =
            ingest::model::load(&files.model, files.search(), sites, &vocabulary, &interner);
        let model = match model {
            Ok(model) => Arc::new(model),
            Err(found) => {
                // A missing table makes every rule that reads it faulty: tell the cause alone.
                faults.extend(found);
                check(&faults)?;
                return Err(anyhow!("the site model could not be read"));
            }
        };
        let plan = rules::lang::compile(rulebook, vocabulary.clone(), model.clone(), &interner);
        // The lists of the rulebook are tables, too: a topic may change them.
        let model = plan.as_ref().map_or(model, |plan| plan.model.clone());
        let mappings = ingest::mapping::compile(&files.mappings, vocabulary.clone(), model);
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
        for (_, text) in files.mappings.iter().chain(&files.model).chain(&files.rules) {
            digest = digest.part(text.as_bytes());
        }
        let hash = format!("{:032x}", digest.finish());
        let setup = Self { config, vocabulary, interner, plan, mappings, hash, files };
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
            late: self.config.late,
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
