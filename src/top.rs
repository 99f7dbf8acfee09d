//! `top`: what the rules of a running program cost, find and hold, and how its sources do.

use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use console::{Key, Term};
use serde_json::Value;

/// Lines of head and foot around the table of rules.
const FRAME_LINES: usize = 5;

/// Where to look, and how.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The console of the running program.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// What comes first.
    #[arg(long, value_name = "BY", default_value = "work")]
    sort: Sort,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    every: f64,
    /// Print one table and end: rates are since the program started.
    #[arg(long)]
    once: bool,
}

/// What rules are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    Work,
    State,
    Detections,
    GivenUp,
    Name,
}

impl Sort {
    const KEYS: [(char, Self); 5] = [
        ('w', Self::Work),
        ('s', Self::State),
        ('d', Self::Detections),
        ('g', Self::GivenUp),
        ('n', Self::Name),
    ];
}

/// One look at the program.
struct Look {
    at: Instant,
    uptime: f64,
    lag: f64,
    state: f64,
    /// Rules, then facts.
    holders: Vec<Value>,
    sources: Vec<Value>,
    books: Value,
    given_up: Value,
}

/// Runs the command.
pub fn top(args: &TopArgs) -> anyhow::Result<()> {
    let first = look(&args.url)?;
    if args.once {
        print!("{}", screen(&first, None, args.sort, usize::MAX));
        return Ok(());
    }
    let terminal = Term::stdout();
    let keys = keys();
    let (mut sort, mut before, mut now) = (args.sort, None, first);
    loop {
        let (rows, _) = terminal.size();
        let text = screen(&now, before.as_ref(), sort, usize::from(rows));
        terminal.clear_screen()?;
        terminal.write_str(text.trim_end_matches('\n'))?;
        match keys.recv_timeout(Duration::from_secs_f64(args.every.max(0.1))) {
            Ok(Key::Char('q') | Key::Escape | Key::CtrlC) => {
                terminal.write_line("")?;
                return Ok(());
            }
            Ok(Key::Char(key)) => {
                let chosen = Sort::KEYS.iter().find(|(known, _)| *known == key);
                sort = chosen.map_or(sort, |(_, chosen)| *chosen);
                continue;
            }
            Ok(_) => continue,
            Err(RecvTimeoutError::Timeout) => {}
            // Nothing to read keys from: it goes on by itself, until it is stopped.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::park_timeout(Duration::from_secs_f64(args.every.max(0.1)));
            }
        }
        let next = look(&args.url)?;
        before = Some(std::mem::replace(&mut now, next));
    }
}

/// Keys as they are pressed.
fn keys() -> Receiver<Key> {
    let (send, keys) = channel();
    std::thread::spawn(move || {
        let terminal = Term::stdout();
        while let Ok(key) = terminal.read_key_raw() {
            if send.send(key).is_err() {
                return;
            }
        }
    });
    keys
}

fn get(url: &str, path: &str) -> anyhow::Result<String> {
    let at = format!("{}{path}", url.trim_end_matches('/'));
    let help = || format!("{at} does not answer: is `portcullis run` there? See --url");
    let mut answer = ureq::get(&at).call().with_context(help)?;
    answer.body_mut().read_to_string().with_context(help)
}

fn look(url: &str) -> anyhow::Result<Look> {
    let json = |path: &str| -> anyhow::Result<Value> {
        let text = get(url, path)?;
        serde_json::from_str(&text).with_context(|| format!("{url}{path} is not ours"))
    };
    let rules = json("/api/v1/rules")?;
    let metrics = get(url, "/metrics")?;
    let gauge = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut holders = list(&rules["rules"]);
    holders.extend(list(&rules["facts"]).into_iter().map(|mut fact| {
        fact["fact"] = true.into();
        fact
    }));
    Ok(Look {
        at: Instant::now(),
        uptime: gauge("portcullis_uptime_seconds"),
        lag: gauge("portcullis_engine_lag_bytes"),
        state: gauge("portcullis_engine_state_bytes"),
        holders,
        sources: list(&json("/api/v1/sources")?["sources"]),
        books: json("/api/v1/books")?["books"].clone(),
        given_up: rules["given_up"].clone(),
    })
}

fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or(0.0)
}

fn work(holder: &Value) -> f64 {
    number(holder, "looked") + number(holder, "evaluated")
}

fn given_up(holder: &Value) -> f64 {
    ["keys_given_up", "runs_given_up", "events_given_up"]
        .map(|name| number(holder, name))
        .iter()
        .sum()
}

/// A number that fits a column.
fn short(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.1}G", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n if n.fract() != 0.0 => format!("{n:.1}"),
        n => format!("{n}"),
    }
}

/// Begins with as much of a name as fits, and says where it was cut.
fn cut(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    name.chars().take(width - 1).chain(['…']).collect()
}

