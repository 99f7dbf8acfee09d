//! MQTT 3.1.1: QoS 1, a lasting session, and an acknowledgement for a delivery only when the log
//! holds it.
//!
//! The connection is polled on a thread of its own. Acknowledgements come back into that loop
//! through a channel, tagged with the epoch of the connection that brought the delivery: packet ids
//! begin anew with each connection, so an old one would acknowledge somebody else's delivery.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use event::{RecordBlock, RecordKind};
use rumqttc::{
    Event, EventLoop, MqttOptions, NetworkOptions, Packet, PubAck, Publish, QoS, Request, SubAck,
    Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::intake::{
    Ack, BATCH_BYTES_MAX, BATCH_DELIVERIES_MAX, Batch, Board, Running, SourceError, Stream, Wiring,
};
use super::settings::{Kind, SourceSettings};

/// The protocol's own limit. Any lower one would make a longer message break the connection, and
/// the broker send it again, for ever; ours is [`SourceSettings::payload_bytes_max`].
const PACKET_BYTES_MAX: usize = 268_435_455;

/// How long a write may take before the connection counts as lost.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(10);

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
    let mut options = MqttOptions::new(client_id, host, *port);
    options
        .set_keep_alive(*keep_alive)
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if let Some(username) = username {
        let password = settings.secret(password_env.as_deref())?.unwrap_or_default();
        options.set_credentials(username, password);
    }
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    let mut events = EventLoop::new(options, 1);
    events.set_network_options(network);

    let failed = |error| SourceError::Thread { source_id: settings.id.clone(), error };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let board = Arc::new(Board::default());
    board.link(false, format!("connecting to {host}:{port}"));
    let stop = Arc::new(Notify::new());
    let (acks_in, acks) = mpsc::unbounded_channel();
    let session = Session {
        events,
        broker: format!("{host}:{port}"),
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
        sign_of_life: *keep_alive / 2,
        open: RecordBlock::new(),
        to_ack: Vec::new(),
        opened: false,
        speaking: false,
        last: Instant::now(),
        asked: VecDeque::new(),
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
    packets: Vec<u16>,
}

/// Why a connection, or all of the source, ends.
enum End {
    /// We were told to stop.
    Stopped,
    /// Nobody takes batches any more.
    IntakeClosed,
    /// The connection is lost: come back.
    Lost(String),
}

struct Session {
    events: EventLoop,
    broker: String,
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
    sign_of_life: Duration,
    /// Records not handed over yet, and their packet ids.
    open: RecordBlock,
    to_ack: Vec<u16>,
    opened: bool,
    /// Whether anything came since the stream was last said to be idle.
    speaking: bool,
    last: Instant,
    /// Subscriptions under way: packet id and filters.
    asked: VecDeque<(u16, Vec<String>)>,
    refused: Vec<String>,
    ask_again: Option<Instant>,
}

impl Session {
    async fn run(mut self) {
        let mut backoff = Backoff::random();
        let mut subscribed = false;
        loop {
            let end = match self.connect().await {
                Ok(session_present) => {
                    let begun = Instant::now();
                    // A session may be there from a time when the topics were others.
                    let ask = !(session_present && subscribed);
                    let end = self.serve(ask).await;
                    subscribed = self.asked.is_empty() && self.refused.is_empty();
                    backoff.stood(begun.elapsed());
                    end
                }
                Err(end) => end,
            };
            match end {
                End::Stopped => return self.leave().await,
                End::IntakeClosed => {
                    self.board.link(false, "the intake is closed");
                    return self.leave().await;
                }
                End::Lost(reason) => {
                    tracing::warn!(source = self.stream.name, broker = self.broker, "{reason}");
                    self.board.link(false, format!("{}: {reason}", self.broker));
                }
            }
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
    async fn connect(&mut self) -> Result<bool, End> {
        let connected = tokio::select! {
            biased;
            () = self.stop.notified() => return Err(End::Stopped),
            connected = self.events.poll() => connected,
        };
        let session_present = match connected {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => connack.session_present,
            Ok(other) => return Err(End::Lost(format!("{other:?} before the connection"))),
            Err(error) => return Err(End::Lost(error.to_string())),
        };
        self.epoch += 1;
        self.unacked = 0;
        self.last = Instant::now();
        self.speaking = true;
        if !self.opened {
            self.opened = true;
            self.wiring.mark(&mut self.open, RecordKind::StreamOpened, &self.stream);
        }
        self.board.link(true, "");
        Ok(session_present)
    }

    /// Reads and acknowledges until the connection ends.
    async fn serve(&mut self, ask: bool) -> End {
        match self.serve_until_end(ask).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn serve_until_end(&mut self, ask: bool) -> Result<std::convert::Infallible, End> {
        self.asked.clear();
        self.ask_again = None;
        if ask {
            self.refused.clear();
            self.subscribe(self.filters.clone()).await?;
        }
        loop {
            self.hand_over().await?;
            let idle_at = self.last + self.idle_after;
            let ask_at = self.ask_again.unwrap_or(idle_at);
            let reading = self.unacked < self.unacked_max;
            tokio::select! {
                biased;
                () = self.stop.notified() => return Err(End::Stopped),
                Some(durable) = self.acks.recv() => self.acknowledge(durable).await?,
                // Drained: what we have not acknowledged may hold back more at the broker.
                () = sleep_until(idle_at), if self.speaking && self.unacked == 0 => {
                    self.speaking = false;
                    self.wiring.mark(&mut self.open, RecordKind::StreamIdle, &self.stream);
                }
                () = sleep_until(ask_at), if self.ask_again.is_some() => {
                    self.ask_again = None;
                    let refused = std::mem::take(&mut self.refused);
                    self.subscribe(refused).await?;
                }
                event = self.events.poll(), if reading => {
                    self.take(event.map_err(|e| End::Lost(e.to_string()))?);
                    self.gather().await?;
                }
                () = sleep(self.sign_of_life), if !reading => self.ping().await?,
            }
        }
    }

    /// Takes whatever has come already, without waiting.
    async fn gather(&mut self) -> Result<(), End> {
        while self.open.len() < BATCH_DELIVERIES_MAX
            && self.open.bytes() < BATCH_BYTES_MAX
            && self.unacked < self.unacked_max
        {
            tokio::select! {
                biased;
                event = self.events.poll() => {
                    self.take(event.map_err(|e| End::Lost(e.to_string()))?);
                }
                () = ready(()) => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Incoming(Packet::Publish(publish)) => self.deliver(&publish),
            Event::Incoming(Packet::SubAck(suback)) => self.subscribed(&suback),
            _ => {}
        }
    }

    fn deliver(&mut self, publish: &Publish) {
        self.wiring.deliver(
            &mut self.open,
            self.stream.id,
            publish.retain,
            (publish.topic.as_bytes(), &publish.payload),
            self.payload_bytes_max,
        );
        if publish.qos == QoS::AtLeastOnce {
            self.to_ack.push(publish.pkid);
            self.unacked += 1;
        }
        self.last = Instant::now();
        self.speaking = true;
    }

    /// Hands over what was gathered. While the intake is full nothing is read, but what becomes
    /// durable is acknowledged, and the broker gets signs of life.
    async fn hand_over(&mut self) -> Result<(), End> {
        let Some(mut batch) = self.batch() else { return Ok(()) };
        let mut alive = Instant::now();
        loop {
            let deliveries = batch.deliveries();
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
                Some(durable) = self.acks.recv() => self.acknowledge(durable).await,
                () = sleep(FULL_WAIT) => {
                    if alive.elapsed() < self.sign_of_life {
                        continue;
                    }
                    alive = Instant::now();
                    self.ping().await
                }
            };
            if let Err(end) = told {
                // What is in hand is stored even so, only not acknowledged.
                self.open = batch.records;
                return Err(end);
            }
        }
    }

    fn batch(&mut self) -> Option<Batch> {
        if self.open.is_empty() {
            return None;
        }
        let records = std::mem::take(&mut self.open);
        let packets = std::mem::take(&mut self.to_ack);
        if packets.is_empty() {
            return Some(Batch { records, ack: Ack::none() });
        }
        let (acks, epoch) = (self.acks_in.clone(), self.epoch);
        let ack = Ack::new(move || {
            // A source that is gone has no connection to acknowledge on.
            let _ = acks.send(Durable { epoch, packets });
        });
        Some(Batch { records, ack })
    }

    /// Acknowledges to the broker all that has become durable, with one write.
    async fn acknowledge(&mut self, durable: Durable) -> Result<(), End> {
        let mut next = Some(durable);
        let mut any = false;
        while let Some(Durable { epoch, packets }) = next {
            if epoch == self.epoch {
                self.unacked -= packets.len();
                any = true;
                for packet in packets {
                    self.write(Packet::PubAck(PubAck::new(packet))).await?;
                }
            }
            next = self.acks.try_recv().ok();
        }
        if any { self.flush().await } else { Ok(()) }
    }

    async fn subscribe(&mut self, filters: Vec<String>) -> Result<(), End> {
        let asked = filters.iter().map(|f| SubscribeFilter::new(f.clone(), QoS::AtLeastOnce));
        let request = Request::Subscribe(Subscribe::new_many(asked));
        let packet = self.events.state.handle_outgoing_packet(request);
        let packet = packet.map_err(|e| End::Lost(e.to_string()))?;
        let Some(Packet::Subscribe(subscribe)) = packet else { return Ok(()) };
        self.asked.push_back((subscribe.pkid, filters));
        self.write(Packet::Subscribe(subscribe)).await?;
        self.flush().await
    }

    fn subscribed(&mut self, suback: &SubAck) {
        let Some(index) = self.asked.iter().position(|(id, _)| *id == suback.pkid) else { return };
        let Some((_, filters)) = self.asked.remove(index) else { return };
        let mut weak = Vec::new();
        for (filter, code) in filters.into_iter().zip(&suback.return_codes) {
            match code {
                SubscribeReasonCode::Failure => self.refused.push(filter),
                SubscribeReasonCode::Success(QoS::AtMostOnce) => weak.push(filter),
                SubscribeReasonCode::Success(_) => {}
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
    }

    /// A ping past the client's own state, which would take the next answer for a missing one:
    /// it is not read while we do not read.
    async fn ping(&mut self) -> Result<(), End> {
        self.events.state.await_pingresp = false;
        self.write(Packet::PingReq).await?;
        self.flush().await
    }

    async fn write(&mut self, packet: Packet) -> Result<(), End> {
        let Some(network) = self.events.network.as_mut() else {
            return Err(End::Lost("not connected".to_owned()));
        };
        match timeout(WRITE_WAIT_MAX, network.write(packet)).await {
            Ok(result) => result.map_err(|e| End::Lost(e.to_string())),
            Err(_) => Err(End::Lost("the broker takes nothing".to_owned())),
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        let Some(network) = self.events.network.as_mut() else { return Ok(()) };
        match timeout(WRITE_WAIT_MAX, network.flush()).await {
            Ok(result) => result.map_err(|e| End::Lost(e.to_string())),
            Err(_) => Err(End::Lost("the broker takes nothing".to_owned())),
        }
    }

    /// After a loss: stores what was read from the old connection and acknowledges none of it. Left
    /// in the client it would come out after the next connection, under ids that are others then.
    async fn salvage(&mut self) -> Result<(), End> {
        self.events.clean();
        self.events.pending.clear();
        let events: Vec<_> = self.events.state.events.drain(..).collect();
        for event in events {
            if let Event::Incoming(Packet::Publish(publish)) = event {
                self.deliver(&publish);
            }
        }
        self.to_ack.clear();
        let Some(mut batch) = self.batch() else { return Ok(()) };
        loop {
            let deliveries = batch.deliveries();
            batch = match self.wiring.intake.try_send(batch) {
                Ok(()) => {
                    self.board.count(deliveries);
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(End::IntakeClosed),
                Err(TrySendError::Full(batch)) => batch,
            };
            if self.board.stopping() {
                return Ok(());
            }
            sleep(FULL_WAIT).await;
        }
    }

    /// Sends the acknowledgements that have come, and says good-bye; the session stays.
    async fn leave(mut self) {
        if let Ok(durable) = self.acks.try_recv()
            && self.acknowledge(durable).await.is_err()
        {
            return;
        }
        if self.write(Packet::Disconnect).await.is_ok() && self.flush().await.is_ok() {
            tracing::debug!(source = self.stream.name, "disconnected");
        }
    }
}
