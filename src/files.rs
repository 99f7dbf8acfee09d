//! The files of a configuration, read once and whole: compiled from memory, and kept as they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use event::config::{Diagnostic, Reader};
use ingest::model::Search;
use serde_json::{Value, json};

use crate::config::Config;

/// Path and text of a file.
pub type Text = (String, String);

/// What a configuration consists of.
#[derive(Clone, Debug)]
pub struct Files {
    /// `portcullis.yaml`.
    pub top: Text,
    /// Mappings.
    pub mappings: Vec<Text>,
    /// Tables of the site model.
    pub model: Vec<Text>,
    /// The rulebook.
    pub rules: Vec<Text>,
    /// Data files, by the name that a table gives them; one that is not found is not here.
    pub data: BTreeMap<String, PathBuf>,
    /// Where data files were looked for.
    pub dirs: Vec<PathBuf>,
}

/// Says what stands where in a kept configuration.
const MANIFEST: &str = "manifest.json";

impl Files {
    /// Reads a folder, with the faults of its top file. `further` are folders for data files; a
    /// `rulebook` is laid over the folder's own.
    pub fn read(
        dir: &Path,
        further: &[PathBuf],
        rulebook: Option<&Path>,
    ) -> anyhow::Result<(Self, Config, Vec<Diagnostic>)> {
        let path = dir.join("portcullis.yaml");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{} cannot be read; a configuration folder holds it", path.display())
        })?;
        let top = (path.display().to_string(), text);
        let (mut config, faults) = read_top(&top, Some(dir));
        if let Some(rulebook) = rulebook {
            lay_over(&mut config.rules, rulebook)?;
        }
        let model = read_all(&config.model)?;
        let dirs = search_dirs(dir, further);
        let found = ingest::model::data_files(&model).into_iter().filter_map(|name| {
            let path = dirs.iter().map(|dir| dir.join(&name)).find(|path| path.is_file())?;
            Some((name, path))
        });
        let files = Self {
            top,
            mappings: read_all(&config.mappings)?,
            rules: read_all(&config.rules)?,
            data: found.collect(),
            model,
            dirs,
        };
        Ok((files, config, faults))
    }

    /// Where the site model's data files are.
    pub fn search(&self) -> Search<'_> {
        Search { found: &self.data, looked_in: &self.dirs }
    }

    /// Writes all of it into a folder, durable when it returns.
    pub fn keep(&self, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir)?;
        let mut manifest = json!({"top": [self.top.0, "portcullis.yaml"]});
        write(&dir.join("portcullis.yaml"), self.top.1.as_bytes())?;
        for (section, texts) in self.sections() {
            let mut kept = Vec::new();
            for (number, (path, text)) in texts.iter().enumerate() {
                let name = kept_name(section, number, path);
                write(&dir.join(&name), text.as_bytes())?;
                kept.push(json!([path, name]));
            }
            manifest[section] = kept.into();
        }
        let mut kept = Vec::new();
        for (number, (name, path)) in self.data.iter().enumerate() {
            let to = kept_name("data", number, name);
            let bytes = fs::read(path).with_context(|| path.display().to_string())?;
            write(&dir.join(&to), &bytes)?;
            kept.push(json!([name, to]));
        }
        manifest["data"] = kept.into();
        write(&dir.join(MANIFEST), format!("{manifest:#}\n").as_bytes())?;
        Ok(fs::File::open(dir)?.sync_all()?)
    }

    fn sections(&self) -> [(&'static str, &Vec<Text>); 3] {
        [("mappings", &self.mappings), ("model", &self.model), ("rules", &self.rules)]
    }

    /// Reads what [`Self::keep`] wrote.
    pub fn kept(dir: &Path) -> anyhow::Result<(Self, Config, Vec<Diagnostic>)> {
        let path = dir.join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let manifest: Value = serde_json::from_str(&text).context(MANIFEST)?;
        let pairs = |section: &str| -> Vec<(String, PathBuf)> {
            let items = manifest[section].as_array().into_iter().flatten();
            let pair =
                |item: &Value| Some((item[0].as_str()?.to_owned(), dir.join(item[1].as_str()?)));
            items.filter_map(pair).collect()
        };
        let texts = |section: &str| -> anyhow::Result<Vec<Text>> {
            let read = |(path, kept): (String, PathBuf)| {
                let text = fs::read_to_string(&kept).with_context(|| kept.display().to_string())?;
                Ok((path, text))
            };
            pairs(section).into_iter().map(read).collect()
        };
        let kept = dir.join("portcullis.yaml");
        let text = fs::read_to_string(&kept).with_context(|| kept.display().to_string())?;
        let top = (manifest["top"][0].as_str().unwrap_or_default().to_owned(), text);
        let (config, faults) = read_top(&top, None);
        let files = Self {
            top,
            mappings: texts("mappings")?,
            model: texts("model")?,
            rules: texts("rules")?,
            data: pairs("data").into_iter().collect(),
            dirs: vec![dir.to_owned()],
        };
        Ok((files, config, faults))
    }
}

