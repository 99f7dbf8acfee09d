//! `traffic COUNT [SEED]`: so many lines of the bench's traffic, to standard output.

use std::io::Write as _;

use workload::badges::Badges;

fn main() -> std::process::ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(count)), seed @ (None | Some(Ok(_)))) = (numbers.next(), numbers.next()) else {
        eprintln!("traffic COUNT [SEED]");
        return std::process::ExitCode::FAILURE;
    };
    let seed = seed.and_then(Result::ok).unwrap_or(42);
    let mut badges = Badges::new(seed);
    let mut out = std::io::stdout().lock();
    let mut text = String::new();
    for number in 1..=count {
        badges.line(&mut text);
        if number % 1_000 == 0 || number == count {
            if out.write_all(text.as_bytes()).is_err() {
                return std::process::ExitCode::FAILURE;
            }
            text.clear();
        }
    }
    std::process::ExitCode::SUCCESS
}
