//! The names of condition keys.

use super::PolicyError;

/// The longest name of a condition key. Generous: an encryption context key may be long.
const MAX_KEY_LEN: usize = 8192 + 32;

macro_rules! condition_keys {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// A condition key. Names do not differ by case.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum ConditionKey {
            $($(#[$doc])* $variant,)+
            /// `kms:EncryptionContext:<name>`: the value of a pair, whatever the case of its name.
            EncryptionContext(String),
            /// `aws:ResourceTag/<key>`: the value of a tag of the key.
            ResourceTag(String),
            /// `aws:RequestTag/<key>`: the value of a tag in the request.
            RequestTag(String),
            /// A key that no request to this service has. In lower case.
            Other(String),
        }

        impl ConditionKey {
            fn plain(lower: &str) -> Option<Self> {
                $(if lower.eq_ignore_ascii_case($text) { return Some(Self::$variant); })+
                None
            }
        }
    };
}

condition_keys! {
    /// The service that calls for the principal: `<service>.<region>.amazonaws.com`.
    ViaService = "kms:ViaService",
    /// The account of the caller.
    CallerAccount = "kms:CallerAccount",
    /// The names in the encryption context.
    EncryptionContextKeys = "kms:EncryptionContextKeys",
    /// Whether a service asks for a grant on behalf of its user.
    GrantIsForAwsResource = "kms:GrantIsForAWSResource",
    /// The operations of a new grant.
    GrantOperations = "kms:GrantOperations",
    /// The grantee of a new grant.
    GranteePrincipal = "kms:GranteePrincipal",
    /// The retiring principal of a new grant.
    RetiringPrincipal = "kms:RetiringPrincipal",
    /// The kinds of constraints of a new grant.
    GrantConstraintType = "kms:GrantConstraintType",
    /// The alias that the caller typed.
    RequestAlias = "kms:RequestAlias",
    /// The aliases of the key.
    ResourceAliases = "kms:ResourceAliases",
    /// Where the material comes from.
    KeyOrigin = "kms:KeyOrigin",
    /// The kind of material.
    KeySpec = "kms:KeySpec",
    /// The same by its former name.
    CustomerMasterKeySpec = "kms:CustomerMasterKeySpec",
    /// What the key may be used for.
    KeyUsage = "kms:KeyUsage",
    /// The same by its former name.
    CustomerMasterKeyUsage = "kms:CustomerMasterKeyUsage",
    /// The encryption algorithm of the request.
    EncryptionAlgorithm = "kms:EncryptionAlgorithm",
    /// The signing algorithm of the request.
    SigningAlgorithm = "kms:SigningAlgorithm",
    /// The MAC algorithm of the request.
    MacAlgorithm = "kms:MacAlgorithm",
    /// The key agreement algorithm of the request.
    KeyAgreementAlgorithm = "kms:KeyAgreementAlgorithm",
    /// The spec of a data key pair.
    DataKeyPairSpec = "kms:DataKeyPairSpec",
    /// Whether the message of a signature is a digest.
    MessageType = "kms:MessageType",
    /// Whether a re-encryption stays under its key.
    ReEncryptOnSameKey = "kms:ReEncryptOnSameKey",
    /// The name of a key policy.
    PolicyName = "kms:PolicyName",
    /// The waiting period of a deletion.
    ScheduleKeyDeletionPendingWindowInDays = "kms:ScheduleKeyDeletionPendingWindowInDays",
    /// The period of automatic rotation.
    RotationPeriodInDays = "kms:RotationPeriodInDays",
    /// When imported material expires.
    ValidTo = "kms:ValidTo",
    /// Whether imported material expires.
    ExpirationModel = "kms:ExpirationModel",
    /// How imported material is wrapped.
    WrappingAlgorithm = "kms:WrappingAlgorithm",
    /// Under what imported material is wrapped.
    WrappingKeySpec = "kms:WrappingKeySpec",
    /// Whether the key is a multi-Region key.
    MultiRegion = "kms:MultiRegion",
    /// Whether a multi-Region key is the primary one.
    MultiRegionKeyType = "kms:MultiRegionKeyType",
    /// The new primary Region.
    PrimaryRegion = "kms:PrimaryRegion",
    /// The Region of a new replica.
    ReplicaRegion = "kms:ReplicaRegion",
    /// Whether the lockout check is skipped.
    BypassPolicyLockoutSafetyCheck = "kms:BypassPolicyLockoutSafetyCheck",
    /// The principal; of a role session, the role.
    PrincipalArn = "aws:PrincipalArn",
    /// The account of the principal.
    PrincipalAccount = "aws:PrincipalAccount",
    /// Whether a service calls for itself.
    PrincipalIsAwsService = "aws:PrincipalIsAWSService",
    /// The name of an IAM user.
    UserName = "aws:username",
    /// Whether a service passes on the request of a principal.
    ViaAwsService = "aws:ViaAWSService",
    /// The address of the client.
    SourceIp = "aws:SourceIp",
    /// The resource for which a service calls.
    SourceArn = "aws:SourceArn",
    /// The account of that resource.
    SourceAccount = "aws:SourceAccount",
    /// The time of the request.
    CurrentTime = "aws:CurrentTime",
    /// The same in seconds since 1970.
    EpochTime = "aws:EpochTime",
    /// The Region of the request.
    RequestedRegion = "aws:RequestedRegion",
    /// The account of the key.
    ResourceAccount = "aws:ResourceAccount",
    /// The tag keys in the request.
    TagKeys = "aws:TagKeys",
}

impl ConditionKey {
    /// Parses a name.
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let malformed = || PolicyError::problem("not a condition key");
        let (vendor, name) = text.split_once(':').ok_or_else(malformed)?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if vendor.is_empty() || name.is_empty() || !vendor.bytes().all(legal) || text.len() > MAX_KEY_LEN {
            return Err(malformed());
        }
        if let Some(rest) = after(text, "kms:EncryptionContext:") {
            return Ok(Self::EncryptionContext(rest.to_owned()));
        }
        if let Some(rest) = after(text, "aws:ResourceTag/") {
            return Ok(Self::ResourceTag(rest.to_owned()));
        }
        if let Some(rest) = after(text, "aws:RequestTag/") {
            return Ok(Self::RequestTag(rest.to_owned()));
        }
        if name.chars().any(char::is_whitespace) {
            return Err(malformed());
        }
        Ok(Self::plain(text).unwrap_or_else(|| Self::Other(text.to_lowercase())))
    }
}

/// What follows `prefix`, whatever its case, unless that is nothing.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    (start.eq_ignore_ascii_case(prefix) && !rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_differ_by_case_and_unknown_ones_are_kept() {
        let parse = |text: &str| ConditionKey::parse(text).ok();
        assert_eq!(parse("KMS:viaservice"), Some(ConditionKey::ViaService));
        assert_eq!(
            parse("kms:encryptioncontext:App Name"),
            Some(ConditionKey::EncryptionContext("App Name".into()))
        );
        assert_eq!(parse("aws:ResourceTag/Team"), Some(ConditionKey::ResourceTag("Team".into())));
        assert_eq!(
            parse("aws:MultiFactorAuthAge"),
            Some(ConditionKey::Other("aws:multifactorauthage".into()))
        );
        for text in ["", "kms", ":x", "kms:", "k ms:x", "kms:a b"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
