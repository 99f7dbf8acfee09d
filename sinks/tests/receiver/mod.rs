//! A web server of a few lines, which answers as the test says and tells what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

pub struct Request {
    head: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

pub struct WebServer {
    address: SocketAddr,
    requests: Receiver<Request>,
}

/// An answer of a status and more header lines, each with its line end.
pub fn answer(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n{headers}\r\nok")
}

impl WebServer {
    /// Answers request number `n`, from 0, with what `script` says. Its thread ends with the
    /// test's process.
    pub fn start(mut script: impl FnMut(usize) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (said, requests) = channel();
        std::thread::spawn(move || {
            let mut number = 0;
            for stream in listener.incoming() {
                serve(stream.expect("a connection"), &mut script, &mut number, &said);
            }
        });
        Self { address, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request, in the order of arrival.
    pub fn next(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(30)).expect("a request")
    }
}

/// Serves one connection until the client closes it: connections are kept alive.
fn serve(
    stream: TcpStream,
    script: &mut impl FnMut(usize) -> String,
    number: &mut usize,
    said: &Sender<Request>,
) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                head.push((name.to_ascii_lowercase(), value.to_owned()));
            }
        }
        let request = Request { head, body: String::new() };
        let length = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a whole body");
        let body = String::from_utf8(body).expect("UTF-8");
        // A test that has seen enough no longer listens.
        drop(said.send(Request { body, ..request }));
        reader.get_mut().write_all(script(*number).as_bytes()).expect("an open connection");
        *number += 1;
    }
}
