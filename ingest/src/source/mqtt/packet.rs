//! The packets of MQTT 3.1.1 that a subscriber at QoS 1 meets: bytes and nothing else. Numbers in
//! comments are sections of the OASIS standard of 2014.

use std::ops::Range;

/// A packet that is no publication carries a few bytes; one beyond this is not read to its end.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// A remaining length has at most four bytes (2.2.3).
const LENGTH_BYTES_MAX: usize = 4;

const CONNECT: u8 = 0x10;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const PINGREQ: [u8; 2] = [0xC0, 0];
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// What a broker sends. Places are counted from the packet's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The answer to CONNECT: why not, or whether the broker remembers our session.
    ConnAck(Result<bool, Refused>),
    /// A message.
    Publish(Publish),
    /// The answer to SUBSCRIBE: one code for each filter, in their order.
    SubAck { id: u16, codes: Vec<Granted> },
    /// A sign of life.
    PingResp,
}

/// A message. One longer than asked for is told by its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) retained: bool,
    /// The id to acknowledge; none at QoS 0.
    pub(super) id: Option<u16>,
    pub(super) topic: Range<usize>,
    pub(super) payload: Range<usize>,
    pub(super) oversize: bool,
}

/// Why a broker does not let us in (3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the broker does not speak MQTT 3.1.1")]
    Protocol,
    #[error("the broker refuses the `client_id`")]
    ClientId,
    #[error("the broker is not available")]
    Unavailable,
    #[error("the broker refuses `username` and password")]
    Credentials,
    #[error("the broker does not authorise us: give the user the right to connect")]
    Unauthorised,
}

/// What a subscription got (3.9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    AtMostOnce,
    AtLeastOnce,
    Refused,
}

/// Bytes that are not MQTT, or nothing that a broker says to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a length of more than four bytes")]
    Length,
    #[error("a packet of type {0}, which no broker sends to a subscriber at QoS 1")]
    Type(u8),
    #[error("a packet of type {0} whose length or flags are wrong")]
    Shape(u8),
    #[error("a message at QoS 2, or at none")]
    Qos,
    #[error("the packet id 0")]
    Id,
}

/// The first packet in `bytes` and its length; `None` while it is not whole.
///
/// A message whose payload is longer than `payload_bytes_max` is told as soon as so much of it is
/// there: its length then goes beyond `bytes`.
pub(super) fn first(
    bytes: &[u8],
    payload_bytes_max: usize,
) -> Result<Option<(Packet, usize)>, Malformed> {
    let Some((&head, rest)) = bytes.split_first() else { return Ok(None) };
    let (kind, flags) = (head >> 4, head & 0x0F);
    // The head alone tells what can never come right: nothing more is waited for.
    if !matches!(kind, 2 | 3 | 9 | 13) {
        return Err(Malformed::Type(kind));
    }
    if kind != 3 && flags != 0 {
        return Err(Malformed::Shape(kind));
    }
    let Some((body, length)) = body(rest)? else { return Ok(None) };
    let end = body + length;
    if kind == 3 {
        return publish(bytes, flags, body..end, payload_bytes_max);
    }
    if length > CONTROL_BYTES_MAX {
        return Err(Malformed::Shape(kind));
    }
    let Some(body) = bytes.get(body..end) else { return Ok(None) };
    let packet = match (kind, body) {
        (2, &[present @ 0..=1, 0]) => Packet::ConnAck(Ok(present == 1)),
        (2, &[0, code @ 1..=5]) => Packet::ConnAck(Err(match code {
            1 => Refused::Protocol,
            2 => Refused::ClientId,
            3 => Refused::Unavailable,
            4 => Refused::Credentials,
            _ => Refused::Unauthorised,
        })),
        (9, &[high, low, ref codes @ ..]) if !codes.is_empty() => {
            let codes = codes.iter().map(|code| match code {
                0 => Ok(Granted::AtMostOnce),
                1 | 2 => Ok(Granted::AtLeastOnce),
                0x80 => Ok(Granted::Refused),
                _ => Err(Malformed::Shape(kind)),
            });
            let codes = codes.collect::<Result<_, _>>()?;
            Packet::SubAck { id: u16::from_be_bytes([high, low]), codes }
        }
        (13, &[]) => Packet::PingResp,
        _ => return Err(Malformed::Shape(kind)),
    };
    Ok(Some((packet, end)))
}

/// Where the body begins, counted from the packet's first byte, and its length; `rest` begins at
/// the second.
#[inline]
fn body(rest: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (index, byte) in rest.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, length)));
        }
    }
    if rest.len() < LENGTH_BYTES_MAX { Ok(None) } else { Err(Malformed::Length) }
}

