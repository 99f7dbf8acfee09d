//! MQTT 3.1.1: QoS 1, a lasting session, and an acknowledgement for a delivery only when the log
//! holds it.
//!
//! The connection is read on a thread of its own, in as large pieces as come, and what became
//! durable is acknowledged with one write (docs/decisions/0021). Acknowledgements come back into
//! that loop through a channel, tagged with the epoch of the connection that brought the delivery:
//! packet ids begin anew with each connection, so an old one would acknowledge somebody else's
//! delivery.

mod inbox;
mod line;
mod packet;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use event::RecordKind;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::intake::{Ack, Batch, Board, Running, SourceError, Stream, Wiring};
use super::settings::{Kind, SourceSettings};
use inbox::{Full, Inbox};
use line::Line;
use packet::{Connect, Granted, Packet};

/// How long a broker may take to let us in.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Between looks at a full intake: its receiver cannot wake us.
const FULL_WAIT: Duration = Duration::from_millis(2);

/// After which a refused subscription is asked for again: rights may have been given meanwhile.
const REFUSED_WAIT: Duration = Duration::from_secs(30);

/// Starts reading. A broker that is down is no error: see [`Running::state`].
///
/// # Errors
/// The settings are of another type, the password is not in the environment, or there is no thread
/// to be had.
pub fn start(settings: &SourceSettings, wiring: Wiring) -> Result<Running, SourceError> {
    let Kind::Mqtt { host, port, topics, client_id, username, password_env, keep_alive, inflight } =
        &settings.kind
    else {
        return Err(SourceError::Kind { source_id: settings.id.clone(), wanted: "mqtt" });
    };
    let mut credentials = None;
    if let Some(username) = username {
        let password = settings.secret(password_env.as_deref())?.unwrap_or_default();
        credentials = Some((username.clone(), password));
    }
    let keep_alive_s = u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX);
    let failed = |error| SourceError::Thread { source_id: settings.id.clone(), error };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let board = Arc::new(Board::default());
    board.link(false, format!("connecting to {host}:{port}"));
    let stop = Arc::new(Notify::new());
    let (acks_in, acks) = mpsc::unbounded_channel();
    let session = Session {
        broker: format!("{host}:{port}"),
        connect: Connect { client_id: client_id.clone(), credentials, keep_alive_s },
        keep_alive: *keep_alive,
        filters: topics.clone(),
        stream: Stream::named(&wiring.streams, settings.id.clone()),
        wiring,
        board: board.clone(),
        stop: stop.clone(),
        acks,
        acks_in,
        epoch: 0,
        unacked: 0,
        unacked_max: usize::from(*inflight),
        payload_bytes_max: settings.payload_bytes_max,
        idle_after: settings.idle_after(),
        inbox: Inbox::default(),
        held: None,
        opened: false,
        speaking: false,
        last: Instant::now(),
        asked: VecDeque::new(),
        last_asked: 0,
        refused: Vec::new(),
        ask_again: None,
    };
    let thread = std::thread::Builder::new()
        .name(format!("mqtt-{}", settings.id))
        .spawn(move || runtime.block_on(session.run()))
        .map_err(failed)?;
    Ok(Running::new(board, thread, move || stop.notify_one()))
}

/// Deliveries of one connection that the log holds.
struct Durable {
    epoch: u64,
    ids: Vec<u16>,
}

/// Why a connection, or all of the source, ends.
enum End {
    /// We were told to stop.
    Stopped,
    /// Nobody takes batches any more.
    IntakeClosed,
    /// The connection is lost: come back.
    Lost(String),
    /// What came is no MQTT: where the next packet begins nobody knows. Come back.
    Malformed(packet::Malformed),
}

