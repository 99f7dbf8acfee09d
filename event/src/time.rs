//! Event time and spans, in microseconds, and their text forms.

use std::fmt;

/// A point in event time: microseconds since 1970-01-01T00:00:00Z, no leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

/// A signed length of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpan(pub i64);

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

impl EventTime {
    /// Before every event.
    pub const MIN: Self = Self(i64::MIN);
    /// After every event and deadline: where the end of all input moves the watermark.
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Later by `span`, saturating at [`Self::MIN`] and [`Self::MAX`].
    #[must_use]
    #[inline]
    pub const fn plus(self, span: TimeSpan) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Earlier by `span`, saturating.
    #[must_use]
    #[inline]
    pub const fn minus(self, span: TimeSpan) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The span from `earlier` to here, saturating.
    #[must_use]
    #[inline]
    pub const fn since(self, earlier: Self) -> TimeSpan {
        TimeSpan(self.0.saturating_sub(earlier.0))
    }

    /// Parses RFC 3339 (`2026-11-23T22:04:05.123456Z`, offset `±hh:mm`; `T` may be a space).
    /// Digits past the microsecond are cut. `None` where the text is not RFC 3339; a leap second
    /// (`:60`) counts as the second after it.
    #[must_use]
    pub fn parse_rfc3339(text: &[u8]) -> Option<Self> {
        let (local, rest) = parse_local(text)?;
        Some(Self(local - offset(rest)?))
    }

    /// Parses a date and time without a zone, as if it were UTC. `None` where anything follows.
    #[must_use]
    pub fn parse_local(text: &[u8]) -> Option<Self> {
        match parse_local(text)? {
            (local, []) => Some(Self(local)),
            _ => None,
        }
    }
}

/// Reads what [`EventTime::parse_rfc3339`] reads, and keeps the last date, minute and offset: events come
/// nearly in the order of time, so they are mostly those of the event before.
#[derive(Clone, Copy, Debug)]
pub struct TimeReader {
    /// `2023-11-14T22:13`, and when that was.
    minute: [u8; 16],
    minute_micros: i64,
    date: [u8; 10],
    midnight: i64,
    offset: [u8; 6],
    offset_micros: i64,
}

impl Default for TimeReader {
    fn default() -> Self {
        let (minute, date, offset) = (*b"1970-01-01T00:00", *b"1970-01-01", *b"+00:00");
        Self { minute, minute_micros: 0, date, midnight: 0, offset, offset_micros: 0 }
    }
}

impl TimeReader {
    /// As [`EventTime::parse_rfc3339`].
    #[must_use]
    #[inline(always)]
    pub fn parse_rfc3339(&mut self, text: &[u8]) -> Option<EventTime> {
        if let Ok(millis) = text.try_into()
            && let Some(at) = self.of_the_same_minute(millis)
        {
            return Some(at);
        }
        self.other(text)
    }

    /// `2023-11-14T22:13:20.123Z`, as most say it.
    #[inline(always)]
    fn of_the_same_minute(&self, text: &[u8; 24]) -> Option<EventTime> {
        let (head, rest) = text.split_first_chunk::<16>()?;
        // Of `:20.123Z` the digits are left.
        let rest = u64::from_le_bytes(*rest.first_chunk()?) ^ u64::from_le_bytes(*b":00.000Z");
        let wrong = rest & 0xFFF0_F0F0_FFF0_F0FF
            | rest.wrapping_add(0x0076_7676_0076_7600) & 0x0080_8080_0080_8000;
        let digit = |at: u32| (rest >> (8 * at) & 0xF) as i64;
        let seconds = digit(1) * 10 + digit(2);
        if *head != self.minute || wrong != 0 || seconds > 59 {
            return None;
        }
        let millis = seconds * 1_000 + digit(4) * 100 + digit(5) * 10 + digit(6);
        Some(EventTime(self.minute_micros + millis * 1_000))
    }

    #[inline(never)]
    fn other(&mut self, text: &[u8]) -> Option<EventTime> {
        let at = self.of_the_same_day(text).or_else(|| self.learn(text))?;
        if let Ok(text) = <&[u8; 24]>::try_from(text)
            && let (b'T', b'Z', Some(minute)) = (text[10], text[23], text.first_chunk())
            && text[17] < b'6'
        {
            self.minute = *minute;
            self.minute_micros = at.0 - at.0.rem_euclid(60 * MICROS_PER_SECOND);
        }
        Some(at)
    }

    /// `None` sends the text to [`Self::learn`], which decides.
    #[inline]
    fn of_the_same_day(&self, text: &[u8]) -> Option<EventTime> {
        let (date, rest) = text.split_first_chunk::<10>()?;
        let (clock, rest) = rest.strip_prefix(b"T")?.split_first_chunk::<8>()?;
        if *date != self.date {
            return None;
        }
        let micros = self.midnight + clock_micros(u64::from_le_bytes(*clock))?;
        self.fraction(micros, rest)
    }