/// The files that a folder's top file names, and itself.
pub fn named(dir: &Path) -> Vec<PathBuf> {
    let path = dir.join("portcullis.yaml");
    let mut paths = vec![path.clone()];
    if let Ok(text) = fs::read_to_string(&path) {
        let (config, _) = read_top(&(path.display().to_string(), text), Some(dir));
        paths.extend([config.mappings, config.model, config.rules].into_iter().flatten());
    }
    paths
}

fn read_top(top: &Text, dir: Option<&Path>) -> (Config, Vec<Diagnostic>) {
    let (mut reader, root) = Reader::parse(&top.0, &top.1);
    let config = Config::read(dir, &mut reader, &root);
    (config, reader.diagnostics)
}

/// A name that is nobody else's, and still says what it was.
fn kept_name(section: &str, number: usize, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    format!("{section}-{number:03}-{name}")
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = fs::File::create(path)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    };
    write().with_context(|| path.display().to_string())
}

/// Paths and texts of files.
pub fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Text>> {
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Ok((path.display().to_string(), text))
    };
    paths.iter().map(read).collect()
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
    let entries = fs::read_dir(rulebook).with_context(named)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|e| e.map(|e| e.path())).collect();
    *rules = paths.with_context(named)?;
    rules.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    rules.sort();
    if rules.is_empty() {
        return Err(anyhow!("{} holds no rulebook: no file ends with .yaml", named()));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Setup;

    #[test]
    fn a_kept_configuration_is_the_same_one() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/harbour-north");
        let setup = Setup::load(&here).unwrap_or_else(|e| panic!("{e:#}"));
        let kept = dir.path().join("kept");
        setup.files.keep(&kept).unwrap_or_else(|e| panic!("{e:#}"));
        let again = Setup::kept(&kept, setup.interner.clone()).unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!((again.hash, again.plan.hash), (setup.hash, setup.plan.hash));
    }

    #[test]
    fn data_files_and_patterns_outside_the_folder_are_kept() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(dir.path()))
                .unwrap_or_else(|e| panic!("{e}"));
            fs::write(path, text).unwrap_or_else(|e| panic!("{e}"));
        };
        put("c/portcullis.yaml", "model: [m.yaml]\nrules: ['../r/*.yaml']\n");
        put(
            "c/m.yaml",
            "tables:\n  seals: {columns: {number: string}, file: seals.csv, key: id}\n",
        );
        put("c/seals.csv", "id,number\nC1,7\n");
        put("r/r.yaml", "rules: [{id: r, on: SealRead, if: e.container in seals}]\n");
        let setup = Setup::load(&dir.path().join("c")).unwrap_or_else(|e| panic!("{e:#}"));
        let kept = dir.path().join("kept");
        setup.files.keep(&kept).unwrap_or_else(|e| panic!("{e:#}"));
        for gone in ["c", "r"] {
            fs::remove_dir_all(dir.path().join(gone)).unwrap_or_else(|e| panic!("{e}"));
        }
        let again = Setup::kept(&kept, setup.interner.clone()).unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!((again.plan.hash, again.plan.model.tables[0].rows.len()), (setup.plan.hash, 1));
        assert_eq!(again.hash, setup.hash);
    }
}
