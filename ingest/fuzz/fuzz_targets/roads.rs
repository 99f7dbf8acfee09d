//! Any bytes on both roads of decoding.

#![no_main]

mod both;

libfuzzer_sys::fuzz_target!(|input: &[u8]| both::any(input));
