//! Whole-program tests: the binary as its users run it.

mod acts;
mod bench;
mod brokers;
mod browser;
mod demo;
mod docs;
mod history;
mod hot;
mod import;
mod inputs;
mod kill;
mod late;
mod pinned;
mod place;
mod reload;
mod replay;
mod server;
mod services;
mod skipped;
mod stdin;
mod tables;
mod traffic;
