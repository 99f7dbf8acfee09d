//! A consumer over librdkafka that takes messages in batches and lends them where they lie.
//!
//! rdkafka's own consumers cost an allocation and a reference count for each message, and its
//! queue loses rebalances when it is read in batches. This is the only unsafe code of the sources.
//!
//! librdkafka calls back on the thread that polls, and only within a call of ours, but for its log.
//! What it says is kept until the poll is over: a rebalance waits for our answer, and meanwhile no
//! message of another assignment comes.

#![allow(unsafe_code, reason = "messages in batches are offered by the C interface only")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;

/// What librdkafka has to say beside messages, in order.
#[derive(Debug)]
pub(super) enum Word {
    /// Partitions are ours: nothing comes of them before [`Consumer::assign`].
    Assigned(Vec<(String, i32)>),
    /// All partitions are taken away once [`Consumer::unassign`] agrees.
    Revoked,
    /// No broker can be reached.
    Down(String),
    /// Something else is wrong; most often it comes right by itself.
    Error(String),
    /// How it is doing.
    Statistics(Box<Statistics>),
}

/// What the callbacks write.
#[derive(Debug, Default)]
struct Ear {
    words: Mutex<Vec<Word>>,
    /// Nobody answers a rebalance any more.
    closing: AtomicBool,
}

impl Ear {
    fn hear(&self, word: Word) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).push(word);
    }
}

/// A message that librdkafka lends, or an error in a message's place.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Message(NonNull<c::rd_kafka_message_t>);

impl Message {
    fn raw(&self) -> &c::rd_kafka_message_t {
        // SAFETY: librdkafka handed it over whole, and takes it back in `drop` only.
        unsafe { self.0.as_ref() }
    }

    /// The bytes; none of a tombstone.
    pub(super) fn payload(&self) -> &[u8] {
        let raw = self.raw();
        if raw.payload.is_null() {
            return &[];
        }
        // SAFETY: librdkafka keeps `len` bytes there until the message is destroyed.
        unsafe { std::slice::from_raw_parts(raw.payload.cast(), raw.len) }
    }