#[inline]
fn publish(
    bytes: &[u8],
    flags: u8,
    body: Range<usize>,
    payload_bytes_max: usize,
) -> Result<Option<(Packet, usize)>, Malformed> {
    let qos = flags >> 1 & 3;
    if qos > 1 {
        return Err(Malformed::Qos);
    }
    let id_bytes = usize::from(qos) * 2;
    if body.len() < 2 + id_bytes {
        return Err(Malformed::Shape(3));
    }
    let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let Some(topic_bytes) = number(body.start) else { return Ok(None) };
    let topic = body.start + 2..body.start + 2 + usize::from(topic_bytes);
    // A topic may be anything but nothing: what it means is the mappings' business.
    if topic.is_empty() || topic.end + id_bytes > body.end {
        return Err(Malformed::Shape(3));
    }
    let id = if qos == 0 {
        None
    } else {
        match number(topic.end) {
            Some(0) => return Err(Malformed::Id),
            Some(id) => Some(id),
            None => return Ok(None),
        }
    };
    let start = topic.end + id_bytes;
    let kept = (body.end - start).min(payload_bytes_max);
    let payload = start..start + kept;
    if bytes.len() < payload.end {
        return Ok(None);
    }
    let oversize = payload.end < body.end;
    let publish = Publish { retained: flags & 1 == 1, id, topic, payload, oversize };
    Ok(Some((Packet::Publish(publish), body.end)))
}

/// Who we are: a session that outlasts the connection.
#[derive(Clone, Debug)]
pub(super) struct Connect {
    pub(super) client_id: String,
    pub(super) credentials: Option<(String, String)>,
    pub(super) keep_alive_s: u16,
}

impl Connect {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        // Without "clean session"; the user's name and password where there are any (3.1.2.3).
        let flags = if self.credentials.is_some() { 0xC0 } else { 0 };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags];
        body.extend(self.keep_alive_s.to_be_bytes());
        text(&self.client_id, &mut body);
        if let Some((username, password)) = &self.credentials {
            text(username, &mut body);
            text(password, &mut body);
        }
        packet(CONNECT, &body, out);
    }
}

/// Asks for filters at QoS 1.
pub(super) fn subscribe<'a>(
    id: u16,
    filters: impl IntoIterator<Item = &'a String>,
    out: &mut Vec<u8>,
) {
    let mut body = id.to_be_bytes().to_vec();
    for filter in filters {
        text(filter, &mut body);
        body.push(1);
    }
    packet(SUBSCRIBE, &body, out);
}

#[inline]
pub(super) fn puback(id: u16, out: &mut Vec<u8>) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[PUBACK, 2, high, low]);
}

pub(super) fn ping(out: &mut Vec<u8>) {
    out.extend(PINGREQ);
}

pub(super) fn disconnect(out: &mut Vec<u8>) {
    out.extend(DISCONNECT);
}

