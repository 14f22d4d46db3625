//! The one error type of the service: a variant per exception of the AWS KMS API.

use std::fmt;

use crate::model::{KeySpec, KeyState, KeyUsage};

macro_rules! kms_errors {
    ($($(#[$doc:meta])* $variant:ident => $code:literal,)+) => {
        /// What an operation refused, one variant per AWS exception.
        ///
        /// The payload is the message of the exception as clients see it, which may be empty. A message never
        /// repeats a secret value. [`fmt::Display`] adds the code, so that a log line says something even for
        /// the exceptions that AWS sends without a message.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        pub enum KmsError {
            $($(#[$doc])* $variant(String),)+
        }

        impl KmsError {
            /// The `__type` of the exception on the wire, for example `NotFoundException`.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $code,)+
                }
            }

            /// The refusal that an exception of a service stands for; `None` for one that this API does not have.
            pub fn from_code(code: &str, message: impl Into<String>) -> Option<Self> {
                // Two variants share a code; the first one is the general one.
                $(if code == $code {
                    return Some(Self::$variant(message.into()));
                })+
                None
            }

            /// The message of the exception, exactly as AWS words it. Empty where AWS sends none.
            pub fn message(&self) -> &str {
                match self {
                    $(Self::$variant(message) => message,)+
                }
            }
        }
    };
}

kms_errors! {
    /// The key, alias or Region of the request does not exist here.
    NotFound => "NotFoundException",
    /// The key is disabled.
    Disabled => "DisabledException",
    /// The state of the key does not permit the operation.
    KmsInvalidState => "KMSInvalidStateException",
    /// The ciphertext is damaged, truncated, or was made under another encryption context.
    InvalidCiphertext => "InvalidCiphertextException",
    /// The named key is not the one that made the ciphertext.
    IncorrectKey => "IncorrectKeyException",
    /// The imported material is not the material that the key expects.
    IncorrectKeyMaterial => "IncorrectKeyMaterialException",
    /// The import token is damaged or belongs to another key.
    InvalidImportToken => "InvalidImportTokenException",
    /// The import token is older than 24 hours.
    ExpiredImportToken => "ExpiredImportTokenException",
    /// The resource exists already.
    AlreadyExists => "AlreadyExistsException",
    /// A quota is used up.
    LimitExceeded => "LimitExceededException",
    /// The operation does not apply to this kind of key.
    UnsupportedOperation => "UnsupportedOperationException",
    /// The request breaks a constraint of its shape.
    Validation => "ValidationException",
    /// The caller may not do this.
    AccessDenied => "AccessDeniedException",
    /// The alias name is reserved for AWS managed keys.
    NotAuthorized => "NotAuthorizedException",
    /// An ARN is malformed.
    InvalidArn => "InvalidArnException",
    /// An alias name is malformed.
    InvalidAliasName => "InvalidAliasNameException",
    /// A pagination marker was not issued by this operation.
    InvalidMarker => "InvalidMarkerException",
    /// The key usage or algorithm does not fit the operation.
    InvalidKeyUsage => "InvalidKeyUsageException",
    /// The key exists but its custody cannot be reached now.
    KeyUnavailable => "KeyUnavailableException",
    /// The service failed; nothing about the request was wrong.
    Internal => "KMSInternalException",
    /// A stored record failed its authentication: it was damaged or changed by hand.
    CorruptRecord => "KMSInternalException",
    /// A key policy is not valid.
    MalformedPolicyDocument => "MalformedPolicyDocumentException",
    /// Another change to the same resource is in progress.
    Conflict => "ConflictException",
    /// The dry run found that the request would have succeeded.
    DryRunOperation => "DryRunOperationException",
    /// A dependency did not answer in time.
    DependencyTimeout => "DependencyTimeoutException",
    /// Too many requests: slow down.
    Throttling => "ThrottlingException",
    /// A grant token is not valid.
    InvalidGrantToken => "InvalidGrantTokenException",
    /// A grant id is not valid.
    InvalidGrantId => "InvalidGrantIdException",
    /// A tag is not valid.
    Tag => "TagException",
    /// A signature does not match its message.
    KmsInvalidSignature => "KMSInvalidSignatureException",
    /// A MAC does not match its message.
    KmsInvalidMac => "KMSInvalidMacException",
    /// The custom key store does not exist.
    CustomKeyStoreNotFound => "CustomKeyStoreNotFoundException",
    /// The custom key store is not in a state that permits the operation.
    CustomKeyStoreInvalidState => "CustomKeyStoreInvalidStateException",
    /// Another custom key store has the name.
    CustomKeyStoreNameInUse => "CustomKeyStoreNameInUseException",
    /// The custom key store has keys.
    CustomKeyStoreHasCmks => "CustomKeyStoreHasCMKsException",
    /// Another custom key store uses the token.
    CloudHsmClusterInUse => "CloudHsmClusterInUseException",
    /// There is no such token.
    CloudHsmClusterNotFound => "CloudHsmClusterNotFoundException",
    /// The token is not initialized.
    CloudHsmClusterNotActive => "CloudHsmClusterNotActiveException",
    /// The token is another one than that of the store.
    CloudHsmClusterNotRelated => "CloudHsmClusterNotRelatedException",
    /// The token cannot be told from another one, or cannot do what is needed.
    CloudHsmClusterInvalidConfiguration => "CloudHsmClusterInvalidConfigurationException",
    /// The certificate is not one.
    IncorrectTrustAnchor => "IncorrectTrustAnchorException",
    /// Another key of the store goes with the external key.
    XksKeyAlreadyInUse => "XksKeyAlreadyInUseException",
    /// The external key is not an enabled AES-256 key that encrypts and decrypts.
    XksKeyInvalidConfiguration => "XksKeyInvalidConfigurationException",
    /// The external key manager does not have the key.
    XksKeyNotFound => "XksKeyNotFoundException",
    /// The proxy does not accept the credential.
    XksProxyIncorrectAuthenticationCredential => "XksProxyIncorrectAuthenticationCredentialException",
    /// The proxy is not configured for what it is asked.
    XksProxyInvalidConfiguration => "XksProxyInvalidConfigurationException",
    /// The proxy's answer cannot be understood.
    XksProxyInvalidResponse => "XksProxyInvalidResponseException",
    /// Another custom key store uses the proxy's address.
    XksProxyUriInUse => "XksProxyUriInUseException",
    /// The proxy does not answer.
    XksProxyUriUnreachable => "XksProxyUriUnreachableException",
    /// There is no such VPC endpoint service.
    XksProxyVpcEndpointServiceNotFound => "XksProxyVpcEndpointServiceNotFoundException",
}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            "" => f.write_str(self.code()),
            message => write!(f, "{}: {message}", self.code()),
        }
    }
}

