//! A proxy between a client of the key management service and the service, which misbehaves on request.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The name under which all requests are counted.
pub(crate) const CALLS: &str = "calls";

/// How the proxy treats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes them on.
    Forward = 0,
    /// Takes them and never answers.
    Hang = 1,
    /// Answers every second one with `ThrottlingException`.
    Throttle = 2,
    /// Answers every second one with a fault of the server.
    Fail = 3,
    /// Takes no connections and ends those that there are.
    Down = 4,
    /// Ends the connection at a random point of every second exchange.
    Cut = 5,
}

#[derive(Debug)]
struct State {
    upstream: Mutex<SocketAddr>,
    delay_micros: AtomicU64,
    mode: AtomicU32,
    requests: AtomicU64,
    cuts: AtomicU64,
    counts: Mutex<BTreeMap<String, u64>>,
    stop: AtomicBool,
}

/// The proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    state: Arc<State>,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    pub(crate) fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream: Mutex::new(upstream),
            delay_micros: AtomicU64::new(0),
            mode: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            counts: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A broken connection is what the proxy is for.
                    let _ = state.serve(&client);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { state, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.mode.store(mode as u32, Ordering::SeqCst);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay_micros.store(delay.as_micros() as u64, Ordering::SeqCst);
    }

    /// How often an operation was asked for, alone or as an item of a batch, with all tries; and of [`CALLS`], how many
    /// requests there were.
    pub(crate) fn count(&self, operation: &str) -> u64 {
        self.state.counts.lock().unwrap().get(operation).copied().unwrap_or(0)
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u32
    }

    fn serve(&self, mut client: &TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        let mut upstream: Option<TcpStream> = None;
        loop {
            let Some(request) = read_message(&mut client)? else { return Ok(()) };
            if self.is(Mode::Down) {
                return Ok(());
            }
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            let (operation, items) = operation_of(&request);
            *self.counts.lock().unwrap().entry(operation).or_default() += items;
            *self.counts.lock().unwrap().entry(CALLS.into()).or_default() += 1;
            std::thread::sleep(Duration::from_micros(self.delay_micros.load(Ordering::SeqCst)));
            while self.is(Mode::Hang) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let odd = number % 2 == 1;
            if odd && self.is(Mode::Throttle) {
                client.write_all(&refusal(400, "ThrottlingException"))?;
                continue;
            }
            if odd && self.is(Mode::Fail) {
                client.write_all(&refusal(500, "KMSInternalException"))?;
                continue;
            }
            // Pseudorandom, so that every point is met: before the request arrives, or within the answer.
            let cut = (odd && self.is(Mode::Cut)).then(|| number.wrapping_mul(2_654_435_761) % 997);
            if cut.is_some_and(|point| point % 3 == 0) {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            let upstream = match &mut upstream {
                Some(stream) => stream,
                none => none.insert(TcpStream::connect(*self.upstream.lock().unwrap())?),
            };
            upstream.write_all(&request)?;
            let Some(answer) = read_message(&mut &*upstream)? else { return Ok(()) };
            match cut {
                Some(point) => {
                    self.cuts.fetch_add(1, Ordering::SeqCst);
                    return client.write_all(&answer[..point as usize % answer.len()]);
                }
                None => client.write_all(&answer)?,
            }
        }
    }
}

fn refusal(status: u16, code: &str) -> Vec<u8> {
    let body = format!("{{\"__type\":\"{code}\",\"message\":\"not now\"}}");
    let head = format!(
        "HTTP/1.1 {status} No\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The operation of a request, and how many items it has.
fn operation_of(request: &[u8]) -> (String, u64) {
    let text = String::from_utf8_lossy(request);
    let target = header(&text, "x-amz-target").unwrap_or_default();
    let Some(operation) = target.strip_prefix("KmsfsService.Batch") else {
        return (target.trim_start_matches("TrentService.").to_owned(), 1);
    };
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    (operation.to_owned(), body["Items"].as_array().unwrap().len() as u64)
}

/// One request or answer with its body; none at the end of the connection.
fn read_message(stream: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let (mut message, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = message.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&message[..end]).into_owned();
            let body: usize = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            if message.len() >= end + 4 + body {
                return Ok(Some(message));
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            len => message.extend_from_slice(&buffer[..len]),
        }
    }
}
