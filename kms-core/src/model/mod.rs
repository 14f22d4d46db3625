//! Types that cannot hold an illegal value: ids, names, states, requests and responses.

/// Serializes a type as its text, for stored records.
macro_rules! text_serde {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

#[macro_use]
mod enums;

mod algorithms;
mod alias;
mod caller;
mod context;
mod custom_key_store;
mod identity;
mod ids;
mod key_ref;
mod metadata;
mod requests;
mod secret;
mod time;

pub use algorithms::*;
pub use alias::AliasName;
pub use caller::{Caller, CallerPolicies, Principal, RequestId};
pub use context::EncryptionContext;
pub use custom_key_store::*;
pub use enums::*;
pub use identity::{AccessKey, AccessKeyId, SecretAccessKey, UserName};
pub use ids::{AccountId, GrantId, KeyArn, KeyId, MaterialId, Realm, Region};
pub use key_ref::{KeyRef, KeyTarget};
pub use metadata::{KeyMetadata, MultiRegionConfiguration, MultiRegionKey};
pub use requests::*;
pub use secret::{CiphertextBlob, Plaintext, SecretText};
pub use time::{Clock, MILLIS_PER_DAY, SystemClock, TestClock, Timestamp};
