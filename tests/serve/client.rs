//! An AWS client as small as one can be: it signs, and shows exactly what came back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;

/// Who signs, and for where.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
    pub(crate) region: String,
    pub(crate) service: String,
    pub(crate) time: Option<SystemTime>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Headers by name.
pub(crate) type Headers = Vec<(String, String)>;

impl Answer {
    /// The body; null if it is empty.
    pub(crate) fn json(&self) -> Value {
        match self.body.as_slice() {
            b"" => Value::Null,
            body => serde_json::from_slice(body).expect("an answer is JSON"),
        }
    }

    #[allow(dead_code, reason = "the load program only counts")]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The `__type` of a refusal.
    #[allow(dead_code, reason = "the load program only counts")]
    pub(crate) fn code(&self) -> String {
        self.json()["__type"].as_str().unwrap_or_default().to_owned()
    }
}

impl Signer {
    /// The headers of a request with its signature.
    pub(crate) fn headers(&self, host: &str, operation: &str, body: &[u8]) -> Headers {
        self.target_headers(host, &format!("TrentService.{operation}"), body)
    }

    /// The same for a whole target.
    pub(crate) fn target_headers(&self, host: &str, target: &str, body: &[u8]) -> Headers {
        let mut headers: Headers = vec![
            ("host".into(), host.into()),
            ("content-type".into(), "application/x-amz-json-1.1".into()),
            ("x-amz-target".into(), target.into()),
        ];
        let signature = self.sign(&headers, body);
        headers.extend(signature);
        headers
    }

    /// The headers that a signature over `headers` and `body` adds.
    pub(crate) fn sign(&self, headers: &Headers, body: &[u8]) -> Headers {
        let identity = Credentials::new(&self.access_key_id, &self.secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(self.time.unwrap_or_else(SystemTime::now))
            .settings(SigningSettings::default())
            .build()
            .expect("complete")
            .into();
        let signed = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request =
            SignableRequest::new("POST", "/", signed, SignableBody::Bytes(body)).expect("can be signed");
        let (instructions, _) = sign(request, &params).expect("signs").into_parts();
        instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// A connection that is kept.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    pub(crate) host: String,
    pub(crate) signer: Signer,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, signer: &Signer) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream: BufReader::new(stream), host: address.to_string(), signer: signer.clone() })
    }

    /// Calls an operation.
    pub(crate) fn call(&mut self, operation: &str, request: &Value) -> std::io::Result<Answer> {
        let body = request.to_string().into_bytes();
        let headers = self.signer.headers(&self.host, operation, &body);
        self.send("POST", "/", &headers, &body)
    }

    /// Calls an operation by its whole target.
    #[allow(dead_code, reason = "the load program calls operations of the API only")]
    pub(crate) fn call_target(&mut self, target: &str, request: &Value) -> std::io::Result<Answer> {
        let body = request.to_string().into_bytes();
        let headers = self.signer.target_headers(&self.host, target, &body);
        self.send("POST", "/", &headers, &body)
    }

    /// Sends a request as it is.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &Headers,
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
        let mut bytes = (request + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes)?;
        self.receive()
    }

    /// Reads one answer.
    pub(crate) fn receive(&mut self) -> std::io::Result<Answer> {
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
        let mut headers = Headers::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
                None => break,
            }
        }
        let len = headers.iter().find(|(name, _)| name == "content-length");
        let len = len.and_then(|(_, value)| value.parse().ok()).ok_or_else(broken)?;
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, headers, body })
    }

    /// The socket, to send less than a request.
    #[allow(dead_code, reason = "the load program sends whole requests")]
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }
}
