//! A secret split among several people, so that some of them together have it and fewer have nothing (Shamir).

use std::fmt;

use blahaj::{Share, Sharks};
use zeroize::Zeroizing;

use super::KeystoreError;
use super::secret_text::{self, Kind};
use crate::seal::fill_random;

/// The secret that is split.
const SECRET_LEN: usize = 32;
/// A share: how many are needed, then its number and the values of its polynomials.
const SHARE_LEN: usize = 2 + SECRET_LEN;

/// Shares of one secret.
pub struct SecretShares(Vec<Zeroizing<Vec<u8>>>);

impl fmt::Debug for SecretShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretShares({})", self.0.len())
    }
}

impl SecretShares {
    /// Splits a fresh secret into `count` shares, of which any `threshold` have it.
    ///
    /// # Errors
    /// [`KeystoreError::Unsuitable`] unless 2 <= `threshold` <= `count` <= 16.
    pub fn generate(threshold: u8, count: u8) -> Result<Self, KeystoreError> {
        if threshold < 2 || threshold > count || count > 16 {
            return Err(KeystoreError::Unsuitable("shares are 2 to 16, and at least two of them are needed"));
        }
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        fill_random(&mut secret[..])?;
        let dealt = Sharks(threshold).dealer(&secret[..]).take(count.into());
        let share = |share: Share| {
            let mut bytes = Zeroizing::new(vec![threshold]);
            bytes.extend_from_slice(&Zeroizing::new(Vec::from(&share)));
            bytes
        };
        Ok(Self(dealt.map(share).collect()))
    }

    /// Reads shares as [`Self::texts`] wrote them.
    ///
    /// # Errors
    /// [`KeystoreError::WrongShares`] for what is not one, and for one that is there twice.
    pub fn parse(texts: &[&str]) -> Result<Self, KeystoreError> {
        let mut shares: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for text in texts {
            let share = secret_text::decode(Kind::Share, text).ok_or(KeystoreError::WrongShares)?;
            let sound = share.len() == SHARE_LEN && shares.iter().all(|known| known[..2] != share[..2]);
            if !sound {
                return Err(KeystoreError::WrongShares);
            }
            shares.push(share);
        }
        Ok(Self(shares))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each share as a line of text, for one person.
    pub fn texts(&self) -> Vec<Zeroizing<String>> {
        self.0.iter().map(|share| secret_text::encode(Kind::Share, share)).collect()
    }

    /// The secret, and how many shares it needs.
    pub(super) fn combine(&self) -> Result<(Zeroizing<Vec<u8>>, u8), KeystoreError> {
        let first = self.0.first().ok_or(KeystoreError::WrongShares)?;
        let threshold = first[0];
        if self.len() < threshold.into() {
            return Err(KeystoreError::TooFewShares { given: self.len(), needed: threshold });
        }
        let parsed = self.0.iter().map(|share| Share::try_from(&share[1..]));
        let parsed: Vec<Share> = parsed.collect::<Result<_, _>>().map_err(|_| KeystoreError::WrongShares)?;
        let secret = Sharks(threshold).recover(&parsed).map_err(|_| KeystoreError::WrongShares)?;
        Ok((Zeroizing::new(secret), threshold))
    }
}
