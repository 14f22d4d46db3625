//! The machine that a store runs on.

/// Where Linux tells the name of the machine.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// The name of this machine, for the text of locks and session records. `localhost` where the system does not
/// tell.
pub fn host_name() -> String {
    let name = std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_graphic()).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
