//! Simulated sites, load, oracle, fault plans, peers.

pub mod badges;
pub mod harbour;
pub mod random;
pub mod written;
