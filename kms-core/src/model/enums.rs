//! The closed sets of names in the API: each type holds a name that exists and prints it as AWS spells it.

use crate::error::KmsError;

/// Declares an enum whose variants are spelled as in the API, with parsing that answers as AWS does.
macro_rules! api_enum {
    (
        $(#[$doc:meta])*
        $name:ident at $member:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of the API reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name as the API spells it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The names of all values.
            #[allow(dead_code, reason = "only the names that a request can hold are listed in shapes")]
            pub(crate) fn names() -> Vec<&'static str> {
                Self::ALL.iter().map(|value| value.as_str()).collect()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = KmsError;

            fn from_str(text: &str) -> Result<Self, KmsError> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    KmsError::constraint(
                        Some(text),
                        $member,
                        format_args!("satisfy enum value set: [{}]", Self::names().join(", ")),
                    )
                })
            }
        }
    };
}

api_enum! {
    /// What kind of key material a KMS key has.
    KeySpec at "keySpec" {
        /// A 256-bit key for symmetric encryption.
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        /// HMAC with SHA-224.
        Hmac224 = "HMAC_224",
        /// HMAC with SHA-256.
        Hmac256 = "HMAC_256",
        /// HMAC with SHA-384.
        Hmac384 = "HMAC_384",
        /// HMAC with SHA-512.
        Hmac512 = "HMAC_512",
        /// RSA with a 2048-bit modulus.
        Rsa2048 = "RSA_2048",
        /// RSA with a 3072-bit modulus.
        Rsa3072 = "RSA_3072",
        /// RSA with a 4096-bit modulus.
        Rsa4096 = "RSA_4096",
        /// NIST P-256.
        EccNistP256 = "ECC_NIST_P256",
        /// NIST P-384.
        EccNistP384 = "ECC_NIST_P384",
        /// NIST P-521.
        EccNistP521 = "ECC_NIST_P521",
        /// secp256k1.
        EccSecgP256k1 = "ECC_SECG_P256K1",
        /// Ed25519.
        EccNistEdwards25519 = "ECC_NIST_EDWARDS25519",
        /// ML-DSA, category 2 (FIPS 204).
        MlDsa44 = "ML_DSA_44",
        /// ML-DSA, category 3 (FIPS 204).
        MlDsa65 = "ML_DSA_65",
        /// ML-DSA, category 5 (FIPS 204).
        MlDsa87 = "ML_DSA_87",
        /// ML-KEM, category 1 (FIPS 203).
        MlKem512 = "ML_KEM_512",
        /// ML-KEM, category 3 (FIPS 203).
        MlKem768 = "ML_KEM_768",
        /// ML-KEM, category 5 (FIPS 203).
        MlKem1024 = "ML_KEM_1024",
        /// SM2, which only the China Regions offer. Always refused.
        Sm2 = "SM2",
    }
}

impl KeySpec {
    /// The usages that a key of this spec may have.
    pub const fn usages(self) -> &'static [KeyUsage] {
        use KeyUsage::{EncapsulateDecapsulate, EncryptDecrypt, GenerateVerifyMac, KeyAgreement, SignVerify};
        match self {
            Self::SymmetricDefault => &[EncryptDecrypt],
            Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => &[GenerateVerifyMac],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[EncryptDecrypt, SignVerify],
            Self::EccNistP256 | Self::EccNistP384 | Self::EccNistP521 => &[SignVerify, KeyAgreement],
            Self::EccSecgP256k1 | Self::EccNistEdwards25519 => &[SignVerify],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[SignVerify],
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[EncapsulateDecapsulate],
            Self::Sm2 => &[EncryptDecrypt, SignVerify, KeyAgreement],
        }
    }
}

api_enum! {
    /// What a KMS key may be used for.
    KeyUsage at "keyUsage" {
        /// Signatures.
        SignVerify = "SIGN_VERIFY",
        /// Encryption, and with it data keys.
        EncryptDecrypt = "ENCRYPT_DECRYPT",
        /// Message authentication codes.
        GenerateVerifyMac = "GENERATE_VERIFY_MAC",
        /// Diffie-Hellman shared secrets.
        KeyAgreement = "KEY_AGREEMENT",
        /// Key encapsulation (FIPS 203).
        EncapsulateDecapsulate = "ENCAPSULATE_DECAPSULATE",
    }
}

