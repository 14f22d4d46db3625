//! The API as it goes over the network: AWS JSON 1.1 to a [`KeyService`] and back.
//!
//! [`find`] looks an operation up by its name; [`Operation::call`] takes the JSON of a request and returns that of the
//! answer. HTTP and signatures are somebody else's business, so everything here can be called from a test. An
//! operation stands in one place, below `operations`: its shape with the constraints of the API reference, what it
//! reads from a request, and what it answers.

mod answer;
pub mod batch;
mod input;
mod node;
mod operations;
mod shape;

use std::fmt;

use zeroize::Zeroizing;

use crate::client::KeyService;
use crate::error::KmsError;
use crate::model::Caller;
use answer::Answer;
use input::Input;
use node::Object;
use shape::Member;

/// An operation of the API.
pub struct Operation {
    name: &'static str,
    input: &'static [Member],
    run: fn(&dyn KeyService, &Caller, &Input<'_>) -> Result<Answer, KmsError>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Operation").field(&self.name).finish()
    }
}

/// The operation of a name, for example `Encrypt`.
pub fn find(name: &str) -> Option<&'static Operation> {
    operations().find(|operation| operation.name == name)
}

/// All operations.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    operations::ALL.iter().flat_map(|group| group.iter())
}

impl Operation {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Calls `service` with the request in `json`. Returns the JSON of the answer, empty where AWS answers nothing.
    pub fn call(
        &self,
        service: &dyn KeyService,
        caller: &Caller,
        json: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WireError> {
        let object = Object::parse(json).ok_or_else(|| WireError::Serialization(String::new()))?;
        Ok(self.answer(service, caller, object)?.finish_or_nothing())
    }

    fn answer(
        &self,
        service: &dyn KeyService,
        caller: &Caller,
        object: Object<'_>,
    ) -> Result<Answer, WireError> {
        let input = Input::typed(self.input, object).map_err(WireError::Serialization)?;
        input.check_constraints()?;
        Ok((self.run)(service, caller, &input)?)
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The body is not JSON, or a member has the wrong type. The message never shows a value.
    #[error("SerializationException: {0}")]
    Serialization(String),
    /// The service refused.
    #[error(transparent)]
    Kms(#[from] KmsError),
}

impl WireError {
    /// The `__type` of the answer.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Serialization(_) => "SerializationException",
            Self::Kms(error) => error.code(),
        }
    }

    /// The message of the answer, which may be empty.
    pub fn message(&self) -> &str {
        match self {
            Self::Serialization(message) => message,
            // What failed inside goes into the log, not to the client.
            Self::Kms(KmsError::Internal(_)) => "The request failed because of an internal error.",
            Self::Kms(error) => error.message(),
        }
    }

    /// Whether the service failed and not the client: then the status of the answer is 500.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Serialization(_) => false,
            Self::Kms(error) => matches!(
                error,
                KmsError::Internal(_)
                    | KmsError::CorruptRecord(_)
                    | KmsError::KeyUnavailable(_)
                    | KmsError::DependencyTimeout(_)
            ),
        }
    }
}
