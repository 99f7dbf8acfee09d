//! Simulated sites, load, oracle, fault plans, peers.

pub mod harbour;
