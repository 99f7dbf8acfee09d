//! The figures as one page: no script, nothing fetched.

use std::fmt::Write as _;

use super::figures::{Figures, Latency, Told};
use super::plot::{Axis, Plot, escaped};
use super::table::{number, time};

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn of(told: &Told) -> String {
    let (run, machine) = (&told.run, &told.machine);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Portcullis bench</title><style>{STYLE}</style></head><body><main>\n\
         <h1>Portcullis under load</h1>\n<p class=\"what\">{} events/s through {} for {:.1} s · {} · \
         seed {} · version {} · {}<br>{}, {} cores, {}</p>\n",
        number(run.rate),
        told.source,
        run.events as f64 / run.rate,
        escaped(&told.configuration),
        told.seed,
        told.version,
        told.at,
        escaped(&machine.processor),
        machine.cores,
        escaped(&machine.system),
    );
    for fault in &run.books.faults {
        let _ =
            writeln!(out, "<p class=\"fault\">The books do not balance: {}</p>", escaped(fault));
    }
    for warning in &told.warnings {
        let _ = writeln!(out, "<p class=\"warning\">{}</p>", escaped(warning));
    }
    out += &tiles(told);
    out += &latencies(told);
    out += "<section class=\"plots\">";
    out += &by_quantile(told);
    out += &over_time(told);
    out += &account(run);
    out += &memory(run);
    if !told.steps.is_empty() {
        out += &steps(told);
    }
    out += "</section>\n";
    out += &rules(run);
    out += "<p class=\"foot\">Latency counts from when an event was due (open loop, corrected for \
            coordinated omission), net of slack and holds: from when the event was due that brought \
            the site past the incident's own time by more than the slack. Detected: the engine had \
            concluded it. Visible: another process saw it in the store, looking every 0.25 ms.</p>\n\
            </main></body></html>\n";
    out
}

fn tiles(told: &Told) -> String {
    let run = &told.run;
    let tile = |name: &str, value: String, more: String| {
        format!("<div><b>{value}</b><span>{name}</span><small>{more}</small></div>")
    };
    let mut out = String::from("<section class=\"tiles\">");
    if let Some(throughput) = told.throughput {
        let said = if told.throughput_at_least {
            "were kept up with; no greater rate was tried"
        } else {
            "greatest rate that was kept up with"
        };
        out += &tile("events/s", number(throughput), said.to_owned());
    }
    let bare = format!("a bare fdatasync: p99 {}", time(told.disk.p99));
    out += &tile("due → visible, p99", time(run.visible.p99), bare);
    let said = format!("p50 {}", time(run.detection.p50));
    out += &tile("due → detected, p99.9", time(run.detection.p99_9), said);
    let said = format!("{:.2} cores", run.cores_used);
    out += &tile("CPU an event", format!("{} ns", number(run.cpu_ns_per_event)), said);
    let mib = format!("{:.0} MiB", run.memory_max as f64 / 1_048_576.0);
    out += &tile("memory at most", mib, String::new());
    let books = &run.books;
    let lost = books.sent as i64 - books.accounted as i64;
    let said = format!(
        "{} sent; {} incidents, {} missing",
        number(books.sent as f64),
        number(books.incidents_found as f64),
        books.missing
    );
    out += &tile("deliveries lost", lost.to_string(), said);
    out + "</section>\n"
}

fn latencies(told: &Told) -> String {
    let mut out = String::from(
        "<table><thead><tr><th>net of slack and holds</th><th>p50</th><th>p90</th><th>p99</th>\
         <th>p99.9</th><th>max</th><th>count</th></tr></thead><tbody>",
    );
    let row = |name: &str, l: &Latency| {
        let cells = [l.p50, l.p90, l.p99, l.p99_9, l.max].map(|v| format!("<td>{}</td>", time(v)));
        let cells = cells.concat();
        format!("<tr><th>{name}</th>{cells}<td>{}</td></tr>", number(l.count as f64))
    };
    out += &row("due → detected", &told.run.detection);
    out += &row("due → visible in the store", &told.run.visible);
    out += &row("of it, sent late by", &told.run.sent_late);
    let _ = writeln!(
        out,
        "<tr><th>a bare fdatasync here</th><td>{}</td><td></td><td>{}</td><td></td><td></td><td></td>\
         </tr></tbody></table>",
        time(told.disk.p50),
        time(told.disk.p99)
    );
    out
}

