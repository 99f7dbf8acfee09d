//! Whole-program tests: the binary as its users run it.

mod kill;
mod place;
mod replay;
mod server;