/// Predicates that callers branch on.
impl KmsError {
    /// Whether the key itself cannot be used: it is disabled, in another refusing state, or gone. Retrying does not
    /// help until somebody changes the key.
    pub fn is_key_unusable(&self) -> bool {
        matches!(self, Self::Disabled(_) | Self::KmsInvalidState(_) | Self::NotFound(_))
    }

    /// Whether the same request may succeed a little later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::DependencyTimeout(_) | Self::KeyUnavailable(_) | Self::Throttling(_))
    }
}

/// The messages that clients and tests match on, each written once.
impl KmsError {
    /// `Key '<arn>' does not exist`.
    pub fn key_not_found(arn: impl fmt::Display) -> Self {
        Self::NotFound(format!("Key '{arn}' does not exist"))
    }

    /// The text is neither a key id, nor an ARN, nor an alias.
    pub fn invalid_key_id(typed: &str) -> Self {
        Self::NotFound(format!("Invalid keyId '{typed}'"))
    }

    /// A management operation was given an alias; AWS answers without quotes here.
    pub fn alias_refused(typed: &str) -> Self {
        Self::NotFound(format!("Invalid keyId {typed}"))
    }

    /// The ARN names a Region that this endpoint does not serve.
    pub fn wrong_region(region: &str) -> Self {
        Self::NotFound(format!("Invalid arn {region}"))
    }

    /// `Alias <arn> is not found.`
    pub fn alias_not_found(arn: impl fmt::Display) -> Self {
        Self::NotFound(format!("Alias {arn} is not found."))
    }

    /// `An alias with the name <arn> already exists`.
    pub fn alias_exists(arn: impl fmt::Display) -> Self {
        Self::AlreadyExists(format!("An alias with the name {arn} already exists"))
    }