fn plain(micros: f64) -> String {
    match micros {
        m if m < 1e3 => format!("{m:.0} µs"),
        m if m < 1e6 => format!("{:.0} ms", m / 1e3),
        m => format!("{:.0} s", m / 1e6),
    }
}

/// Around all latencies that are shown.
fn latency_axis(told: &Told) -> Axis {
    let run = &told.run;
    let least = run.detection.curve.first().map_or(1, |p| p.1).max(1);
    let most = run.visible.max.max(run.detection.max).max(told.disk.p99);
    Axis::decades("latency", (least as f64, most as f64), plain)
}

fn by_quantile(told: &Told) -> String {
    let nines = |q: f64| 1.0 / (1.0 - q).max(1e-5);
    let marks = [(0.0, "0"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];
    let marks = marks.map(|(q, name)| (nines(q), name.to_owned())).into();
    let x = Axis { label: "share of the incidents", from: 1.0, to: 1e5, logarithmic: true, marks };
    let points =
        |l: &Latency| -> Vec<_> { l.curve.iter().map(|(q, v)| (nines(*q), *v as f64)).collect() };
    Plot::new(x, latency_axis(told))
        .line("one", "detected", &points(&told.run.detection))
        .line("two", "visible", &points(&told.run.visible))
        .level("bare", "a bare fdatasync, p99", told.disk.p99 as f64)
        .svg("Latency by share of the incidents")
}

fn over_time(told: &Told) -> String {
    let last = told.run.sample.last().map_or(1.0, |s| s.0);
    let x = Axis::linear("second of the run", last, |v| format!("{v}"));
    let dots = told.run.sample.iter().map(|(at, v)| (*at, *v as f64, String::new()));
    Plot::new(x, latency_axis(told))
        .dots("two", "an incident, visible", dots)
        .level("bare", "a bare fdatasync, p99", told.disk.p99 as f64)
        .svg("Latency over the run")
}

fn time_axis(run: &Figures) -> Axis {
    let last = run.moments.last().map_or(1.0, |m| m.at);
    Axis::linear("second of the run", last, |v| format!("{v}"))
}

fn account(run: &Figures) -> String {
    let y = Axis::linear("events", run.events as f64, number);
    let due: Vec<_> = run.moments.iter().map(|m| (m.at, m.due as f64)).collect();
    let accounted: Vec<_> = run.moments.iter().map(|m| (m.at, m.accounted as f64)).collect();
    Plot::new(time_axis(run), y)
        .line("bare", "due", &due)
        .line("one", "accounted for", &accounted)
        .svg("Events due and accounted for")
}

fn memory(run: &Figures) -> String {
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let y = Axis::linear("MiB", mib(run.memory_max), |v| format!("{v:.0}"));
    let points: Vec<_> = run.moments.iter().map(|m| (m.at, mib(m.memory))).collect();
    Plot::new(time_axis(run), y).line("one", "memory", &points).svg("Memory of the program")
}

fn steps(told: &Told) -> String {
    let rates = told.steps.iter().map(|s| s.rate);
    let x = Axis::linear("events/s", rates.fold(0.0, f64::max), |v| match v {
        v if v < 1e4 => number(v),
        v => format!("{:.0}k", v / 1e3),
    });
    let most = told.steps.iter().map(|s| s.visible_p99).max().unwrap_or(1);
    let least = told.steps.iter().map(|s| s.visible_p99).min().unwrap_or(1);
    let y = Axis::decades("latency, p99", (least as f64, most as f64), plain);
    let dots = |kept: bool| {
        let of = told.steps.iter().filter(move |s| s.kept_up == kept);
        of.map(|s| {
            let said = format!("{} events/s: {:.2} cores", number(s.rate), s.cores_used);
            (s.rate, s.visible_p99 as f64, said)
        })
    };
    Plot::new(x, y)
        .dots("one", "kept up with", dots(true))
        .dots("three", "not kept up with", dots(false))
        .svg("Stepping the rate up: visible, p99")
}

fn rules(run: &Figures) -> String {
    let mut out = String::from(
        "<table><thead><tr><th>rule</th><th>incidents timed</th><th>visible p50</th><th>visible p99\
         </th></tr></thead><tbody>",
    );
    for (rule, of) in &run.by_rule {
        let _ = write!(
            out,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(rule),
            number(of.incidents as f64),
            time(of.p50),
            time(of.p99)
        );
    }
    out + "</tbody></table>\n"
}
