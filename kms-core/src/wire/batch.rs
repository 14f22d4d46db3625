//! Many requests in one: an extension of the API for clients with many data keys, as a file system is.
//!
//! The target is `KmsfsService.Batch` and the name of an operation. The body is `{"Items": [...]}`, each item a request of
//! that operation; the answer is `{"Results": [...]}`, one for each item and in order: what the operation answers, or
//! `{"Error": {"__type": ..., "message": ...}}`. Items are independent: each is checked, authorized, carried out and
//! recorded for itself, and one that is refused does not keep the others from being carried out. They are not one
//! transaction.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::node::{Node, Object};
use super::{Operation, WireError};
use crate::client::KeyService;
use crate::error::KmsError;
use crate::model::*;

/// In front of the names of batch operations.
pub const TARGET_PREFIX: &str = "KmsfsService.";
/// The most items of a batch.
pub const MAX_ITEMS: usize = 256;

/// A batch operation, with the operation of its items.
const OPERATIONS: &[(&str, &str)] = &[
    ("BatchGenerateDataKey", "GenerateDataKey"),
    ("BatchGenerateDataKeyWithoutPlaintext", "GenerateDataKeyWithoutPlaintext"),
    ("BatchDecrypt", "Decrypt"),
    ("BatchReEncrypt", "ReEncrypt"),
];

/// An operation that carries out another one many times.
#[derive(Debug, Clone, Copy)]
pub struct BatchOperation {
    name: &'static str,
    of: &'static Operation,
}

/// The batch operation of a name, for example `BatchDecrypt`.
pub fn find(name: &str) -> Option<BatchOperation> {
    let (name, of) = OPERATIONS.iter().find(|(batch, _)| *batch == name)?;
    Some(BatchOperation { name, of: super::find(of)? })
}

impl BatchOperation {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name of the operation of its items.
    pub fn item_name(&self) -> &'static str {
        self.of.name()
    }

    /// Carries out the items in `json`. `refused` is told of each item that was refused, with who asked for it.
    ///
    /// # Errors
    /// [`WireError`] if the body is not a list of items; then none was carried out.
    pub fn call(
        &self,
        service: &dyn KeyService,
        caller: &Caller,
        json: &[u8],
        mut refused: impl FnMut(&Caller, WireError) -> WireError,
    ) -> Result<Zeroizing<Vec<u8>>, WireError> {
        let object = Object::parse(json).ok_or_else(|| WireError::Serialization(String::new()))?;
        let items = items(&object)?;
        let results = (0_u32..).zip(items).map(|(number, item)| {
            let request_id = caller.request_id.map(|request| request.of_item(number));
            let caller = Caller { request_id, ..caller.clone() };
            match self.of.answer(service, &caller, item.clone()) {
                Ok(answer) => answer,
                Err(error) => {
                    let error = refused(&caller, error);
                    let error = Answer::new().text("__type", error.code()).text("message", error.message());
                    Answer::new().object("Error", error)
                }
            }
        });
        Ok(Answer::new().objects("Results", results).finish())
    }
}

fn items<'a, 'n>(object: &'n Object<'a>) -> Result<Vec<&'n Object<'a>>, WireError> {
    let list = match object.get("Items") {
        Some(Node::List(list)) => list,
        Some(_) => return Err(WireError::Serialization("Items is not a list".into())),
        None => return Err(KmsError::constraint(None, "items", format_args!("not be null")).into()),
    };
    let bound = match list.len() {
        0 => format_args!("have length greater than or equal to 1"),
        1..=MAX_ITEMS => {
            let item = |node: &'n Node<'a>| match node {
                Node::Object(item) => Ok(item),
                _ => Err(WireError::Serialization("An item is not a structure".into())),
            };
            return list.iter().map(item).collect();
        }
        _ => format_args!("have length less than or equal to {MAX_ITEMS}"),
    };
    Err(KmsError::constraint(None, "items", bound).into())
}

/// A request of a batch, as a client writes it and reads its answer.
pub trait BatchItem {
    /// What it is answered with.
    type Response;
    /// The name of the batch operation.
    const OPERATION: &'static str;

    /// The members of the request.
    #[doc(hidden)]
    fn write(&self, members: Members) -> Members;

    /// The answer to it.
    #[doc(hidden)]
    fn read(answer: &Answered<'_>) -> Option<Self::Response>;
}

/// The members of an item.
#[derive(Debug)]
pub struct Members(Answer);

/// What an item was answered with.
#[derive(Debug)]
pub struct Answered<'a>(&'a Object<'a>);

/// The body of a batch of at most [`MAX_ITEMS`] requests.
pub fn encode<R: BatchItem>(requests: &[R]) -> Zeroizing<Vec<u8>> {
    let items = requests.iter().map(|request| request.write(Members(Answer::new())).0);
    Answer::new().objects("Items", items).finish()
}

/// Reads the answer to a batch of `count` requests.
///
/// # Errors
/// [`KmsError::Internal`] if it is not the answer to such a batch: then nothing is known of any item.
pub fn decode<R: BatchItem>(
    json: &[u8],
    count: usize,
) -> Result<Vec<Result<R::Response, KmsError>>, KmsError> {
    let unexpected = || KmsError::Internal("the service answered a batch with something else".into());
    let object = Object::parse(json).ok_or_else(unexpected)?;
    let Some(Node::List(results)) = object.get("Results") else { return Err(unexpected()) };
    if results.len() != count {
        return Err(unexpected());
    }
    let result = |node: &Node<'_>| {
        let Node::Object(result) = node else { return Err(unexpected()) };
        if let Some(Node::Object(error)) = result.get("Error") {
            return Ok(Err(refusal(error)));
        }
        R::read(&Answered(result)).map(Ok).ok_or_else(unexpected)
    };
    results.iter().map(result).collect()
}