/// What is shown, on at most so many lines.
fn screen(now: &Look, before: Option<&Look>, sort: Sort, lines: usize) -> String {
    let span = before.map_or(now.uptime, |before| (now.at - before.at).as_secs_f64()).max(1e-3);
    let of = |look: &Look, id: &Value, fact: &Value| {
        let found = look.holders.iter().find(|h| h["id"] == *id && h["fact"] == *fact);
        found.cloned().unwrap_or(Value::Null)
    };
    // Each with what it was at the look before; since the start, where there is none.
    let mut rows: Vec<(&Value, Value)> = now
        .holders
        .iter()
        .map(|h| (h, before.map_or(Value::Null, |look| of(look, &h["id"], &h["fact"]))))
        .collect();
    let done = |(now, before): &(&Value, Value)| (work(now) - work(before)).max(0.0);
    let all: f64 = rows.iter().map(done).sum();
    rows.sort_by(|a, b| {
        let key = |row: &(&Value, Value)| match sort {
            Sort::Work => done(row),
            Sort::State => number(row.0, "state_bytes"),
            Sort::Detections => number(row.0, "detections"),
            Sort::GivenUp => given_up(row.0),
            Sort::Name => 0.0,
        };
        let name = |row: &(&Value, Value)| row.0["id"].as_str().unwrap_or_default().to_owned();
        key(b).total_cmp(&key(a)).then_with(|| name(a).cmp(&name(b)))
    });
    let mut out = head(now, before, span);
    let _ = writeln!(
        out,
        "\n{:<30}{:>9}{:>9}{:>7}{:>9}{:>7}{:>7}{:>8}{:>8}{:>8}{:>9}{:>9}",
        "RULE, or (FACT)",
        "LOOKS/s",
        "CONDS/s",
        "WORK%",
        "DETECT",
        "INCID",
        "HELD",
        "KEYS",
        "RUNS",
        "EVENTS",
        "STATE",
        "GAVE UP"
    );
    let room = lines.saturating_sub(FRAME_LINES + now.sources.len()).max(1);
    for row in rows.iter().take(room) {
        let (now, before) = row;
        let rate = |name: &str| short((number(now, name) - number(before, name)).max(0.0) / span);
        let figure = |name: &str| short(number(now, name));
        let id = now["id"].as_str().unwrap_or_default();
        let fact = now["fact"] == true;
        let found = |name: &str| if fact { String::new() } else { figure(name) };
        let _ = writeln!(
            out,
            "{:<30}{:>9}{:>9}{:>7.1}{:>9}{:>7}{:>7}{:>8}{:>8}{:>8}{:>9}{:>9}",
            if fact { format!("({})", cut(id, 27)) } else { cut(id, 29) },
            rate("looked"),
            rate("evaluated"),
            100.0 * done(row) / all.max(1.0),
            found("detections"),
            found("incidents"),
            found("suppressed"),
            figure("keys"),
            figure("runs"),
            figure("events"),
            short(number(now, "state_bytes")),
            short(given_up(now)),
        );
    }
    if lines < usize::MAX {
        out += "q ends; w work, s state, d detections, g given up, n name";
    }
    out
}

/// The program, and its sources.
fn head(now: &Look, before: Option<&Look>, span: f64) -> String {
    let gave: Vec<String> = now
        .given_up
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, n)| n.as_f64() > Some(0.0))
        .map(|(what, n)| format!("{} {what}", short(n.as_f64().unwrap_or(0.0))))
        .collect();
    let gave = if gave.is_empty() { "nothing".to_owned() } else { gave.join(", ") };
    let mut out = format!(
        "portcullis · up {} s · log behind by {} B · state {} B · given up: {gave}\n",
        now.uptime.round(),
        short(now.lag),
        short(now.state),
    );
    for source in &now.sources {
        let id = source["id"].as_str().unwrap_or_default();
        let books = &now.books[id];
        let was = before.map_or(0.0, |look| number(&look.books[id], "deliveries"));
        let rate = (number(books, "deliveries") - was).max(0.0) / span;
        let up = source["connected"] == true;
        let state = if up { "up" } else { source["reason"].as_str().unwrap_or("down") };
        let rejected: f64 = books["rejected"]
            .as_object()
            .map_or(0.0, |by| by.values().filter_map(Value::as_f64).sum());
        let _ = write!(
            out,
            "{} {}: {state} · {}/s",
            source["kind"].as_str().unwrap_or_default(),
            id,
            short(rate)
        );
        let figures = [
            ("events", number(books, "events")),
            ("rejected", rejected),
            ("duplicate", number(books, "duplicate")),
            ("late", number(books, "late")),
            ("quarantined", number(books, "quarantined")),
            ("waiting", number(books, "waiting")),
            ("in flight", number(books, "in_flight")),
        ];
        for (name, n) in figures.into_iter().filter(|(name, n)| *n > 0.0 || *name == "events") {
            let _ = write!(out, " · {} {name}", short(n));
        }
        out.push('\n');
    }
    out
}