    /// The refusal of a key whose state is not right, worded by that state.
    pub fn wrong_state(arn: impl fmt::Display, state: KeyState) -> Self {
        match state {
            KeyState::Disabled => Self::Disabled(format!("{arn} is disabled.")),
            KeyState::PendingDeletion => Self::KmsInvalidState(format!("{arn} is pending deletion.")),
            KeyState::PendingReplicaDeletion => {
                Self::KmsInvalidState(format!("{arn} is pending replica deletion."))
            }
            KeyState::PendingImport => Self::KmsInvalidState(format!("{arn} is pending import.")),
            KeyState::Unavailable => Self::KmsInvalidState(format!("{arn} is unavailable.")),
            KeyState::Creating => Self::KmsInvalidState(format!("{arn} is creating.")),
            KeyState::Updating => Self::KmsInvalidState(format!("{arn} is updating.")),
            KeyState::Enabled => Self::KmsInvalidState(format!("{arn} is enabled.")),
        }
    }

    /// `<arn> key usage is <u> which is not valid for <Op>.`
    pub fn wrong_usage(arn: impl fmt::Display, usage: KeyUsage, operation: &str) -> Self {
        Self::InvalidKeyUsage(format!("{arn} key usage is {usage} which is not valid for {operation}."))
    }

    /// `Algorithm <a> is incompatible with key spec <s>.`
    pub fn wrong_algorithm(algorithm: impl fmt::Display, spec: KeySpec) -> Self {
        Self::InvalidKeyUsage(format!("Algorithm {algorithm} is incompatible with key spec {spec}."))
    }

    /// The key is of a kind that never has what the operation is about.
    pub fn wrong_spec(arn: impl fmt::Display, spec: KeySpec) -> Self {
        Self::UnsupportedOperation(format!("{arn} key spec is {spec} which is not valid for this operation."))
    }

    /// `<arn> origin is <o> which is not valid for this operation.`
    pub fn wrong_origin(arn: impl fmt::Display, origin: impl fmt::Display) -> Self {
        Self::UnsupportedOperation(format!("{arn} origin is {origin} which is not valid for this operation."))
    }

    /// The single answer to every ciphertext that does not open. AWS sends no message, so that nobody learns why.
    pub fn invalid_ciphertext() -> Self {
        Self::InvalidCiphertext(String::new())
    }

    /// The named key did not make this ciphertext.
    pub fn incorrect_key() -> Self {
        Self::IncorrectKey(
            "The key ID in the request does not identify a CMK that can perform this operation.".into(),
        )
    }

    /// The ciphertext names a key that is unknown here or closed to the caller.
    pub fn ciphertext_key_inaccessible() -> Self {
        Self::AccessDenied(
            "The ciphertext refers to a customer master key that does not exist, does not exist in this region, \
             or you are not allowed to access."
                .into(),
        )
    }

    /// A single broken constraint. `shown` must not be a secret: pass `None` to leave the value out.
    pub fn constraint(shown: Option<&str>, member: &str, constraint: fmt::Arguments<'_>) -> Self {
        let value = shown.map(|text| format!(" '{text}'")).unwrap_or_default();
        Self::Validation(format!(
            "1 validation error detected: Value{value} at '{member}' failed to satisfy constraint: Member must {constraint}"
        ))
    }

    /// No custom key store has the id or the name.
    pub fn custom_key_store_not_found(typed: &str) -> Self {
        Self::CustomKeyStoreNotFound(format!("Custom key store {typed} does not exist."))
    }

    /// A dry run that would have succeeded.
    pub fn dry_run() -> Self {
        Self::DryRunOperation("The request would have succeeded, but the DryRun option is set.".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_the_code_even_without_a_message() {
        assert_eq!(KmsError::invalid_ciphertext().to_string(), "InvalidCiphertextException");
        assert_eq!(KmsError::invalid_ciphertext().message(), "");
        assert_eq!(
            KmsError::key_not_found("arn:x").to_string(),
            "NotFoundException: Key 'arn:x' does not exist"
        );
    }

    #[test]
    fn predicates_follow_the_code() {
        assert!(KmsError::wrong_state("a", KeyState::Disabled).is_key_unusable());
        assert!(KmsError::wrong_state("a", KeyState::PendingImport).is_key_unusable());
        assert!(!KmsError::AccessDenied(String::new()).is_key_unusable());
        assert!(KmsError::DependencyTimeout(String::new()).is_transient());
    }
}