api_enum! {
    /// Where the key material comes from, and so who holds it.
    Origin at "origin" {
        /// Generated here, sealed at rest by the software keystore.
        AwsKms = "AWS_KMS",
        /// Imported by the customer.
        External = "EXTERNAL",
        /// Generated inside a hardware token.
        AwsCloudHsm = "AWS_CLOUDHSM",
        /// Held by an external key manager.
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

api_enum! {
    /// Where a KMS key is in its life.
    KeyState at "keyState" {
        /// Being created.
        Creating = "Creating",
        /// Usable.
        Enabled = "Enabled",
        /// Turned off by `DisableKey`.
        Disabled = "Disabled",
        /// In its waiting period before deletion.
        PendingDeletion = "PendingDeletion",
        /// Waiting for imported key material.
        PendingImport = "PendingImport",
        /// A multi-Region primary key that waits for the deletion of its replicas.
        PendingReplicaDeletion = "PendingReplicaDeletion",
        /// Its custom key store is out of reach.
        Unavailable = "Unavailable",
        /// Its primary Region is changing.
        Updating = "Updating",
    }
}

api_enum! {
    /// Who manages a KMS key.
    KeyManager at "keyManager" {
        /// A service, for the customer: `alias/aws/<service>`.
        Aws = "AWS",
        /// The customer.
        Customer = "CUSTOMER",
    }
}

api_enum! {
    /// Whether imported key material has an end.
    ExpirationModel at "expirationModel" {
        /// The material is deleted at `ValidTo`.
        KeyMaterialExpires = "KEY_MATERIAL_EXPIRES",
        /// The material stays until somebody deletes it.
        KeyMaterialDoesNotExpire = "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
}

api_enum! {
    /// How a ciphertext blob was made.
    EncryptionAlgorithm at "encryptionAlgorithm" {
        /// Authenticated symmetric encryption.
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        /// RSA-OAEP with SHA-1.
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSA-OAEP with SHA-256.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        /// SM2 public key encryption.
        Sm2pke = "SM2PKE",
    }
}

api_enum! {
    /// The length of a data key, by name.
    DataKeySpec at "keySpec" {
        /// 32 bytes.
        Aes256 = "AES_256",
        /// 16 bytes.
        Aes128 = "AES_128",
    }
}

impl DataKeySpec {
    /// The length of the data key in bytes.
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }
}

api_enum! {
    /// How key material is wrapped for import.
    WrappingAlgorithm at "wrappingAlgorithm" {
        /// RSA PKCS #1 v1.5, which the service no longer accepts.
        RsaesPkcs1V15 = "RSAES_PKCS1_V1_5",
        /// RSA-OAEP with SHA-1 over the material itself.
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSA-OAEP with SHA-256 over the material itself.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        /// RSA-OAEP with SHA-1 over an AES key that wraps the material (RFC 5649).
        RsaAesKeyWrapSha1 = "RSA_AES_KEY_WRAP_SHA_1",
        /// RSA-OAEP with SHA-256 over an AES key that wraps the material (RFC 5649).
        RsaAesKeyWrapSha256 = "RSA_AES_KEY_WRAP_SHA_256",
        /// SM2 public key encryption.
        Sm2pke = "SM2PKE",
    }
}

api_enum! {
    /// The public key under which material is wrapped for import.
    WrappingKeySpec at "wrappingKeySpec" {
        /// RSA with a 2048-bit modulus.
        Rsa2048 = "RSA_2048",
        /// RSA with a 3072-bit modulus.
        Rsa3072 = "RSA_3072",
        /// RSA with a 4096-bit modulus.
        Rsa4096 = "RSA_4096",
        /// SM2.
        Sm2 = "SM2",
    }
}

api_enum! {
    /// Whether an import brings material that the key has had before.
    ImportType at "importType" {
        /// Material that this key has never had.
        NewKeyMaterial = "NEW_KEY_MATERIAL",
        /// Material that was deleted or has expired, brought again.
        ExistingKeyMaterial = "EXISTING_KEY_MATERIAL",
    }
}

api_enum! {
    /// Whether the bytes of an imported material are here.
    ImportState at "importState" {
        /// The bytes are here.
        Imported = "IMPORTED",
        /// The bytes were deleted or have expired.
        PendingImport = "PENDING_IMPORT",
    }
}

api_enum! {
    /// The role of one key material within its KMS key.
    KeyMaterialState at "keyMaterialState" {
        /// Decrypts what it once encrypted.
        NonCurrent = "NON_CURRENT",
        /// Encrypts.
        Current = "CURRENT",
        /// Imported, and waiting for `RotateKeyOnDemand`.
        PendingRotation = "PENDING_ROTATION",
        /// Imported into the primary of related multi-Region keys, and missing in a replica.
        PendingMultiRegionImportAndRotation = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION",
    }
}

api_enum! {
    /// The part of a key among related multi-Region keys.
    MultiRegionKeyType at "multiRegionKeyType" {
        /// The one that is replicated and rotated.
        Primary = "PRIMARY",
        /// A copy in another Region.
        Replica = "REPLICA",
    }
}

api_enum! {
    /// The cryptographic operations whose last success is told by `GetKeyLastUsage`.
    UsageOperation at "operation" {
        /// `Decrypt`.
        Decrypt = "Decrypt",
        /// `DeriveSharedSecret`.
        DeriveSharedSecret = "DeriveSharedSecret",
        /// `Encrypt`.
        Encrypt = "Encrypt",
        /// `GenerateDataKey`.
        GenerateDataKey = "GenerateDataKey",
        /// `GenerateDataKeyPair`.
        GenerateDataKeyPair = "GenerateDataKeyPair",
        /// `GenerateDataKeyPairWithoutPlaintext`.
        GenerateDataKeyPairWithoutPlaintext = "GenerateDataKeyPairWithoutPlaintext",
        /// `GenerateDataKeyWithoutPlaintext`.
        GenerateDataKeyWithoutPlaintext = "GenerateDataKeyWithoutPlaintext",
        /// `GenerateMac`.
        GenerateMac = "GenerateMac",
        /// `ReEncrypt`, of the key that decrypts and of the key that encrypts.
        ReEncrypt = "ReEncrypt",
        /// `Sign`.
        Sign = "Sign",
        /// `Verify`.
        Verify = "Verify",
        /// `VerifyMac`.
        VerifyMac = "VerifyMac",
        /// `Encapsulate`.
        Encapsulate = "Encapsulate",
        /// `Decapsulate`.
        Decapsulate = "Decapsulate",
    }
}

api_enum! {
    /// What caused a rotation.
    RotationType at "rotationType" {
        /// The yearly or custom schedule.
        Automatic = "AUTOMATIC",
        /// `RotateKeyOnDemand`.
        OnDemand = "ON_DEMAND",
    }
}

api_enum! {
    /// Which key materials `ListKeyRotations` lists.
    IncludeKeyMaterial at "includeKeyMaterial" {
        /// Also the first material, and the one that waits for rotation.
        AllKeyMaterial = "ALL_KEY_MATERIAL",
        /// Only materials that came by a rotation.
        RotationsOnly = "ROTATIONS_ONLY",
    }
}

api_enum! {
    /// What a caller asks permission for. One per operation, except that `ReEncrypt` needs two.
    Action at "action" {
        /// The permission `kms:CreateKey`.
        CreateKey = "kms:CreateKey",
        /// The permission `kms:DescribeKey`.
        DescribeKey = "kms:DescribeKey",
        /// The permission `kms:ListKeys`.
        ListKeys = "kms:ListKeys",
        /// The permission `kms:UpdateKeyDescription`.
        UpdateKeyDescription = "kms:UpdateKeyDescription",
        /// The permission `kms:EnableKey`.
        EnableKey = "kms:EnableKey",
        /// The permission `kms:DisableKey`.
        DisableKey = "kms:DisableKey",
        /// The permission `kms:ScheduleKeyDeletion`.
        ScheduleKeyDeletion = "kms:ScheduleKeyDeletion",
        /// The permission `kms:CancelKeyDeletion`.
        CancelKeyDeletion = "kms:CancelKeyDeletion",
        /// The permission `kms:CreateAlias`.
        CreateAlias = "kms:CreateAlias",
        /// The permission `kms:UpdateAlias`.
        UpdateAlias = "kms:UpdateAlias",
        /// The permission `kms:DeleteAlias`.
        DeleteAlias = "kms:DeleteAlias",
        /// The permission `kms:ListAliases`.
        ListAliases = "kms:ListAliases",
        /// The permission `kms:Encrypt`.
        Encrypt = "kms:Encrypt",
        /// The permission `kms:Decrypt`.
        Decrypt = "kms:Decrypt",
        /// The permission `kms:ReEncryptFrom`.
        ReEncryptFrom = "kms:ReEncryptFrom",
        /// The permission `kms:ReEncryptTo`.
        ReEncryptTo = "kms:ReEncryptTo",
        /// The permission `kms:GenerateDataKey`.
        GenerateDataKey = "kms:GenerateDataKey",
        /// The permission `kms:GenerateDataKeyWithoutPlaintext`.
        GenerateDataKeyWithoutPlaintext = "kms:GenerateDataKeyWithoutPlaintext",
        /// The permission `kms:GenerateRandom`.
        GenerateRandom = "kms:GenerateRandom",
        /// The permission `kms:EnableKeyRotation`.
        EnableKeyRotation = "kms:EnableKeyRotation",
        /// The permission `kms:DisableKeyRotation`.
        DisableKeyRotation = "kms:DisableKeyRotation",
        /// The permission `kms:GetKeyRotationStatus`.
        GetKeyRotationStatus = "kms:GetKeyRotationStatus",
        /// The permission `kms:ListKeyRotations`.
        ListKeyRotations = "kms:ListKeyRotations",
        /// The permission `kms:RotateKeyOnDemand`.
        RotateKeyOnDemand = "kms:RotateKeyOnDemand",
        /// The permission `kms:GetParametersForImport`.
        GetParametersForImport = "kms:GetParametersForImport",
        /// The permission `kms:ImportKeyMaterial`.
        ImportKeyMaterial = "kms:ImportKeyMaterial",
        /// The permission `kms:DeleteImportedKeyMaterial`.
        DeleteImportedKeyMaterial = "kms:DeleteImportedKeyMaterial",
        /// The permission `kms:ConnectCustomKeyStore`.
        ConnectCustomKeyStore = "kms:ConnectCustomKeyStore",
        /// The permission `kms:CreateCustomKeyStore`.
        CreateCustomKeyStore = "kms:CreateCustomKeyStore",
        /// The permission `kms:CreateGrant`.
        CreateGrant = "kms:CreateGrant",
        /// The permission `kms:Decapsulate`.
        Decapsulate = "kms:Decapsulate",
        /// The permission `kms:DeleteCustomKeyStore`.
        DeleteCustomKeyStore = "kms:DeleteCustomKeyStore",
        /// The permission `kms:DeriveSharedSecret`.
        DeriveSharedSecret = "kms:DeriveSharedSecret",
        /// The permission `kms:DescribeCustomKeyStores`.
        DescribeCustomKeyStores = "kms:DescribeCustomKeyStores",
        /// The permission `kms:DisconnectCustomKeyStore`.
        DisconnectCustomKeyStore = "kms:DisconnectCustomKeyStore",
        /// The permission `kms:Encapsulate`.
        Encapsulate = "kms:Encapsulate",
        /// The permission `kms:GenerateDataKeyPair`.
        GenerateDataKeyPair = "kms:GenerateDataKeyPair",
        /// The permission `kms:GenerateDataKeyPairWithoutPlaintext`.
        GenerateDataKeyPairWithoutPlaintext = "kms:GenerateDataKeyPairWithoutPlaintext",
        /// The permission `kms:GenerateMac`.
        GenerateMac = "kms:GenerateMac",
        /// The permission `kms:GetKeyLastUsage`.
        GetKeyLastUsage = "kms:GetKeyLastUsage",
        /// The permission `kms:GetKeyPolicy`.
        GetKeyPolicy = "kms:GetKeyPolicy",
        /// The permission `kms:GetPublicKey`.
        GetPublicKey = "kms:GetPublicKey",
        /// The permission `kms:ListGrants`.
        ListGrants = "kms:ListGrants",
        /// The permission `kms:ListKeyPolicies`.
        ListKeyPolicies = "kms:ListKeyPolicies",
        /// The permission `kms:ListResourceTags`.
        ListResourceTags = "kms:ListResourceTags",
        /// The permission `kms:ListRetirableGrants`.
        ListRetirableGrants = "kms:ListRetirableGrants",
        /// The permission `kms:PutKeyPolicy`.
        PutKeyPolicy = "kms:PutKeyPolicy",
        /// The permission `kms:ReplicateKey`.
        ReplicateKey = "kms:ReplicateKey",
        /// The permission `kms:RetireGrant`.
        RetireGrant = "kms:RetireGrant",
        /// The permission `kms:RevokeGrant`.
        RevokeGrant = "kms:RevokeGrant",
        /// The permission `kms:Sign`.
        Sign = "kms:Sign",
        /// The permission `kms:TagResource`.
        TagResource = "kms:TagResource",
        /// The permission `kms:UntagResource`.
        UntagResource = "kms:UntagResource",
        /// The permission `kms:UpdateCustomKeyStore`.
        UpdateCustomKeyStore = "kms:UpdateCustomKeyStore",
        /// The permission `kms:UpdatePrimaryRegion`.
        UpdatePrimaryRegion = "kms:UpdatePrimaryRegion",
        /// The permission `kms:Verify`.
        Verify = "kms:Verify",
        /// The permission `kms:VerifyMac`.
        VerifyMac = "kms:VerifyMac",
    }
}

api_enum! {
    /// What a grant can permit.
    GrantOperation at "operations" {
        /// What `kms:Decrypt` permits.
        Decrypt = "Decrypt",
        /// What `kms:Encrypt` permits.
        Encrypt = "Encrypt",
        /// What `kms:GenerateDataKey` permits.
        GenerateDataKey = "GenerateDataKey",
        /// What `kms:GenerateDataKeyWithoutPlaintext` permits.
        GenerateDataKeyWithoutPlaintext = "GenerateDataKeyWithoutPlaintext",
        /// What `kms:ReEncryptFrom` permits.
        ReEncryptFrom = "ReEncryptFrom",
        /// What `kms:ReEncryptTo` permits.
        ReEncryptTo = "ReEncryptTo",
        /// What `kms:Sign` permits.
        Sign = "Sign",
        /// What `kms:Verify` permits.
        Verify = "Verify",
        /// What `kms:GetPublicKey` permits.
        GetPublicKey = "GetPublicKey",
        /// What `kms:CreateGrant` permits.
        CreateGrant = "CreateGrant",
        /// What `kms:RetireGrant` permits.
        RetireGrant = "RetireGrant",
        /// What `kms:DescribeKey` permits.
        DescribeKey = "DescribeKey",
        /// What `kms:GenerateDataKeyPair` permits.
        GenerateDataKeyPair = "GenerateDataKeyPair",
        /// What `kms:GenerateDataKeyPairWithoutPlaintext` permits.
        GenerateDataKeyPairWithoutPlaintext = "GenerateDataKeyPairWithoutPlaintext",
        /// What `kms:GenerateMac` permits.
        GenerateMac = "GenerateMac",
        /// What `kms:VerifyMac` permits.
        VerifyMac = "VerifyMac",
        /// What `kms:DeriveSharedSecret` permits.
        DeriveSharedSecret = "DeriveSharedSecret",
        /// What `kms:Encapsulate` permits.
        Encapsulate = "Encapsulate",
        /// What `kms:Decapsulate` permits.
        Decapsulate = "Decapsulate",
    }
}

impl GrantOperation {
    /// The permission that the operation stands for.
    pub const fn action(self) -> Action {
        match self {
            Self::Decrypt => Action::Decrypt,
            Self::Encrypt => Action::Encrypt,
            Self::GenerateDataKey => Action::GenerateDataKey,
            Self::GenerateDataKeyWithoutPlaintext => Action::GenerateDataKeyWithoutPlaintext,
            Self::ReEncryptFrom => Action::ReEncryptFrom,
            Self::ReEncryptTo => Action::ReEncryptTo,
            Self::Sign => Action::Sign,
            Self::Verify => Action::Verify,
            Self::GetPublicKey => Action::GetPublicKey,
            Self::CreateGrant => Action::CreateGrant,
            Self::RetireGrant => Action::RetireGrant,
            Self::DescribeKey => Action::DescribeKey,
            Self::GenerateDataKeyPair => Action::GenerateDataKeyPair,
            Self::GenerateDataKeyPairWithoutPlaintext => Action::GenerateDataKeyPairWithoutPlaintext,
            Self::GenerateMac => Action::GenerateMac,
            Self::VerifyMac => Action::VerifyMac,
            Self::DeriveSharedSecret => Action::DeriveSharedSecret,
            Self::Encapsulate => Action::Encapsulate,
            Self::Decapsulate => Action::Decapsulate,
        }
    }

    /// The operation that stands for a permission, if grants can give it.
    pub fn of(action: Action) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.action() == action)
    }
}

impl Action {
    /// The operation that asks for this permission, as refusals name it.
    pub fn operation(self) -> &'static str {
        match self {
            Self::ReEncryptFrom | Self::ReEncryptTo => "ReEncrypt",
            other => other.as_str().trim_start_matches("kms:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for spec in KeySpec::ALL {
            assert_eq!(spec.as_str().parse::<KeySpec>(), Ok(*spec));
            assert!(!spec.usages().is_empty());
        }
    }

    #[test]
    fn an_unknown_name_is_a_validation_error() {
        let error = "DAYS".parse::<DataKeySpec>().expect_err("no such name");
        assert_eq!(
            error.message(),
            "1 validation error detected: Value 'DAYS' at 'keySpec' failed to satisfy constraint: Member must \
             satisfy enum value set: [AES_256, AES_128]"
        );
    }
}