fn refusal(error: &Object<'_>) -> KmsError {
    let text = |name| match error.get(name) {
        Some(Node::Text(text)) => text.to_string(),
        _ => String::new(),
    };
    let (code, message) = (text("__type"), text("message"));
    KmsError::from_code(&code, message.as_str())
        .unwrap_or_else(|| KmsError::Internal(format!("the service refused with {code}: {message}")))
}

impl Members {
    fn text(self, name: &str, value: impl std::fmt::Display) -> Self {
        Self(self.0.text(name, value))
    }

    fn text_if(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        Self(self.0.text_if(name, value))
    }

    fn blob(self, name: &str, value: &[u8]) -> Self {
        Self(self.0.blob(name, value))
    }

    fn context(self, name: &str, context: &EncryptionContext) -> Self {
        if context.is_empty() {
            return self;
        }
        let pairs = context.iter().fold(Answer::new(), |pairs, (name, value)| pairs.text(name, value));
        Self(self.0.object(name, pairs))
    }

    fn options(self, grant_tokens: &[String], dry_run: bool) -> Self {
        let answer = self.0.texts_if("GrantTokens", grant_tokens);
        Self(if dry_run { answer.flag("DryRun", true) } else { answer })
    }
}

impl Answered<'_> {
    fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        match self.0.get(name)? {
            Node::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        match self.0.get(name)? {
            Node::Text(text) => STANDARD.decode(text.as_bytes()).ok(),
            _ => None,
        }
    }
}

impl BatchItem for GenerateDataKeyRequest {
    type Response = GenerateDataKeyResponse;
    const OPERATION: &'static str = "BatchGenerateDataKey";

    fn write(&self, members: Members) -> Members {
        let members = members
            .text("KeyId", self.key_id.typed())
            .context("EncryptionContext", &self.encryption_context)
            .text_if("KeySpec", self.key_spec);
        Members(members.0.number_if("NumberOfBytes", self.number_of_bytes))
            .options(&self.grant_tokens, self.dry_run)
    }

    fn read(answer: &Answered<'_>) -> Option<Self::Response> {
        Some(GenerateDataKeyResponse {
            ciphertext_blob: CiphertextBlob(answer.bytes("CiphertextBlob")?),
            plaintext: Plaintext::new(answer.bytes("Plaintext")?),
            key_id: answer.parsed("KeyId")?,
            key_material_id: answer.parsed("KeyMaterialId"),
        })
    }
}

impl BatchItem for DecryptRequest {
    type Response = DecryptResponse;
    const OPERATION: &'static str = "BatchDecrypt";

    fn write(&self, members: Members) -> Members {
        members
            .blob("CiphertextBlob", self.ciphertext_blob.as_bytes())
            .context("EncryptionContext", &self.encryption_context)
            .text_if("KeyId", self.key_id.as_ref().map(KeyRef::typed))
            .text_if("EncryptionAlgorithm", self.encryption_algorithm)
            .options(&self.grant_tokens, self.dry_run)
    }

    fn read(answer: &Answered<'_>) -> Option<Self::Response> {
        Some(DecryptResponse {
            key_id: answer.parsed("KeyId")?,
            plaintext: Plaintext::new(answer.bytes("Plaintext")?),
            encryption_algorithm: answer.parsed("EncryptionAlgorithm")?,
            key_material_id: answer.parsed("KeyMaterialId"),
        })
    }
}

impl BatchItem for ReEncryptRequest {
    type Response = ReEncryptResponse;
    const OPERATION: &'static str = "BatchReEncrypt";

    fn write(&self, members: Members) -> Members {
        members
            .blob("CiphertextBlob", self.ciphertext_blob.as_bytes())
            .context("SourceEncryptionContext", &self.source_encryption_context)
            .text_if("SourceKeyId", self.source_key_id.as_ref().map(KeyRef::typed))
            .text("DestinationKeyId", self.destination_key_id.typed())
            .context("DestinationEncryptionContext", &self.destination_encryption_context)
            .text_if("SourceEncryptionAlgorithm", self.source_encryption_algorithm)
            .text_if("DestinationEncryptionAlgorithm", self.destination_encryption_algorithm)
            .options(&self.grant_tokens, self.dry_run)
    }

    fn read(answer: &Answered<'_>) -> Option<Self::Response> {
        Some(ReEncryptResponse {
            ciphertext_blob: CiphertextBlob(answer.bytes("CiphertextBlob")?),
            source_key_id: answer.parsed("SourceKeyId")?,
            key_id: answer.parsed("KeyId")?,
            source_encryption_algorithm: answer.parsed("SourceEncryptionAlgorithm")?,
            destination_encryption_algorithm: answer.parsed("DestinationEncryptionAlgorithm")?,
            source_key_material_id: answer.parsed("SourceKeyMaterialId"),
            destination_key_material_id: answer.parsed("DestinationKeyMaterialId"),
        })
    }
}
