//! How the identity of a payload is put together: feed, device and id stand in places that the layout knows, so that the
//! words which are hashed are woven out of the payload and never written down.

use event::identity::{HashLength, ShortParts};
use event::{EventTime, Identity, ROOM};

use super::Spot;
use crate::decode::sixteen::Sixteen;
use crate::decode::wide::{Vectors, Woven};

#[derive(Clone, Copy, Debug)]
pub(super) struct Identified {
    /// The first words and the last, then those next to them: of device, id, what of the id is behind sixteen bytes, time.
    outer: Woven,
    inner: Woven,
    length: HashLength,
    /// Whether it is of the first words and the last, of a device and a short id.
    is_short: bool,
    with_time: bool,
    feed: [u8; ShortParts::PART_MAX],
    feed_len: usize,
    device: Spot,
    id: Spot,
}

impl Identified {
    pub const NONE: Self = Self {
        outer: Woven::NONE,
        inner: Woven::NONE,
        length: HashLength::of(0),
        is_short: false,
        with_time: false,
        feed: [0; ShortParts::PART_MAX],
        feed_len: 0,
        device: Spot::NONE,
        id: Spot::NONE,
    };

    /// Of a device of at most sixteen bytes, and an id of at most [`ShortParts::PART_MAX`].
    pub fn of(
        (feed, feed_len): ([u8; ShortParts::PART_MAX], usize),
        device: Spot,
        id: Spot,
        with_time: bool,
    ) -> Self {
        // All bytes that are hashed: of which strand, and which of it, or behind the strands the byte itself.
        let mut all = [(Woven::STRANDS, 0); 3 * (4 + ShortParts::PART_MAX) + 8];
        let mut len = 0;
        let mut add = |strand: usize, bytes: &[u8]| {
            for (to, byte) in all[len..].iter_mut().zip(bytes) {
                *to = (strand, *byte);
            }
            len += bytes.len();
        };
        let places: [u8; ShortParts::PART_MAX] = std::array::from_fn(|at| at as u8 % 16);
        let places = |part: Spot| &places[..part.len as usize];
        add(Woven::STRANDS, &(feed_len as u32).to_le_bytes());
        add(Woven::STRANDS, &feed[..feed_len]);
        add(Woven::STRANDS, &device.len.to_le_bytes());
        add(0, places(device));
        add(Woven::STRANDS, &id.len.to_le_bytes());
        let (first, more) = places(id).split_at(id.len.min(16) as usize);
        add(1, first);
        add(2, more);
        if with_time {
            add(3, &[0, 1, 2, 3, 4, 5, 6, 7]);
        }
        let woven = |first: usize| {
            let mut woven = Woven::NONE;
            let last = len.wrapping_sub(first + 16);
            for at in 0..32 {
                let from = if at < 16 { first + at } else { last.wrapping_add(at - 16) };
                let Some((strand, byte)) = all[..len].get(from) else { continue };
                match woven.strands.get_mut(*strand) {
                    Some(places) => places[at] = *byte,
                    None => woven.always[at] = *byte,
                }
            }
            woven
        };
        let length = HashLength::of(len);
        let is_short = length.is_of_four() && id.len <= 16 && !with_time;
        let (outer, inner) = (woven(0), woven(16));
        Self { outer, inner, length, is_short, with_time, feed, feed_len, device, id }
    }

    /// The identity of a payload.
    #[inline(always)]
    pub fn read<V: Vectors>(
        &self,
        vectors: V,
        bytes: &[u8; ROOM],
        at: EventTime,
        parts: &ShortParts,
    ) -> Identity {
        let device = Sixteen::within(bytes, self.device.from);
        let id = Sixteen::within(bytes, self.id.from);
        if self.is_short {
            let outer = vectors.weave([device, id], &self.outer);
            return parts.identity_of(&self.length, outer, None);
        }
        if !self.length.is_of_words() {
            return self.read_long(bytes, at);
        }
        let more = Sixteen::within(bytes, self.id.from + 16);
        let time = Sixteen::of(u128::from(at.0 as u64).to_le_bytes());
        let strands = [device, id, more, time];
        let (outer, inner) =
            (vectors.weave(strands, &self.outer), vectors.weave(strands, &self.inner));
        parts.identity_of(&self.length, outer, (!self.length.is_of_four()).then_some(inner))
    }

    #[cold]
    #[inline(never)]
    fn read_long(&self, bytes: &[u8; ROOM], at: EventTime) -> Identity {
        let part = |Spot { from, len }| {
            bytes.get(from as usize..(from + len) as usize).unwrap_or_default()
        };
        let feed = &self.feed[..self.feed_len.min(ShortParts::PART_MAX)];
        Identity::new(feed, part(self.device), part(self.id), self.with_time.then_some(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::wide::{Task, perform};

    struct Read<'a>(&'a Identified, &'a [u8; ROOM], EventTime);

    impl Task for Read<'_> {
        type Done = Identity;

        #[inline(always)]
        fn run<V: Vectors>(self, vectors: V) -> Identity {
            self.0.read(vectors, self.1, self.2, &ShortParts::default())
        }
    }

    #[test]
    fn identities_are_those_of_their_parts() {
        let bytes = std::array::from_fn(|at| at as u8 ^ (at >> 8) as u8);
        let at = EventTime(1_700_000_000_123_456);
        for (feed_len, device_len) in (0..=32).flat_map(|f| (1..=15).map(move |d| (f, d))) {
            for (id_len, with_time) in (1..=32).flat_map(|id| [(id, false), (id, true)]) {
                let feed = std::array::from_fn(|at| b'a' + at as u8);
                let device = Spot { from: 3 * feed_len, len: device_len };
                let id = Spot { from: 300 - 7 * id_len, len: id_len };
                let part = |spot: Spot| &bytes[spot.from as usize..][..spot.len as usize];
                let known = feed[..feed_len as usize].to_vec();
                let wanted = Identity::new(&known, part(device), part(id), with_time.then_some(at));
                let made = Identified::of((feed, feed_len as usize), device, id, with_time);
                assert_eq!(
                    perform(Read(&made, &bytes, at)),
                    wanted,
                    "{feed_len} {device:?} {id:?}"
                );
            }
        }
    }
}
