//! The program under load: a process of its own, with a configuration and a data folder of its own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// How long anything may take that the program does by itself.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `portcullis run`, until the value is dropped.
pub struct Program {
    child: Child,
    pub stdin: Option<ChildStdin>,
    url: String,
    agent: ureq::Agent,
    said: PathBuf,
}

impl Program {
    /// Starts it, and waits until its source stands.
    pub fn start(binary: &Path, config: &Path, data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        let said = data.with_extension("stderr");
        let mut child = Command::new(binary)
            .args(["run", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .arg("--data")
            .arg(data)
            .env("PORTCULLIS_LOG", "warn")
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&said)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE));
        let agent = config.build().into();
        let mut program = Self { child, stdin, url: String::new(), agent, said };
        let lines = stdout.map(BufReader::new).into_iter().flat_map(BufRead::lines);
        let mut urls = lines
            .map_while(Result::ok)
            .filter_map(|l| Some(l.split_once("listening on ")?.1.into()));
        match urls.next() {
            Some(url) => program.url = url,
            None => bail!("{} did not begin to listen: {}", binary.display(), program.last_words()),
        }
        let up = |sources: &Value| {
            let all = sources["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
            !all.is_empty() && all.iter().all(|source| source["connected"] == true)
        };
        program.wait_for("/api/v1/sources", up)?;
        Ok(program)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it has said.
    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        let lines: Vec<_> = said.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// What the interface says.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.agent.get(format!("{}{path}", self.url)).call();
        let failed = || format!("the program under load does not answer: {}", self.last_words());
        let text = answer.with_context(failed)?.body_mut().read_to_string()?;
        serde_json::from_str(&text).with_context(|| format!("{path} is not JSON"))
    }

    /// Hands canonical events to the source `end`.
    pub fn post(&self, lines: &str) -> anyhow::Result<()> {
        let request = self.agent.post(format!("{}/api/v1/events", self.url));
        request.header("content-type", "application/x-ndjson").send(lines)?;
        Ok(())
    }

    fn wait_for(&self, path: &str, done: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.get(path)?;
            if done(&value) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{path} stays {value}: is the broker there, and is it the right address?");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ids of the incidents that `replay` of the same program finds in a file.
pub fn expected(binary: &Path, config: &Path, file: &Path) -> anyhow::Result<Vec<String>> {
    let found = file.with_extension("incidents");
    let mut command = Command::new(binary);
    command.arg("replay").arg("--config").arg(config).arg("--incidents").arg(&found).arg(file);
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} cannot be started", binary.display()))?;
    if !output.status.success() {
        bail!("{} replay: {}", binary.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = std::fs::read_to_string(&found)?;
    let id = |line: &str| {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(value["id"].as_str()?.to_owned())
    };
    Ok(text.lines().filter_map(id).collect())
}
