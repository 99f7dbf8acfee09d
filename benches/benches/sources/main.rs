//! `cargo bench --bench sources`: what it costs to take messages in, durably, CPU time of each of
//! our threads.
//!
//! ```sh
//! cargo bench --bench sources -- mqtt 2000000          # a scripted broker, the real log
//! cargo bench --bench sources -- kafka 1000000 none 5  # a real Apache Kafka, `portcullis run`, five rounds
//! ```

mod cpu;
mod kafka;
mod mqtt;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |at: usize, default| match arguments.get(at) {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("`{text}` is no number")),
        None => default,
    };
    match arguments.first().map_or("mqtt", String::as_str) {
        "mqtt" => mqtt::run(number(1, 1_000_000), number(2, 4_096)),
        "kafka" => {
            kafka::run(number(1, 1_000_000), arguments.get(2).map_or("none", |c| c), number(3, 5));
        }
        other => panic!("`{other}`: mqtt or kafka"),
    }
}
