//! Whole-program tests: the binary as its users run it.

mod place;
mod replay;