    /// Behind the seconds.
    #[inline(never)]
    fn fraction(&self, mut micros: i64, mut rest: &[u8]) -> Option<EventTime> {
        if let [b'.', fraction @ ..] = rest {
            let mut unit = MICROS_PER_SECOND;
            let mut len = 0;
            while let Some(digit @ b'0'..=b'9') = fraction.get(len) {
                unit /= 10;
                micros += i64::from(digit - b'0') * unit;
                len += 1;
            }
            if len == 0 {
                return None;
            }
            rest = &fraction[len..];
        }
        match rest {
            [b'Z'] => Some(EventTime(micros)),
            _ if *rest == self.offset => Some(EventTime(micros - self.offset_micros)),
            _ => None,
        }
    }

    #[inline(never)]
    fn learn(&mut self, text: &[u8]) -> Option<EventTime> {
        let (local, rest) = parse_local(text)?;
        let offset_micros = offset(rest)?;
        if let Ok(offset) = rest.try_into() {
            (self.offset, self.offset_micros) = (offset, offset_micros);
        }
        let date = text.first_chunk::<10>()?;
        let (y, mo, d) = (digits(&date[0..4])?, digits(&date[5..7])?, digits(&date[8..10])?);
        self.midnight = days_from_civil(y, mo, d) * SECONDS_PER_DAY * MICROS_PER_SECOND;
        self.date = *date;
        Some(EventTime(local - offset_micros))
    }
}

/// Microseconds of `hh:mm:ss`, all at once: what is left of a digit is its value, of a colon nothing.
#[inline(always)]
fn clock_micros(text: u64) -> Option<i64> {
    let clock = text ^ 0x3030_3A30_303A_3030;
    let wrong = (clock.wrapping_add(0x7676_7F76_767F_7676) | clock) & 0x8080_8080_8080_8080;
    let two =
        |at: u32| (clock >> (8 * at) & 0xFF) as i64 * 10 + (clock >> (8 * at + 8) & 0xFF) as i64;
    let (h, m, s) = (two(0), two(3), two(6));
    let right = wrong == 0 && h <= 23 && m <= 59 && s <= 59;
    right.then_some((h * 3_600 + m * 60 + s) * MICROS_PER_SECOND)
}

/// Microseconds that an offset (`Z`, `+02:00`) is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (h, m) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let seconds = (h * 3_600 + m * 60) * if *sign == b'-' { -1 } else { 1 };
            (h <= 23 && m <= 59).then_some(seconds * MICROS_PER_SECOND)
        }
        _ => None,
    }
}

/// Date and time of day in microseconds as if UTC, and the bytes behind them.
fn parse_local(text: &[u8]) -> Option<(i64, &[u8])> {
    if text.len() < 19 {
        return None;
    }
    let (y, mo, d) = (digits(&text[0..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    let (h, mi, s) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    let separators = text[4] == b'-'
        && text[7] == b'-'
        && matches!(text[10], b'T' | b't' | b' ')
        && text[13] == b':'
        && text[16] == b':';
    if !separators || h > 23 || mi > 59 || s > 60 || !(1..=12).contains(&mo) {
        return None;
    }
    if d < 1 || d > days_in_month(y, mo) {
        return None;
    }
    let mut rest = &text[19..];
    let mut micros = 0;
    if let [b'.' | b',', fraction @ ..] = rest {
        let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return None;
        }
        for place in 0..6 {
            micros = micros * 10 + fraction[..len].get(place).map_or(0, |b| i64::from(b - b'0'));
        }
        rest = &fraction[len..];
    }
    let seconds = days_from_civil(y, mo, d) * SECONDS_PER_DAY + h * 3_600 + mi * 60 + s;
    Some((seconds * MICROS_PER_SECOND + micros, rest))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day number: the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// RFC 3339 in UTC, with milliseconds, or microseconds where there are any.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let micros = self.0.rem_euclid(MICROS_PER_SECOND);
        let (y, mo, d) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let s = seconds.rem_euclid(SECONDS_PER_DAY);
        write!(f, "{y:04}-{mo:02}-{d:02}T{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)?;
        if micros % 1_000 == 0 {
            write!(f, ".{:03}Z", micros / 1_000)
        } else {
            write!(f, ".{micros:06}Z")
        }
    }
}

impl serde::Serialize for EventTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for EventTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse_rfc3339(text.as_bytes())
            .ok_or_else(|| serde::de::Error::custom(format!("not an RFC 3339 time: {text}")))
    }
}

