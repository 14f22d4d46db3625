//! The `kmsfs` program as its users run it: the real binary, real mounts, exit codes and words.

mod bad_input;
mod keys;
mod mounts;
mod program;
mod volumes;
