//! Many requests in one call, where the service offers that: `kmsfs kms serve` does, AWS does not.
//!
//! The client of AWS has no such operation, so one that it has is sent, and its target, its body and its answer are
//! exchanged on the way: credentials, signature, deadline and retries are those of every other call.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_kms::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::{BoxError, ProvideErrorMetadata};
use zeroize::Zeroizing;

use super::RemoteKms;
use crate::error::KmsError;
use crate::wire::batch::{self, BatchItem, MAX_ITEMS, TARGET_PREFIX};

/// What a service answers that does not know the target.
const UNKNOWN: &str = "UnknownOperationException";

/// What goes out in the place of the request, and what came back.
struct Exchange {
    target: String,
    body: Zeroizing<Vec<u8>>,
    answer: Mutex<Option<Zeroizing<Vec<u8>>>>,
}

/// Exchanges one request and its answer. Shows neither.
struct Exchanger(Arc<Exchange>);

impl std::fmt::Debug for Exchanger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchanger")
    }
}

impl Intercept for Exchanger {
    fn name(&self) -> &'static str {
        "KmsfsBatch"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.headers_mut().insert("x-amz-target", self.0.target.clone());
        request.headers_mut().insert("content-length", self.0.body.len().to_string());
        *request.body_mut() = self.0.body.to_vec().into();
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response().body().bytes().map(|body| Zeroizing::new(body.to_vec()));
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        Ok(())
    }
}

impl RemoteKms {
    /// One answer for each request, in order; `None` if the service does not take them together.
    pub(super) fn together<R: BatchItem>(
        &self,
        requests: &[R],
    ) -> Option<Vec<Result<R::Response, KmsError>>> {
        if requests.len() < 2 || self.one_by_one.load(Ordering::Relaxed) {
            return None;
        }
        let mut answers = Vec::with_capacity(requests.len());
        for part in requests.chunks(MAX_ITEMS) {
            match self.exchange(R::OPERATION, batch::encode(part)) {
                Ok(Some(body)) => match batch::decode::<R>(&body, part.len()) {
                    Ok(part) => answers.extend(part),
                    Err(error) => answers.extend(part.iter().map(|_| Err(error.clone()))),
                },
                Ok(None) => {
                    self.one_by_one.store(true, Ordering::Relaxed);
                    return None;
                }
                Err(error) => answers.extend(part.iter().map(|_| Err(error.clone()))),
            }
        }
        Some(answers)
    }

    /// Sends a batch; `None` if the service does not know of batches.
    fn exchange(
        &self,
        operation: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KmsError> {
        let target = format!("{TARGET_PREFIX}{operation}");
        let exchange = Arc::new(Exchange { target, body, answer: Mutex::default() });
        // What stands in this request is never sent.
        let call = self.client.generate_data_key().key_id("-").customize();
        let call = call.interceptor(Exchanger(Arc::clone(&exchange)));
        self.breaker.admit(std::time::Instant::now())?;
        let outcome = self.runtime().block_on(call.send());
        if outcome.as_ref().err().is_some_and(|error| error.code() == Some(UNKNOWN)) {
            self.breaker.answered();
            return Ok(None);
        }
        self.settle(outcome)?;
        let answer = exchange.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.map(Some).ok_or_else(|| KmsError::Internal(format!("{} sent no answer", self.name)))
    }
}