fn packet(head: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(head);
    let mut length = body.len();
    loop {
        let more = if length > 0x7F { 0x80 } else { 0 };
        out.push((length & 0x7F) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

/// A text with its length before it. The protocol has no longer one than 65,535 bytes: of such the
/// broker gets the head, and says that it knows nobody of that name.
fn text(text: &str, out: &mut Vec<u8>) {
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.extend((text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: usize = 100;

    /// The bytes of a packet with this head.
    fn bytes(head: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        packet(head, body, &mut out);
        out
    }

    fn published(flags: u8, topic: &[u8], id: u16, payload: &[u8]) -> Vec<u8> {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(topic);
        if flags & 6 != 0 {
            body.extend(id.to_be_bytes());
        }
        body.extend_from_slice(payload);
        bytes(0x30 | flags, &body)
    }

    #[test]
    fn what_a_broker_says_is_understood() {
        let whole = |bytes: &[u8]| match first(bytes, LONG) {
            Ok(Some((packet, length))) if length == bytes.len() => packet,
            other => panic!("{bytes:?}: {other:?}"),
        };
        assert_eq!(whole(&[0x20, 2, 1, 0]), Packet::ConnAck(Ok(true)));
        assert_eq!(whole(&[0x20, 2, 0, 0]), Packet::ConnAck(Ok(false)));
        assert_eq!(whole(&[0x20, 2, 0, 5]), Packet::ConnAck(Err(Refused::Unauthorised)));
        assert_eq!(whole(&[0xD0, 0]), Packet::PingResp);
        let codes = vec![Granted::AtMostOnce, Granted::AtLeastOnce, Granted::Refused];
        assert_eq!(whole(&[0x90, 5, 1, 2, 0, 1, 0x80]), Packet::SubAck { id: 258, codes });
        let message = published(0b0011, b"a/b", 7, b"xyz");
        let wanted =
            Publish { retained: true, id: Some(7), topic: 4..7, payload: 9..12, oversize: false };
        assert_eq!(whole(&message), Packet::Publish(wanted));
        let Packet::Publish(plain) = whole(&published(0, b"a", 7, b"")) else { panic!() };
        assert_eq!((plain.id, plain.payload.len()), (None, 0));
    }

    #[test]
    fn what_no_broker_says_is_told_at_once() {
        for (bytes, wanted) in [
            (vec![0x00], Malformed::Type(0)),
            (vec![0x10], Malformed::Type(1)),
            (vec![0x62, 2, 0, 1], Malformed::Type(6)),
            (vec![0xF0], Malformed::Type(15)),
            (vec![0xD1], Malformed::Shape(13)),
            (vec![0xD0, 1, 0], Malformed::Shape(13)),
            (vec![0x20, 2, 2, 0], Malformed::Shape(2)),
            (vec![0x20, 2, 0, 6], Malformed::Shape(2)),
            (vec![0x90, 2, 0, 1], Malformed::Shape(9)),
            (vec![0x90, 3, 0, 1, 3], Malformed::Shape(9)),
            (vec![0x90, 0xFF, 0xFF, 0x7F], Malformed::Shape(9)),
            (vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF], Malformed::Length),
            (vec![0x30, 1], Malformed::Shape(3)),
            (vec![0x32, 3], Malformed::Shape(3)),
            (vec![0x34, 9], Malformed::Qos),
            (vec![0x36, 9], Malformed::Qos),
            (vec![0x30, 2, 0, 0], Malformed::Shape(3)),
            (vec![0x30, 4, 0, 9], Malformed::Shape(3)),
            (vec![0x32, 5, 0, 2, b'a', b'b', 0], Malformed::Shape(3)),
            (vec![0x32, 5, 0, 1, b'a', 0, 0], Malformed::Id),
        ] {
            assert_eq!(first(&bytes, LONG), Err(wanted), "{bytes:?}");
        }
    }

    #[test]
    fn we_say_what_the_standard_says() {
        let mut out = Vec::new();
        let connect = Connect { client_id: "c".to_owned(), credentials: None, keep_alive_s: 258 };
        connect.encode(&mut out);
        assert_eq!(out, b"\x10\x0d\0\x04MQTT\x04\0\x01\x02\0\x01c");
        out.clear();
        let credentials = Some(("u".to_owned(), "pw".to_owned()));
        Connect { credentials, ..connect }.encode(&mut out);
        assert_eq!(out, b"\x10\x14\0\x04MQTT\x04\xC0\x01\x02\0\x01c\0\x01u\0\x02pw");
        out.clear();
        subscribe(10, &["a/#".to_owned(), "b".to_owned()], &mut out);
        assert_eq!(out, b"\x82\x0c\0\x0a\0\x03a/#\x01\0\x01b\x01");
        out.clear();
        puback(0x1234, &mut out);
        ping(&mut out);
        disconnect(&mut out);
        assert_eq!(out, [0x40, 2, 0x12, 0x34, 0xC0, 0, 0xE0, 0]);
        assert_eq!(bytes(0x30, &[0; 321])[..3], [0x30, 0xC1, 2]);
    }

    proptest! {
        /// However the bytes are torn, the same packets come out of them.
        #[test]
        fn a_message_is_told_once_it_is_there(
            qos in 0u8..2,
            retained: bool,
            topic in "[a-z/]{1,200}",
            id in 1u16..,
            payload in prop::collection::vec(any::<u8>(), 0..3 * LONG),
        ) {
            let flags = qos << 1 | u8::from(retained);
            let all = published(flags, topic.as_bytes(), id, &payload);
            let kept = payload.len().min(LONG);
            let enough = all.len() - (payload.len() - kept);
            for torn in 0..enough {
                prop_assert_eq!(first(&all[..torn], LONG), Ok(None));
            }
            for torn in enough..=all.len() {
                let Ok(Some((Packet::Publish(told), length))) = first(&all[..torn], LONG) else {
                    panic!("{torn}")
                };
                prop_assert_eq!(length, all.len());
                prop_assert_eq!(&all[told.topic], topic.as_bytes());
                prop_assert_eq!(&all[told.payload], &payload[..kept]);
                prop_assert_eq!(told.oversize, kept < payload.len());
                prop_assert_eq!(told.retained, retained);
                prop_assert_eq!(told.id, (qos == 1).then_some(id));
            }
        }

        /// Whatever comes, every place told lies within the bytes, and nothing panics.
        #[test]
        fn no_bytes_are_too_odd(
            head: u8,
            mut tail in prop::collection::vec(any::<u8>(), 0..300),
            short: bool,
        ) {
            if short && let Some(length) = tail.first_mut() {
                *length &= 0x3F;
            }
            tail.insert(0, head);
            if let Ok(Some((packet, length))) = first(&tail, LONG) {
                prop_assert!(length >= 2);
                match packet {
                    Packet::Publish(told) => {
                        prop_assert!(told.topic.end <= told.payload.start);
                        prop_assert!(told.payload.end <= tail.len().min(length));
                        prop_assert_eq!(told.oversize, told.payload.end < length);
                    }
                    _ => prop_assert!(length <= tail.len()),
                }
            }
        }
    }
}
