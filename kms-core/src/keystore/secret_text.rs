//! Secrets as lines that people copy: words of eight hexadecimal digits, and a check against slips of the pen.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::seal::SealError;
use crate::seal::fill_random;

const CHECK_LEN: usize = 4;
/// Bytes in a word.
const WORD_LEN: usize = 4;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    RecoveryKey,
    Share,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::RecoveryKey => "kmsfs-recovery",
            Self::Share => "kmsfs-share",
        }
    }
}

/// The check covers the kind, so that one is not taken for the other.
fn check(kind: Kind, bytes: &[u8]) -> [u8; CHECK_LEN] {
    let input = Zeroizing::new([kind.prefix().as_bytes(), bytes].concat());
    let digest = digest(&SHA256, &input);
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&digest.as_ref()[..CHECK_LEN]);
    check
}

/// The line.
pub(super) fn encode(kind: Kind, bytes: &[u8]) -> Zeroizing<String> {
    // Room for all of it, so that no copy is left behind.
    let mut text = Zeroizing::new(String::with_capacity(32 + 3 * bytes.len()));
    text.push_str(kind.prefix());
    let check = check(kind, bytes);
    for (index, byte) in bytes.iter().chain(&check).enumerate() {
        if index % WORD_LEN == 0 {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("a String takes whatever is written to it");
    }
    text
}

/// Reads a line; spaces around it, and capital letters, do not matter. `None` for what is not one.
pub(super) fn decode(kind: Kind, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(text.trim().to_ascii_lowercase());
    let digits = text.strip_prefix(kind.prefix())?.bytes().filter(|byte| *byte != b'-');
    let digits = Zeroizing::new(digits.collect::<Vec<u8>>());
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks(2) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let (high, low) = (value(pair[0])?, value(*pair.get(1)?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    let end = bytes.len().checked_sub(CHECK_LEN)?;
    if check(kind, &bytes[..end])[..] != bytes[end..] {
        return None;
    }
    bytes.truncate(end);
    Some(bytes)
}

/// A fresh recovery key.
pub(super) fn new_recovery_key() -> Result<Zeroizing<String>, SealError> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill_random(&mut bytes[..])?;
    Ok(encode(Kind::RecoveryKey, &bytes[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_a_slip_is_noticed() {
        let line = encode(Kind::Share, &[7; 34]);
        assert_eq!(
            *decode(Kind::Share, &format!(" {} \n", line.to_uppercase())).expect("reads"),
            vec![7; 34]
        );
        assert!(decode(Kind::RecoveryKey, &line).is_none());
        for at in 0..line.len() {
            let mut changed = line.as_bytes().to_vec();
            changed[at] = if changed[at] == b'3' { b'4' } else { b'3' };
            let changed = String::from_utf8(changed).expect("is text");
            assert!(decode(Kind::Share, &changed).is_none(), "{at}");
            assert!(decode(Kind::Share, &line[..at]).is_none(), "{at}");
        }
    }
}
