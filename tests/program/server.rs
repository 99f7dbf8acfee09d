//! The program as a service, a client of it, and a receiver of its notifications.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::portcullis;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// `portcullis run` on a free port.
pub struct Server {
    child: Child,
    url: String,
    agent: ureq::Agent,
}

impl Server {
    /// Starts it and waits until it listens; `crash` kills it at a point (`name:n`).
    pub fn start(config: &Path, data: &Path, further: &[&str], crash: Option<&str>) -> Self {
        let mut command = portcullis();
        command.args(["run", "--listen", "127.0.0.1:0", "--config"]).arg(config);
        command.arg("--data").arg(data).args(further).env("PORTCULLIS_LOG", "warn");
        if let Some(crash) = crash {
            command.env("PORTCULLIS_CRASH", crash);
        }
        Self::spawn(command)
    }

    /// Starts a command that prints `listening on URL`.
    pub fn spawn(command: std::process::Command) -> Self {
        Self::with_lines(command).0
    }

    /// The same, with the lines it prints after that one.
    pub fn with_lines(
        mut command: std::process::Command,
    ) -> (Self, std::sync::mpsc::Receiver<String>) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{e}"));
        let stdout = child.stdout.take().unwrap_or_else(|| panic!("no stdout"));
        let mut lines = BufReader::new(stdout).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split("listening on ").nth(1).map(str::to_owned))
            .unwrap_or_else(|| panic!("the program ended before it listened: {:?}", child.wait()));
        let (said, heard) = channel();
        // The pipe is read on, so that the program never waits for us.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| drop(said.send(line)));
        });
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build();
        (Self { child, url: url.trim().to_owned(), agent: config.into() }, heard)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Posts NDJSON; `true` when it was answered 202, `false` when the program has died.
    pub fn post(&mut self, body: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = self.agent.post(format!("{}/api/v1/events", self.url));
            let request = request.header("content-type", "application/x-ndjson");
            match request.send(body) {
                Ok(response) if response.status() == 202 => return true,
                Ok(response) if response.status() == 503 => {}
                Ok(mut response) => {
                    let text = response.body_mut().read_to_string().unwrap_or_default();
                    panic!("{}: {text}", response.status());
                }
                Err(_) => return false,
            }
            assert!(Instant::now() < deadline, "503 for too long");
        }
    }

    /// Asks for anything; the status, and the JSON of the answer.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = ureq::http::Request::builder().method(method);
        let request = request.uri(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/json");
        let answered = match method {
            "GET" | "DELETE" => self.agent.run(request.body(()).unwrap_or_else(|e| panic!("{e}"))),
            _ => self.agent.run(request.body(body.to_owned()).unwrap_or_else(|e| panic!("{e}"))),
        };
        let mut response = answered.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let text = response.body_mut().read_to_string().unwrap_or_default();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    /// Gets JSON; `None` when the program has died.
    pub fn get(&self, path: &str) -> Option<Value> {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().ok()?;
        serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()
    }

    /// Sends JSON; the answer's status.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> u16 {
        let url = format!("{}{path}", self.url);
        let answer = match method {
            "DELETE" => self.agent.delete(url).call(),
            _ => self
                .agent
                .post(url)
                .header("content-type", "application/json")
                .send(body.to_string()),
        };
        answer.unwrap_or_else(|e| panic!("{path}: {e}")).status().as_u16()
    }

    /// Asks for a reload; the answer's status and JSON, `None` when the program has died.
    pub fn reload(&self, by: &str) -> Option<(u16, Value)> {
        let url = format!("{}/api/v1/rulebook/reload?by={by}", self.url);
        let mut response = self.agent.post(url).send_empty().ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        Some((response.status().as_u16(), serde_json::from_str(&text).unwrap_or_default()))
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.is_ok_and(|s| s.success()));
    }

    /// A figure of the metrics page, by its name with labels, once it is above zero.
    pub fn metric(&self, name: &str) -> f64 {
        let deadline = Instant::now() + PATIENCE;
        let url = format!("{}/metrics", self.url);
        loop {
            let response = self.agent.get(&url).call();
            let mut response = response.unwrap_or_else(|e| panic!("{e}"));
            let text = response.body_mut().read_to_string().unwrap_or_default();
            let figure = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            match figure {
                Some(figure) if figure > 0.0 => return figure,
                _ => assert!(Instant::now() < deadline, "{name} stays {figure:?}"),
            }
        }
    }

    /// Gets JSON until it is what is waited for; `None` when the program has died.
    pub fn wait_for(&self, path: &str, done: impl Fn(&Value) -> bool) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.get(path)?;
            if done(&value) {
                return Some(value);
            }
            assert!(Instant::now() < deadline, "{path} stays {value}");
            std::thread::yield_now();
        }
    }

    /// Waits for the end of a program that was killed, or failed.
    pub fn join(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            assert!(Instant::now() < deadline, "the program does not answer and does not end");
            std::thread::yield_now();
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.join();
    }

    /// SIGTERM, and waits; whether it ended in order.
    pub fn terminate(mut self) -> bool {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.is_ok_and(|s| s.success()));
        self.child.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A webhook's receiver: which incidents it was told of.
pub struct Receiver {
    address: String,
    told: Arc<(Mutex<BTreeSet<String>>, Condvar)>,
}

impl Receiver {
    /// Listens on a free port until the test's end.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("{e}"));
        let address = listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
        let told = Arc::new((Mutex::default(), Condvar::new()));
        let ours = told.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let told = ours.clone();
                std::thread::spawn(move || answer(stream, &told));
            }
        });
        Self { address, told }
    }

    /// Where it is told.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Waits until it was told enough; what it was told.
    pub fn wait_for(&self, done: impl Fn(&BTreeSet<String>) -> bool) -> BTreeSet<String> {
        let mut told = self.told.0.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + PATIENCE;
        while !done(&told) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "told of {} incidents only", told.len());
            told = self.told.1.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        told.clone()
    }
}

fn answer(stream: TcpStream, told: &(Mutex<BTreeSet<String>>, Condvar)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let id = body["incident"]["id"].as_str().unwrap_or_default().to_owned();
        told.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        told.1.notify_all();
        let ok = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
        if reader.get_mut().write_all(ok).is_err() {
            return;
        }
    }
}
