//! What a return code of a module means for the next step.

use cryptoki::error::{Error, RvError};

/// What to do after a call has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The session is of no use any more; another one may be.
    Session,
    /// The handle of the key does not lead to it any more; its id may.
    Handle,
    /// The login, the token or the module is gone: connect anew.
    Link,
    /// The token does not take what was given to it, and will not.
    Input,
    /// The token has no room.
    Room,
    /// Anything else: it may pass.
    Passing,
}

/// Sorts an error.
pub(super) fn fault(error: &Error) -> Fault {
    let Error::Pkcs11(code, _) = error else { return Fault::Passing };
    match code {
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::SessionReadOnly => Fault::Session,
        RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid | RvError::KeyChanged => Fault::Handle,
        RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::UserNotLoggedIn
        | RvError::CryptokiNotInitialized => Fault::Link,
        RvError::EncryptedDataInvalid
        | RvError::EncryptedDataLenRange
        | RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::ArgumentsBad
        | RvError::DataInvalid
        | RvError::DataLenRange
        | RvError::SignatureInvalid
        | RvError::KeyFunctionNotPermitted
        | RvError::KeyTypeInconsistent
        | RvError::KeySizeRange
        | RvError::FunctionNotSupported
        | RvError::TemplateIncomplete
        | RvError::TemplateInconsistent
        | RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid => Fault::Input,
        RvError::DeviceMemory => Fault::Room,
        // General errors, failed functions and devices, want of memory, and whatever a vendor adds.
        _ => Fault::Passing,
    }
}

/// Whether a login must not be tried again with this PIN.
pub(super) fn refuses_pin(error: &Error) -> Option<crate::model::ConnectionErrorCode> {
    use crate::model::ConnectionErrorCode;
    let Error::Pkcs11(code, _) = error else { return None };
    match code {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
            Some(ConnectionErrorCode::InvalidCredentials)
        }
        RvError::PinLocked | RvError::PinExpired => Some(ConnectionErrorCode::UserLockedOut),
        RvError::UserPinNotInitialized => Some(ConnectionErrorCode::UserNotFound),
        RvError::UserAnotherAlreadyLoggedIn | RvError::UserTooManyTypes => {
            Some(ConnectionErrorCode::UserLoggedIn)
        }
        _ => None,
    }
}

/// Whether somebody of this process is logged in already, which is as good as a login.
pub(super) fn is_logged_in(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(RvError::UserAlreadyLoggedIn, _))
}

/// Whether a decryption may have failed because the ciphertext is not authentic. SoftHSM says so with a general error.
pub(super) fn may_be_unauthentic(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::GeneralError
                | RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::SignatureInvalid
                | RvError::DataInvalid
                | RvError::FunctionFailed,
            _
        )
    )
}
