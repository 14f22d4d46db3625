//! A proxy that answers whatever a test wants, over TLS.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms_core::model::{ProxyConfig, ProxyCredential, SecretText};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What stores behind it give it: more than it needs on a busy machine, less than [`SLOW`].
const BUDGET_MILLIS: u32 = 1500;
/// How long a slow answer takes.
pub(crate) const SLOW: Duration = Duration::from_secs(3);

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) delay: Duration,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: body.to_string().into_bytes(),
            delay: Duration::ZERO,
        }
    }

    /// A refusal, with words that must not come out at the other end.
    pub(crate) fn refusal(status: u16, name: &str) -> Self {
        Self::json(status, &json!({ "errorName": name, "errorMessage": "words of the proxy" }))
    }
}

/// What a good proxy would answer is changed by this before it is sent.
type Change = Box<dyn Fn(&str, Answer) -> Answer + Send>;

/// The proxy. Its encryption is none: a ciphertext is its plaintext.
pub(crate) struct Faulty {
    port: u16,
    certificate: String,
    change: Arc<Mutex<Change>>,
    _dir: tempfile::TempDir,
}

impl Faulty {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls");
        let certificate = super::program::certificate(&path);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(&std::fs::read(path.with_extension("key")).unwrap()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let change: Arc<Mutex<Change>> = Arc::new(Mutex::new(Box::new(|_, answer| answer)));
        let (config, shared) = (Arc::new(config), Arc::clone(&change));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, change) = (Arc::clone(&config), Arc::clone(&shared));
                // A client that gives up is no error here.
                std::thread::spawn(move || serve(stream.ok()?, config, &change));
            }
        });
        Self { port, certificate, change, _dir: dir }
    }

    pub(crate) fn config(&self) -> ProxyConfig {
        let credential = ProxyCredential {
            access_key_id: "A".repeat(20),
            raw_secret_access_key: SecretText::new("s".repeat(43)),
        };
        let config = super::config(self.port, &self.certificate, credential);
        ProxyConfig { budget_millis: Some(BUDGET_MILLIS), ..config }
    }

    /// Changes answers from now on.
    pub(crate) fn set(&self, change: impl Fn(&str, Answer) -> Answer + Send + 'static) {
        *self.change.lock().unwrap() = Box::new(change);
    }

    /// Answers as it should from now on.
    pub(crate) fn behave(&self) {
        self.set(|_, answer| answer);
    }
}

/// Serves requests until the connection ends.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, change: &Mutex<Change>) -> Option<()> {
    let connection = ServerConnection::new(config).ok()?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let len = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; len];
        reader.read_exact(&mut body).ok()?;
        let operation = path.rsplit('/').next()?.to_owned();
        let answer = (change.lock().unwrap())(&operation, good(&operation, &body)?);
        std::thread::sleep(answer.delay);
        let head = format!(
            "HTTP/1.1 {} x\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            answer.status,
            answer.content_type,
            answer.body.len()
        );
        let out = reader.get_mut();
        out.write_all(head.as_bytes())
            .and_then(|()| out.write_all(&answer.body))
            .and_then(|()| out.flush())
            .ok()?;
    }
}

/// What a proxy that works answers.
fn good(operation: &str, body: &[u8]) -> Option<Answer> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let bytes = |name: &str| request[name].as_str().map(|text| STANDARD.decode(text).unwrap());
    let document = match operation {
        "health" => json!({
            "xksProxyFleetSize": 1, "xksProxyVendor": "v", "xksProxyModel": "m", "ekmVendor": "e",
            "ekmFleetDetails": [{ "id": "1", "model": "m", "healthStatus": "ACTIVE" }],
        }),
        "metadata" => {
            json!({ "keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED" })
        }
        "encrypt" => encrypted(&bytes("additionalAuthenticatedData")?, &bytes("plaintext")?, &[1; 12]),
        "decrypt" => json!({ "plaintext": request["ciphertext"] }),
        _ => return None,
    };
    Some(Answer::json(200, &document))
}

/// The answer to an encryption, with the integrity value that belongs to it.
pub(crate) fn encrypted(aad: &[u8], ciphertext: &[u8], iv: &[u8]) -> Value {
    let (metadata, tag) = (b"meta", [2; 16]);
    let all = [aad, metadata, iv, ciphertext, &tag].concat();
    json!({
        "ciphertext": STANDARD.encode(ciphertext),
        "ciphertextMetadata": STANDARD.encode(metadata),
        "initializationVector": STANDARD.encode(iv),
        "authenticationTag": STANDARD.encode(tag),
        "ciphertextDataIntegrityValue": STANDARD.encode(Sha256::digest(&all)),
    })
}
