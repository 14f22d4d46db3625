//! AES-GCM as tokens do it, and the body of a ciphertext blob.
//!
//! ```text
//! offset  length
//!      0       1  IV policy: 1 = ours, 2 = the token's, 3 = the token's, behind the tag
//!      1      12  IV
//!     13          ciphertext | tag (16)
//!    end      16  check: the first half of SHA-256("kms-core token check v1" | CKA_ID | len(aad) | aad | all before)
//! ```
//! The check is not a secret and proves nothing to anybody. It tells a blob that was damaged, cut short or presented with
//! another context from a token that fails, which tokens do not: SoftHSM answers both with the same general error.
//! Whoever makes a false blob with a true check is found out by the token.

use aws_lc_rs::digest;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::faults::{Fault, fault};
use crate::custody::CustodyError;
use crate::seal::fill_random;

const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
const TAG_BITS: u64 = 128;
const CHECK_LEN: usize = 16;
/// What a body has beyond its plaintext.
const OVERHEAD: usize = 1 + IV_LEN + TAG_LEN + CHECK_LEN;

/// Who makes the IV of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IvPolicy {
    /// We do, at random.
    Caller = 1,
    /// The token does, and writes it where it was given zeros: CloudHSM, nShield.
    TokenZero = 2,
    /// The token does, is given none, and appends it to the tag: Luna.
    TokenNull = 3,
}

impl IvPolicy {
    const ALL: [Self; 3] = [Self::Caller, Self::TokenZero, Self::TokenNull];

    fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| *policy as u8 == byte)
    }
}

/// Why a trial did not find a way to encrypt.
#[derive(Debug)]
pub(super) enum TrialError {
    /// The token cannot do it.
    NoCipher(String),
    /// The token failed.
    Failed(Error),
}

/// Finds out by trial how a token encrypts.
pub(super) fn find_policy(session: &Session, key: ObjectHandle) -> Result<IvPolicy, TrialError> {
    let mut reasons = Vec::new();
    for policy in IvPolicy::ALL {
        match try_policy(policy, session, key) {
            Ok(None) => return Ok(policy),
            Ok(Some(reason)) => reasons.push(format!("{policy:?}: {reason}")),
            // What the token does not take is an answer; anything else may be another one the next time.
            Err(error) if fault(&error) == Fault::Input => reasons.push(format!("{policy:?}: {error}")),
            Err(error) => return Err(TrialError::Failed(error)),
        }
    }
    Err(TrialError::NoCipher(reasons.join("; ")))
}

/// Why a policy is not that of the token; nothing if it is.
fn try_policy(policy: IvPolicy, session: &Session, key: ObjectHandle) -> Result<Option<&'static str>, Error> {
    const TEXT: &[u8] = b"a trial of thirty-two bytes' len";
    let encrypt = || encrypt(policy, session, key, b"aad", TEXT);
    let (Some(one), Some(two)) = (encrypt()?, encrypt()?) else {
        return Ok(Some("the result does not have the form of AES-GCM"));
    };
    if one.iv == two.iv || one.iv == [0; IV_LEN] || one.body == two.body {
        return Ok(Some("the IV repeats"));
    }
    if decrypt(session, key, &one.iv, b"aad", &one.body)? != TEXT {
        return Ok(Some("what was encrypted does not decrypt"));
    }
    let mut false_body = one.body.clone();
    false_body[0] ^= 1;
    // The refusal is what is asked for; whether it is one of the session is found out by the next trial.
    if decrypt(session, key, &one.iv, b"aad", &false_body).is_ok() {
        return Ok(Some("it decrypts what is not authentic"));
    }
    Ok(None)
}

/// What a token has made of a plaintext.
struct Encrypted {
    iv: [u8; IV_LEN],
    /// Ciphertext and tag.
    body: Vec<u8>,
}

