//! A connection to a broker: what is written, and whether the other side still lives.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::packet;

/// How long a write may take before the connection counts as lost.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(10);

pub(super) struct Line {
    pub(super) stream: TcpStream,
    /// Packets that go out with the next [`Self::send`].
    pub(super) out: Vec<u8>,
    keep_alive: Duration,
    /// The last write.
    sent: Instant,
    /// The first ping that nothing has followed.
    pinged: Option<Instant>,
}

impl Line {
    /// A connection, and nothing said on it yet.
    pub(super) async fn open(broker: &str, keep_alive: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(broker).await?;
        // Acknowledgements are small and go out in one write each time: waiting for more of them
        // would only be waiting.
        stream.set_nodelay(true)?;
        Ok(Self { stream, out: Vec::new(), keep_alive, sent: Instant::now(), pinged: None })
    }

    /// Writes all that is to go out.
    pub(super) async fn send(&mut self) -> Result<(), String> {
        match timeout(WRITE_WAIT_MAX, self.stream.write_all(&self.out)).await {
            Ok(Ok(())) => {
                self.out.clear();
                self.sent = Instant::now();
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the broker takes nothing".to_owned()),
        }
    }

    /// Something was read.
    pub(super) fn heard(&mut self) {
        self.pinged = None;
    }

    /// When the broker is owed a sign of life, in time for it and for our own patience.
    pub(super) fn ping_at(&self) -> Instant {
        self.sent + self.keep_alive / 2
    }

    /// Gives it. While we do not read, no answer can be missed.
    pub(super) async fn ping(&mut self, reading: bool) -> Result<(), String> {
        let now = Instant::now();
        if !reading {
            self.pinged = None;
        } else if now - *self.pinged.get_or_insert(now) > self.keep_alive {
            return Err("the broker is silent".to_owned());
        }
        packet::ping(&mut self.out);
        self.send().await
    }
}
