//! A real browser without a window, by the WebDriver protocol (W3C), for as long as the value lives.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::place::skipped;
use crate::services::{free_port, program, wait_for_port};

const PATIENCE: Duration = Duration::from_secs(60);
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
];

/// Chromium behind its driver.
pub struct Browser {
    driver: Child,
    session: String,
    agent: ureq::Agent,
    _profile: TempDir,
}

impl Browser {
    /// Starts it; `None` where it is not there.
    pub fn start() -> Option<Self> {
        let (Some(driver), Some(chromium)) = (program("chromedriver"), program("chromium")) else {
            skipped("Chromium and its driver are not there: the console was not looked at");
            return None;
        };
        let profile = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let port = free_port();
        let mut command = Command::new(driver);
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().unwrap_or_else(|e| panic!("{e}"));
        wait_for_port(port, "the browser's driver");
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE));
        let agent: ureq::Agent = config.http_status_as_error(false).build().into();
        let mut flags: Vec<_> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let options = json!({"binary": chromium, "args": flags});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let driver_url = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { driver, session: driver_url, agent, _profile: profile };
        let session = browser.ask("", wanted);
        let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {session}"));
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    fn ask(&self, command: &str, body: Value) -> Value {
        let url = format!("{}{command}", self.session);
        let request = self.agent.post(&url).header("content-type", "application/json");
        let mut answer = request.send(body.to_string()).unwrap_or_else(|e| panic!("{url}: {e}"));
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
        answer["value"].take()
    }

    /// Goes to a page.
    pub fn open(&self, url: &str) {
        self.ask("/url", json!({"url": url}));
    }

    /// What an expression is in the page.
    pub fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.ask("/execute/sync", json!({"script": script, "args": []}))
    }

    /// Waits until an expression is true in the page.
    pub fn wait_for(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(expression) != true {
            let text = || self.value("document.body.innerText");
            assert!(Instant::now() < deadline, "never {expression}: {}", text());
        }
    }

    /// The page as a picture; `PORTCULLIS_SCREENSHOTS` names the folder that keeps it.
    pub fn screenshot(&self, name: &str) {
        let url = format!("{}/screenshot", self.session);
        let mut answer = self.agent.get(&url).call().unwrap_or_else(|e| panic!("{e}"));
        // A picture of a console is some hundred kilobytes.
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string();
        let answer: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        let encoded = answer["value"].as_str().unwrap_or_default();
        let picture = base64::engine::general_purpose::STANDARD.decode(encoded);
        let picture = picture.unwrap_or_else(|e| panic!("{e}"));
        assert!(picture.len() > 10_000, "an empty picture: {} bytes", picture.len());
        if let Some(dir) = std::env::var_os("PORTCULLIS_SCREENSHOTS") {
            let path = Path::new(&dir).join(format!("{name}.png"));
            std::fs::write(path, picture).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
