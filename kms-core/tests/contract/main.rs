//! What the embedded service promises, through its public interface only.
//!
//! One binary, because linking is what takes time.

mod aliases;
mod authorization;
mod creation;
mod crypto;
mod deletion;
mod faults;
mod fixture;
mod import;
mod keystore;
mod kinds;
mod lists;
mod model;
mod oracle;
mod processes;
mod rotation;
mod states;
mod tamper;
mod vectors;
