//! Logs. A leaf: everything may write log lines, and this module decides where they go.
//!
//! No secret is ever a field of a log line: secrets are types whose `Debug` shows nothing.

use tracing_subscriber::EnvFilter;

/// The variable that selects what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
pub const FILTER_VARIABLE: &str = "KMSFS_LOG";
/// The variable that selects the form of the lines: `json`, or else text.
pub const FORMAT_VARIABLE: &str = "KMSFS_LOG_FORMAT";

/// Sends log lines to standard error, which is the log file in a daemon. `default` is the filter if the
/// environment has none, for example `info`.
pub fn start(default: &str) {
    let filter = std::env::var(FILTER_VARIABLE).ok().and_then(|text| EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    let json = std::env::var(FORMAT_VARIABLE).is_ok_and(|form| form == "json");
    // A second start in one process keeps the first.
    let _ = if json { lines.json().try_init() } else { lines.try_init() };
}
