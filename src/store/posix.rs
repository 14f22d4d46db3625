//! The posix store.
