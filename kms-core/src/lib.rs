//! A key management service with the semantics of AWS KMS, as a library.