    /// What is wrong, where this is no message.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        let code = self.raw().err;
        (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code.into())
    }

    /// An error in words.
    pub(super) fn reason(&self) -> String {
        // SAFETY: the message is whole; the text is librdkafka's and outlives it.
        unsafe { text(c::rd_kafka_message_errstr(self.0.as_ptr())) }
    }

    /// The topic's name; empty where an error concerns none.
    pub(super) fn topic(&self) -> &str {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: the message holds its topic, and the topic its name.
        unsafe { CStr::from_ptr(c::rd_kafka_topic_name(topic)) }.to_str().unwrap_or_default()
    }

    /// The same for messages of one topic that are lent together, and cheaper than its name.
    pub(super) fn topic_handle(&self) -> usize {
        self.raw().rkt as usize
    }

    pub(super) fn partition(&self) -> i32 {
        self.raw().partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.raw().offset
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is ours, and destroyed here only.
        unsafe { c::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// A member of a group, or a reader of partitions that were assigned by hand.
#[derive(Debug)]
pub(super) struct Consumer {
    client: NonNull<c::rd_kafka_t>,
    queue: NonNull<c::rd_kafka_queue_t>,
    /// librdkafka holds its address.
    ear: Box<Ear>,
    /// What is lent until the next poll.
    lent: Vec<Message>,
}

// SAFETY: librdkafka's handles may be used from any thread; messages too, one thread at a time.
unsafe impl Send for Consumer {}

impl Consumer {
    /// # Errors
    /// librdkafka refuses the settings.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let native = config.create_native_config()?;
        let ear = Box::<Ear>::default();
        let mut reason = [0; 512];
        // SAFETY: the configuration is whole. The ear outlives the client, which is destroyed in
        // `drop`, and the callbacks take what they are declared to take.
        let client = unsafe {
            let conf = native.ptr();
            c::rd_kafka_conf_set_opaque(conf, ptr::from_ref(&*ear).cast_mut().cast());
            c::rd_kafka_conf_set_rebalance_cb(conf, Some(rebalanced));
            c::rd_kafka_conf_set_error_cb(conf, Some(failed));
            c::rd_kafka_conf_set_stats_cb(conf, Some(counted));
            c::rd_kafka_conf_set_log_cb(conf, Some(logged));
            let kind = c::rd_kafka_type_t::RD_KAFKA_CONSUMER;
            c::rd_kafka_new(kind, conf, reason.as_mut_ptr(), reason.len())
        };
        let Some(client) = NonNull::new(client) else {
            // SAFETY: librdkafka has ended the text with a zero.
            return Err(KafkaError::ClientCreation(unsafe { text(reason.as_ptr()) }));
        };
        // The configuration belongs to the client now.
        let _ = ManuallyDrop::new(native);
        // SAFETY: the client was just made. With a group there is a queue of its consumer, to which
        // everything else it has to say is sent as well.
        let queue = unsafe {
            c::rd_kafka_poll_set_consumer(client.as_ptr());
            NonNull::new(c::rd_kafka_queue_get_consumer(client.as_ptr()))
        };
        let Some(queue) = queue else {
            // SAFETY: nothing else of it is held.
            unsafe { c::rd_kafka_destroy(client.as_ptr()) };
            return Err(KafkaError::ClientCreation("a consumer needs a group".to_owned()));
        };
        Ok(Self { client, queue, ear, lent: Vec::new() })
    }

    /// Joins the group for these topics.
    ///
    /// # Errors
    /// librdkafka refuses them.
    pub(super) fn subscribe(&self, topics: &[String]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(topics.len());
        for topic in topics {
            list.add_partition(topic, -1);
        }
        // SAFETY: both are whole; the list is copied.
        let code = unsafe { c::rd_kafka_subscribe(self.client.as_ptr(), list.ptr()) };
        checked(code).map_err(|code| KafkaError::Subscription(code.to_string()))
    }

    /// Up to `most` messages that have come are lent until the next call; waits for the first at
    /// most `wait`. [`Self::words`] has what was said meanwhile.
    pub(super) fn poll(&mut self, most: usize, wait: Duration) {
        self.lent.clear();
        self.lent.reserve(most);
        self.take(most);
        if self.lent.is_empty() && !wait.is_zero() && self.silent() {
            // A batch is waited for until it is full: the first message is waited for by itself.
            let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
            // SAFETY: the client is whole; what it gives is ours.
            let first = unsafe { c::rd_kafka_consumer_poll(self.client.as_ptr(), wait) };
            if let Some(first) = NonNull::new(first) {
                self.lent.push(Message(first));
                self.take(most - 1);
            }
        }
    }

    /// What the last poll brought.
    pub(super) fn lent(&self) -> &[Message] {
        &self.lent
    }

    /// Adds what has come.
    fn take(&mut self, most: usize) {
        let (len, queue) = (self.lent.len(), self.queue.as_ptr());
        debug_assert!(len + most <= self.lent.capacity());
        // SAFETY: there is room for `most` more, each a pointer to a message that is ours; only so
        // many are counted in as were written.
        unsafe {
            let room = self.lent.as_mut_ptr().add(len).cast::<*mut c::rd_kafka_message_t>();
            let got = c::rd_kafka_consume_batch_queue(queue, 0, room, most);
            self.lent.set_len(len + usize::try_from(got).unwrap_or(0));
        }
    }

    fn silent(&self) -> bool {
        self.ear.words.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What was said since it was last asked.
    pub(super) fn words(&self) -> Vec<Word> {
        std::mem::take(&mut self.ear.words.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins to read partitions, where the group left off or at the offsets of the list.
    pub(super) fn assign(&self, list: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: both are whole; the list is copied.
        checked(unsafe { c::rd_kafka_assign(self.client.as_ptr(), list.ptr()) })
    }

    /// Gives all partitions back.
    pub(super) fn unassign(&self) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the client is whole, and no list means none.
        checked(unsafe { c::rd_kafka_assign(self.client.as_ptr(), ptr::null()) })
    }

    /// The offsets that the broker has of a partition: from its oldest message on, below the next.
    pub(super) fn retained(
        &self,
        (topic, partition): (&str, i32),
        wait: Duration,
    ) -> Option<Range<i64>> {
        let topic = CString::new(topic).ok()?;
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        let (mut low, mut high) = (0, 0);
        // SAFETY: client and text are whole, and the two numbers are written before it returns.
        let code = unsafe {
            let (client, topic) = (self.client.as_ptr(), topic.as_ptr());
            c::rd_kafka_query_watermark_offsets(client, topic, partition, &mut low, &mut high, wait)
        };
        checked(code).is_ok().then_some(low..high)
    }

    /// Stops fetching partitions, and throws away what was fetched ahead; or goes on with them.
    pub(super) fn pause(
        &self,
        list: &TopicPartitionList,
        pause: bool,
    ) -> Result<(), RDKafkaErrorCode> {
        let (client, list) = (self.client.as_ptr(), list.ptr());
        // SAFETY: both are whole.
        checked(unsafe {
            if pause {
                c::rd_kafka_pause_partitions(client, list)
            } else {
                c::rd_kafka_resume_partitions(client, list)
            }
        })
    }

    /// Keeps offsets, each of the next message wanted, to be told to the group in a moment.
    pub(super) fn store(&self, next: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: both are whole; what went wrong is written into the list.
        checked(unsafe { c::rd_kafka_offsets_store(self.client.as_ptr(), next.ptr()) })
    }

    /// Tells the group the offsets that were kept, and waits for its answer.
    pub(super) fn commit(&self) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the client is whole, and no list means what was kept.
        checked(unsafe { c::rd_kafka_commit(self.client.as_ptr(), ptr::null(), 0) })
    }
}

impl Drop for Consumer {
    /// Leaves the group.
    fn drop(&mut self) {
        self.lent.clear();
        self.ear.closing.store(true, Ordering::Release);
        // SAFETY: no message is held any more, and nothing is used after it. A rebalance that waits
        // for an answer would wait for ever: giving all back is right for each.
        unsafe {
            let client = self.client.as_ptr();
            c::rd_kafka_assign(client, ptr::null());
            c::rd_kafka_queue_destroy(self.queue.as_ptr());
            c::rd_kafka_consumer_close(client);
            c::rd_kafka_destroy(client);
        }
    }
}

fn checked(code: Code) -> Result<(), RDKafkaErrorCode> {
    match code {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// # Safety
/// `text` is null, or points at bytes that end with a zero.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// # Safety
/// `opaque` is the ear of a consumer that lives.
unsafe fn ear<'a>(opaque: *mut c_void) -> &'a Ear {
    // SAFETY: as above.
    unsafe { &*opaque.cast::<Ear>() }
}

unsafe extern "C" fn rebalanced(
    client: *mut c::rd_kafka_t,
    code: Code,
    list: *mut c::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka gives back what it was given, its own client, and a list that is whole.
    unsafe {
        let ear = ear(opaque);
        let closing = ear.closing.load(Ordering::Acquire);
        match code {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if !closing => {
                let count = usize::try_from((*list).cnt).unwrap_or(0);
                let elements = match count {
                    0 => &[],
                    count => std::slice::from_raw_parts((*list).elems, count),
                };
                let named = elements.iter().map(|e| (text(e.topic), e.partition)).collect();
                ear.hear(Word::Assigned(named));
            }
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS if !closing => ear.hear(Word::Revoked),
            code => {
                if !closing {
                    ear.hear(Word::Error(format!("rebalance: {}", RDKafkaErrorCode::from(code))));
                }
                c::rd_kafka_assign(client, ptr::null());
            }
        }
        // Whoever waits for a message answers first.
        c::rd_kafka_yield(client);
    }
}

unsafe extern "C" fn failed(
    _: *mut c::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka gives back what it was given, and a text.
    let (ear, reason) = unsafe { (ear(opaque), text(reason)) };
    let down = code == Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int;
    ear.hear(if down { Word::Down(reason) } else { Word::Error(reason) });
}

unsafe extern "C" fn counted(
    _: *mut c::rd_kafka_t,
    json: *mut c_char,
    len: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka gives back what it was given, and a text of `len` bytes.
    let (ear, json) = unsafe { (ear(opaque), std::slice::from_raw_parts(json.cast::<u8>(), len)) };
    match serde_json::from_slice(json) {
        Ok(statistics) => ear.hear(Word::Statistics(Box::new(statistics))),
        Err(error) => tracing::debug!(%error, "statistics of librdkafka cannot be read"),
    }
    0
}

/// On any thread of librdkafka's.
unsafe extern "C" fn logged(
    _: *const c::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: both are texts.
    let (facility, line) = unsafe { (text(facility), text(line)) };
    // As syslog counts: 4 is a warning.
    match level {
        ..=4 => tracing::warn!(facility, "librdkafka: {line}"),
        _ => tracing::debug!(facility, "librdkafka: {line}"),
    }
}