const UNITS: [(&str, i64); 6] = [
    ("d", 86_400 * MICROS_PER_SECOND),
    ("h", 3_600 * MICROS_PER_SECOND),
    ("m", 60 * MICROS_PER_SECOND),
    ("s", MICROS_PER_SECOND),
    ("ms", 1_000),
    ("us", 1),
];

impl TimeSpan {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// Longer than anything that is kept.
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// From seconds.
    #[must_use]
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(MICROS_PER_SECOND))
    }

    /// The same length, the other way in time.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// Parses `30s`, `400ms`, `90d`, `1h30m`, `-10s`, `1.5s`: CEL's duration text, and days.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, text),
        };
        if rest.is_empty() {
            return None;
        }
        if rest == "0" {
            return Some(Self::ZERO);
        }
        let mut total = 0.0_f64;
        while !rest.is_empty() {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (value, tail) = rest.split_at(number);
            let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (name, tail) = tail.split_at(unit);
            let micros = UNITS.iter().find(|(n, _)| *n == name)?.1;
            total += value.parse::<f64>().ok()? * micros as f64;
            rest = tail;
        }
        (total < 9e18).then_some(Self((sign * total).round() as i64))
    }
}

/// The shortest exact form: `1h30m`, `400ms`, `0s`.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut left = self.0.saturating_abs();
        for (name, micros) in UNITS {
            if left >= micros {
                write!(f, "{}{name}", left / micros)?;
                left %= micros;
            }
        }
        Ok(())
    }
}

impl serde::Serialize for TimeSpan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TimeSpan {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is no span of time: write 30s, 8h, 90d"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_forms_agree() {
        let at = |s: &str| EventTime::parse_rfc3339(s.as_bytes());
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(EventTime(0)));
        assert_eq!(at("2023-11-14T22:13:20Z"), Some(EventTime(1_700_000_000_000_000)));
        assert_eq!(at("2023-11-15T00:13:20.5+02:00"), Some(EventTime(1_700_000_000_500_000)));
        assert_eq!(at("2023-11-14 22:13:20.1234567Z"), Some(EventTime(1_700_000_000_123_456)));
        for bad in ["2023-02-29T00:00:00Z", "2023-13-01T00:00:00Z", "2023-01-01T00:00:00", "x", ""]
        {
            assert_eq!(at(bad), None, "{bad}");
        }
        assert_eq!(
            at("2024-02-29T00:00:00Z").map(|t| t.to_string()).as_deref(),
            Some("2024-02-29T00:00:00.000Z")
        );
    }

    /// Every single byte of two forms replaced by what stands near it in the grammar, over days and
    /// offsets in turn: the reader says what the parser says.
    #[test]
    fn the_reader_is_the_parser() {
        let mut reader = TimeReader::default();
        let mut read = 0;
        let forms = [
            "2023-11-14T22:13:20.123456Z",
            "2023-11-14T22:13:20.1+02:00",
            "2023-11-15T00:59:59-11:30",
            "2024-02-29T23:59:60Z",
            "2024-02-29T23:59:59.99999999999999999999999999Z",
            "2023-11-14T22:13:59.123Z",
            "1969-12-31T23:59:00.999Z",
            "2023-11-14T22:13:60.000Z",
        ];
        for form in forms {
            for at in 0..form.len() {
                for byte in "0123456789.:-+TtZz ,/;\u{7f}".bytes().chain([0x80, 0x8a, 0xff, b'x']) {
                    for text in [form, forms[at % forms.len()]] {
                        let mut bytes = text.as_bytes().to_vec();
                        assert_eq!(reader.parse_rfc3339(&bytes), EventTime::parse_rfc3339(&bytes));
                        let place = at % bytes.len();
                        bytes[place] = byte;
                        let wanted = EventTime::parse_rfc3339(&bytes);
                        assert_eq!(reader.parse_rfc3339(&bytes), wanted, "{bytes:?}");
                        read += usize::from(wanted.is_some());
                        bytes.truncate(place);
                        let wanted = EventTime::parse_rfc3339(&bytes);
                        assert_eq!(reader.parse_rfc3339(&bytes), wanted, "{bytes:?}");
                    }
                }
            }
        }
        assert!(read > 100, "{read}");
    }

    #[test]
    fn every_day_of_nine_centuries_round_trips() {
        for day in -150_000..180_000 {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }

    #[test]
    fn spans_parse_and_print() {
        for text in ["30s", "400ms", "1h30m", "90d", "-10s", "1us", "0s"] {
            assert_eq!(TimeSpan::parse(text).map(|s| s.to_string()).as_deref(), Some(text));
        }
        assert_eq!(TimeSpan::parse("1.5s"), Some(TimeSpan::from_millis(1_500)));
        for bad in ["", "s", "10", "10x", "1m 2s", "--1s"] {
            assert_eq!(TimeSpan::parse(bad), None, "{bad}");
        }
    }
}
