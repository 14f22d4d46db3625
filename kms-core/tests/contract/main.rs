//! What the embedded service promises, through its public interface only.
//!
//! One binary, because linking is what takes time.

mod aliases;
mod audit;
mod authorization;
mod batch;
#[path = "../support/postgres.rs"]
mod cluster;
mod creation;
mod crypto;
mod custom_key_stores;
mod deletion;
mod downtime;
mod families;
mod faults;
mod fixture;
mod grants;
mod import;
mod keystore;
mod kinds;
mod known_answers;
mod lists;
mod model;
mod oracle;
mod policies;
mod postgres;
mod processes;
mod refusals;
mod regions;
mod rotation;
mod states;
mod tags;
mod tamper;
mod usage;
mod vectors;
mod wire;