impl From<packet::Malformed> for End {
    fn from(malformed: packet::Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

struct Session {
    broker: String,
    connect: Connect,
    keep_alive: Duration,
    filters: Vec<String>,
    stream: Stream,
    wiring: Wiring,
    board: Arc<Board>,
    stop: Arc<Notify>,
    acks: mpsc::UnboundedReceiver<Durable>,
    acks_in: mpsc::UnboundedSender<Durable>,
    /// Counts connections.
    epoch: u64,
    /// Deliveries of this connection that are not acknowledged: what bounds the channel above.
    unacked: usize,
    unacked_max: usize,
    payload_bytes_max: usize,
    idle_after: Duration,
    /// What is read and not handed over yet.
    inbox: Inbox,
    /// A batch that the intake had no room for when its connection was lost.
    held: Option<(Batch, u64)>,
    opened: bool,
    /// Whether anything came since the stream was last said to be idle.
    speaking: bool,
    last: Instant,
    /// Subscriptions under way: packet id and filters.
    asked: VecDeque<(u16, Vec<String>)>,
    last_asked: u16,
    refused: Vec<String>,
    ask_again: Option<Instant>,
}

impl Session {
    async fn run(mut self) {
        let mut backoff = Backoff::random();
        let mut subscribed = false;
        loop {
            let end = match self.connect().await {
                Ok((mut line, session_present)) => {
                    let begun = Instant::now();
                    // A session may be there from a time when the topics were others.
                    let ask = !(session_present && subscribed);
                    let Err(end) = self.serve(&mut line, ask).await;
                    if matches!(end, End::Stopped | End::IntakeClosed) {
                        self.leave(line).await;
                    }
                    subscribed = self.asked.is_empty() && self.refused.is_empty();
                    backoff.stood(begun.elapsed());
                    end
                }
                Err(end) => end,
            };
            let reason = match end {
                End::Stopped => return,
                End::IntakeClosed => return self.board.link(false, "the intake is closed"),
                End::Lost(reason) => reason,
                End::Malformed(malformed) => {
                    self.board.count_malformed();
                    format!("this is not MQTT 3.1.1: {malformed}")
                }
            };
            tracing::warn!(source = self.stream.name, broker = self.broker, "{reason}");
            self.board.link(false, format!("{}: {reason}", self.broker));
            if let Err(End::IntakeClosed) = self.salvage().await {
                return;
            }
            tokio::select! {
                biased;
                () = self.stop.notified() => return,
                () = sleep(backoff.wait()) => {}
            }
        }
    }

    /// Connects; tells whether the broker remembers our session.
    async fn connect(&mut self) -> Result<(Line, bool), End> {
        let stop = self.stop.clone();
        let (line, session_present) = tokio::select! {
            biased;
            () = stop.notified() => return Err(End::Stopped),
            entered = timeout(CONNECT_WAIT_MAX, self.enter()) => {
                entered.unwrap_or_else(|_| Err(End::Lost("the broker does not answer".to_owned())))?
            }
        };
        self.epoch += 1;
        self.unacked = 0;
        self.last = Instant::now();
        self.speaking = true;
        if !self.opened {
            self.opened = true;
            self.inbox.mark(&self.wiring, RecordKind::StreamOpened, &self.stream);
        }
        self.board.link(true, "");
        Ok((line, session_present))
    }

    async fn enter(&mut self) -> Result<(Line, bool), End> {
        let lost = |error: io::Error| End::Lost(error.to_string());
        let mut line = Line::open(&self.broker, self.keep_alive).await.map_err(lost)?;
        self.connect.encode(&mut line.out);
        line.send().await.map_err(End::Lost)?;
        loop {
            line.stream.readable().await.map_err(lost)?;
            self.read(&mut line)?;
            let limit = self.payload_bytes_max;
            match self.inbox.next(&self.wiring, self.stream.id, limit)? {
                Some(Packet::ConnAck(Ok(session_present))) => return Ok((line, session_present)),
                Some(Packet::ConnAck(Err(refused))) => return Err(End::Lost(refused.to_string())),
                Some(_) => return Err(End::Lost("a packet before the answer".to_owned())),
                None => {}
            }
        }
    }

    /// Reads and acknowledges until the connection ends.
    async fn serve(&mut self, line: &mut Line, ask: bool) -> Result<std::convert::Infallible, End> {
        self.asked.clear();
        self.ask_again = None;
        if ask {
            self.refused.clear();
            self.subscribe(line, self.filters.clone()).await?;
        }
        loop {
            self.cut()?;
            self.hand_over(line).await?;
            let idle_at = self.last + self.idle_after;
            let ask_at = self.ask_again.unwrap_or(idle_at);
            let reading = self.unacked < self.unacked_max;
            tokio::select! {
                biased;
                () = self.stop.notified() => return Err(End::Stopped),
                Some(durable) = self.acks.recv() => self.acknowledge(line, durable).await?,
                // Drained: what we have not acknowledged may hold back more at the broker.
                () = sleep_until(idle_at), if self.speaking && self.unacked == 0 => {
                    self.speaking = false;
                    self.inbox.mark(&self.wiring, RecordKind::StreamIdle, &self.stream);
                }
                () = sleep_until(ask_at), if self.ask_again.is_some() => {
                    self.ask_again = None;
                    let refused = std::mem::take(&mut self.refused);
                    self.subscribe(line, refused).await?;
                }
                ready = line.stream.readable(), if reading => {
                    ready.map_err(|e| End::Lost(e.to_string()))?;
                    self.gather(line)?;
                }
                () = sleep_until(line.ping_at()) => line.ping(reading).await.map_err(End::Lost)?,
            }
        }
    }

    /// Takes whatever has come already, without waiting.
    fn gather(&mut self, line: &mut Line) -> Result<(), End> {
        while self.read(line)? {
            self.cut()?;
            if self.inbox.full() || self.unacked >= self.unacked_max {
                break;
            }
        }
        Ok(())
    }

    /// Reads once; `false` when nothing is there.
    fn read(&mut self, line: &mut Line) -> Result<bool, End> {
        match self.inbox.read(&line.stream) {
            Ok(0) => Err(End::Lost("the broker has closed the connection".to_owned())),
            Ok(_) => {
                line.heard();
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(End::Lost(error.to_string())),
        }
    }

    /// Cuts packets off what was read, as far as the window goes.
    fn cut(&mut self) -> Result<(), End> {
        let limit = self.payload_bytes_max;
        let mut any = false;
        while self.unacked < self.unacked_max && self.inbox.readable() {
            match self.inbox.next(&self.wiring, self.stream.id, limit)? {
                Some(Packet::Publish(publish)) => {
                    self.unacked += usize::from(publish.id.is_some());
                    any = true;
                }
                Some(Packet::SubAck { id, codes }) => self.subscribed(id, &codes)?,
                Some(Packet::ConnAck(_)) => {
                    return Err(End::Lost("the broker has answered twice".to_owned()));
                }
                Some(Packet::PingResp) | None => {}
            }
        }
        if any {
            self.last = Instant::now();
            self.speaking = true;
        }
        Ok(())
    }

    /// Hands over what was gathered. While the intake is full nothing is read, but what becomes
    /// durable is acknowledged, and the broker gets signs of life.
    async fn hand_over(&mut self, line: &mut Line) -> Result<(), End> {
        let Some((mut batch, deliveries)) = self.batch() else { return Ok(()) };
        loop {
            batch = match self.wiring.intake.try_send(batch) {
                Ok(()) => {
                    self.board.count(deliveries);
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(End::IntakeClosed),
                Err(TrySendError::Full(batch)) => batch,
            };
            let told = tokio::select! {
                biased;
                () = self.stop.notified() => return Err(End::Stopped),
                Some(durable) = self.acks.recv() => self.acknowledge(line, durable).await,
                () = sleep(FULL_WAIT) => {
                    if Instant::now() < line.ping_at() {
                        continue;
                    }
                    line.ping(false).await.map_err(End::Lost)
                }
            };
            if let Err(end) = told {
                // What is in hand is stored even so; its acknowledgement has no connection any more.
                self.held = Some((batch, deliveries));
                return Err(end);
            }
        }
    }

    fn batch(&mut self) -> Option<(Batch, u64)> {
        let Full { records, deliveries, ids } = self.inbox.take()?;
        if ids.is_empty() {
            return Some((Batch { records, ack: Ack::none() }, deliveries));
        }
        let (acks, epoch) = (self.acks_in.clone(), self.epoch);
        let ack = Ack::new(move || {
            // A source that is gone has no connection to acknowledge on.
            let _ = acks.send(Durable { epoch, ids });
        });
        Some((Batch { records, ack }, deliveries))
    }

    /// Acknowledges to the broker all that has become durable, with one write.
    async fn acknowledge(&mut self, line: &mut Line, durable: Durable) -> Result<(), End> {
        let mut next = Some(durable);
        while let Some(Durable { epoch, ids }) = next {
            if epoch == self.epoch {
                self.unacked -= ids.len();
                ids.into_iter().for_each(|id| packet::puback(id, &mut line.out));
            }
            next = self.acks.try_recv().ok();
        }
        if line.out.is_empty() { Ok(()) } else { line.send().await.map_err(End::Lost) }
    }

    async fn subscribe(&mut self, line: &mut Line, filters: Vec<String>) -> Result<(), End> {
        self.last_asked = self.last_asked.checked_add(1).unwrap_or(1);
        packet::subscribe(self.last_asked, &filters, &mut line.out);
        self.asked.push_back((self.last_asked, filters));
        line.send().await.map_err(End::Lost)
    }

    fn subscribed(&mut self, id: u16, codes: &[Granted]) -> Result<(), End> {
        let index = self.asked.iter().position(|(asked, _)| *asked == id);
        let Some((_, filters)) = index.and_then(|index| self.asked.remove(index)) else {
            return Ok(());
        };
        if codes.len() != filters.len() {
            let (filters, codes) = (filters.len(), codes.len());
            return Err(End::Lost(format!("{codes} answers to {filters} topic filters")));
        }
        let mut weak = Vec::new();
        for (filter, code) in filters.into_iter().zip(codes) {
            match code {
                Granted::Refused => self.refused.push(filter),
                Granted::AtMostOnce => weak.push(filter),
                Granted::AtLeastOnce => {}
            }
        }
        let mut reason = String::new();
        if !self.refused.is_empty() {
            self.ask_again = Some(Instant::now() + REFUSED_WAIT);
            reason = format!("the broker refuses {}", self.refused.join(", "));
        } else if !weak.is_empty() {
            reason = format!("the broker grants only QoS 0 for {}", weak.join(", "));
        }
        if !reason.is_empty() {
            tracing::warn!(source = self.stream.name, broker = self.broker, "{reason}");
        }
        self.board.link(true, reason);
        Ok(())
    }

    /// After a loss: stores what was read from the old connection and acknowledges none of it: it
    /// comes again, under ids that are others then.
    async fn salvage(&mut self) -> Result<(), End> {
        self.inbox.reset();
        let left = self.batch();
        for (mut batch, deliveries) in self.held.take().into_iter().chain(left) {
            loop {
                batch = match self.wiring.intake.try_send(batch) {
                    Ok(()) => break self.board.count(deliveries),
                    Err(TrySendError::Disconnected(_)) => return Err(End::IntakeClosed),
                    Err(TrySendError::Full(batch)) => batch,
                };
                if self.board.stopping() {
                    return Ok(());
                }
                sleep(FULL_WAIT).await;
            }
        }
        Ok(())
    }

    /// Sends the acknowledgements that have come, and says good-bye; the session stays.
    async fn leave(&mut self, mut line: Line) {
        if let Ok(durable) = self.acks.try_recv()
            && self.acknowledge(&mut line, durable).await.is_err()
        {
            return;
        }
        packet::disconnect(&mut line.out);
        if line.send().await.is_ok() {
            tracing::debug!(source = self.stream.name, "disconnected");
        }
    }
}