/// Encrypts. `None` if the token answers something of another length than AES-GCM has.
fn encrypt(
    policy: IvPolicy,
    session: &Session,
    key: ObjectHandle,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Option<Encrypted>, Error> {
    let mut iv = [0; IV_LEN];
    if policy == IvPolicy::Caller && fill_random(&mut iv).is_err() {
        return Err(Error::InvalidValue);
    }
    let given = if policy == IvPolicy::TokenNull { &mut [][..] } else { &mut iv[..] };
    let params = GcmParams::new(given, aad, TAG_BITS.into())?;
    let mut body = session.encrypt(&Mechanism::AesGcm(params), key, plaintext)?;
    let expected_len = plaintext.len() + TAG_LEN;
    if policy == IvPolicy::TokenNull {
        if body.len() != expected_len + IV_LEN {
            return Ok(None);
        }
        iv.copy_from_slice(&body[expected_len..]);
        body.truncate(expected_len);
    }
    Ok((body.len() == expected_len).then_some(Encrypted { iv, body }))
}

/// Decrypts with an IV that is known; every token takes that.
fn decrypt(
    session: &Session,
    key: ObjectHandle,
    iv: &[u8; IV_LEN],
    aad: &[u8],
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut iv = *iv;
    let params = GcmParams::new(&mut iv, aad, TAG_BITS.into())?;
    session.decrypt(&Mechanism::AesGcm(params), key, body)
}

/// Makes the body of a blob.
pub(super) fn seal(
    policy: IvPolicy,
    session: &Session,
    key: ObjectHandle,
    id: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    let made = encrypt(policy, session, key, &aad_digest(aad), plaintext)?.ok_or(Error::InvalidValue)?;
    if made.iv == [0; IV_LEN] {
        // A token that has stopped making IVs would repeat this one.
        return Err(Error::InvalidValue);
    }
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
    out.push(policy as u8);
    out.extend_from_slice(&made.iv);
    out.extend_from_slice(&made.body);
    let check = check(id, aad, &out);
    out.extend_from_slice(&check);
    Ok(out)
}

/// A body whose check is right.
#[derive(Debug)]
pub(super) struct Body<'a> {
    iv: [u8; IV_LEN],
    body: &'a [u8],
}

/// Reads the body of a blob.
pub(super) fn parse<'a>(id: &[u8], aad: &[u8], body: &'a [u8]) -> Result<Body<'a>, CustodyError> {
    let refused = || CustodyError::Unauthentic;
    if body.len() < OVERHEAD {
        return Err(refused());
    }
    let (signed, found) = body.split_at(body.len() - CHECK_LEN);
    if check(id, aad, signed) != found {
        return Err(refused());
    }
    let (policy, rest) = signed.split_first().ok_or_else(refused)?;
    IvPolicy::of_byte(*policy).ok_or_else(refused)?;
    let (iv, body) = rest.split_first_chunk::<IV_LEN>().ok_or_else(refused)?;
    Ok(Body { iv: *iv, body })
}

/// Decrypts a body.
pub(super) fn open(
    session: &Session,
    key: ObjectHandle,
    aad: &[u8],
    body: &Body<'_>,
) -> Result<Vec<u8>, Error> {
    decrypt(session, key, &body.iv, &aad_digest(aad), body.body)
}

/// Tokens bound the length of what they authenticate; a hash has the same length always.
fn aad_digest(aad: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, aad).as_ref().to_vec()
}

fn check(id: &[u8], aad: &[u8], signed: &[u8]) -> [u8; CHECK_LEN] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"kms-core token check v1");
    context.update(id);
    context.update(&(aad.len() as u64).to_le_bytes());
    context.update(aad);
    context.update(signed);
    let mut out = [0; CHECK_LEN];
    out.copy_from_slice(&context.finish().as_ref()[..CHECK_LEN]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_is_whole_is_brought_to_the_token() {
        let mut body = vec![1];
        body.extend_from_slice(&[7; IV_LEN + TAG_LEN + 5]);
        body.extend_from_slice(&check(b"id", b"aad", &body));
        assert!(parse(b"id", b"aad", &body).is_ok());
        for (id, aad) in [(&b"ie"[..], &b"aad"[..]), (b"id", b"aae"), (b"ida", b"ad")] {
            assert!(parse(id, aad, &body).is_err());
        }
        for place in 0..body.len() {
            let mut changed = body.clone();
            changed[place] ^= 1;
            assert!(parse(b"id", b"aad", &changed).is_err());
            assert!(parse(b"id", b"aad", &body[..place]).is_err());
        }
    }
}
