//! The machine and the process that a store runs in.

use super::sys;

/// Where Linux tells the name of the machine.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// The name of this machine, for the text of locks and session records. `localhost` where the system does not
/// tell.
pub fn host_name() -> String {
    let name = std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_graphic()).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// Keeps descriptors that this process was given by its parent, but for the standard three, from the programs that
/// it starts: a daemon must not hold a pipe open that somebody waits for the end of. Does nothing before Linux 5.11.
pub fn keep_descriptors_from_children() {
    if let Err(errno) = sys::close_on_exec_from(3) {
        tracing::debug!(%errno, "inherited descriptors stay open in child processes");
    }
}

/// Whether the process `pid` has `gid` among its supplementary groups. No, if the process is gone or not to be seen here.
pub fn process_is_in_group(pid: u32, gid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    groups.split_ascii_whitespace().any(|group| group.parse() == Ok(gid))
}
