//! The encryption context: public facts that are authenticated with a ciphertext.

use std::collections::BTreeMap;

use crate::error::KmsError;

/// The most bytes of names and values together, as in AWS KMS.
const MAX_CONTEXT_BYTES: usize = 8192;

/// Names and values that the caller must present again, exactly, to decrypt.
///
/// The order in which they were given does not matter, case does, and an empty context is the same as none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// An empty context.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pair, or replaces the value of a name that is there already.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The pairs in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether every pair is also one of `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.len() <= other.0.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends the canonical bytes: the number of pairs, then each name and value in byte order of the names, every
    /// number as a little-endian `u32`. Lengths come first, so no two contexts have the same bytes.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        write_len(out, self.0.len());
        for (name, value) in &self.0 {
            for text in [name, value] {
                write_len(out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// The canonical bytes; see [`Self::write_canonical`].
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_canonical(&mut out);
        out
    }

    /// Refuses a context that is larger than the service accepts.
    pub fn check_size(&self) -> Result<(), KmsError> {
        let total: usize = self.0.iter().map(|(name, value)| name.len() + value.len()).sum();
        if total > MAX_CONTEXT_BYTES {
            return Err(KmsError::constraint(
                None,
                "encryptionContext",
                format_args!("have length less than or equal to {MAX_CONTEXT_BYTES}"),
            ));
        }
        Ok(())
    }
}

/// Lengths beyond `u32` cannot reach a seal, because [`EncryptionContext::check_size`] runs before.
fn write_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for EncryptionContext {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<N: Into<String>, V: Into<String>, const LEN: usize> From<[(N, V); LEN]> for EncryptionContext {
    fn from(pairs: [(N, V); LEN]) -> Self {
        pairs.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_case_does() {
        let one = EncryptionContext::from([("b", "2"), ("a", "1")]);
        let two = EncryptionContext::from([("a", "1"), ("b", "2")]);
        assert_eq!(one.canonical_bytes(), two.canonical_bytes());
        assert_ne!(
            one.canonical_bytes(),
            EncryptionContext::from([("A", "1"), ("b", "2")]).canonical_bytes()
        );
    }

    #[test]
    fn moving_a_byte_between_name_and_value_changes_the_bytes() {
        let one = EncryptionContext::from([("ab", "c")]);
        let two = EncryptionContext::from([("a", "bc")]);
        assert_ne!(one.canonical_bytes(), two.canonical_bytes());
    }
}
