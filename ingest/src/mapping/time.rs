//! Times as devices write them.

use event::{EventTime, RejectReason};
use jiff::tz::TimeZone;

/// How a time is written.
#[derive(Clone, Debug)]
pub enum TimeFormat {
    /// RFC 3339, with its own offset.
    Rfc3339,
    /// `2018-03-05T13:10:00.000` or with a space, in a zone.
    Local(Zone),
    /// Seconds since 1970, a number or a text, with a fraction or without.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMillis,
    /// Microseconds since 1970.
    EpochMicros,
    /// A `strftime` pattern, in a zone where the pattern has no offset.
    Pattern(String, Zone),
}

/// The zone of local times.
#[derive(Clone, Debug)]
pub enum Zone {
    /// One zone of the bundled database.
    Fixed(TimeZone),
    /// The zone that the configuration gives the event's site.
    OfSite,
}

impl TimeFormat {
    /// Reads a time that was written as text; `site` is the zone of the event's site.
    pub(crate) fn text(
        &self,
        text: &str,
        site: Option<&TimeZone>,
    ) -> Result<EventTime, RejectReason> {
        let bad = RejectReason::InvalidTime;
        match self {
            Self::Rfc3339 => EventTime::parse_rfc3339(text.as_bytes()).ok_or(bad),
            Self::EpochSeconds | Self::EpochMillis | Self::EpochMicros => {
                let scale = self.micros_per_unit().unwrap_or(1);
                decimal(text, scale).map(EventTime).ok_or(bad)
            }
            Self::Local(zone) => {
                let local = EventTime::parse_local(text.as_bytes()).ok_or(bad)?;
                to_utc(local, zone.choose(site).ok_or(bad)?).ok_or(bad)
            }
            Self::Pattern(pattern, zone) => {
                let parsed = jiff::fmt::strtime::parse(pattern, text).map_err(|_| bad)?;
                if let Ok(at) = parsed.to_timestamp() {
                    return Ok(EventTime(at.as_microsecond()));
                }
                let local = parsed.to_datetime().map_err(|_| bad)?;
                let zone = zone.choose(site).ok_or(bad)?;
                let at = zone.to_timestamp(local).map_err(|_| bad)?;
                Ok(EventTime(at.as_microsecond()))
            }
        }
    }

    /// Reads a time that was written as a number.
    pub(crate) fn number(&self, value: f64) -> Result<EventTime, RejectReason> {
        let unit = self.micros_per_unit().ok_or(RejectReason::WrongType)?;
        let micros = (value * unit as f64).round();
        if micros.abs() < 9e18 {
            Ok(EventTime(micros as i64))
        } else {
            Err(RejectReason::InvalidTime)
        }
    }

    /// Reads a whole number without a detour over a float.
    pub(crate) fn integer(&self, value: i64) -> Result<EventTime, RejectReason> {
        let unit = self.micros_per_unit().ok_or(RejectReason::WrongType)?;
        value.checked_mul(unit).map(EventTime).ok_or(RejectReason::InvalidTime)
    }

    /// Of the formats that count since 1970.
    pub(crate) fn micros_per_unit(&self) -> Option<i64> {
        match self {
            Self::EpochSeconds => Some(1_000_000),
            Self::EpochMillis => Some(1_000),
            Self::EpochMicros => Some(1),
            _ => None,
        }
    }
}

impl Zone {
    fn choose<'a>(&'a self, site: Option<&'a TimeZone>) -> Option<&'a TimeZone> {
        match self {
            Self::Fixed(zone) => Some(zone),
            Self::OfSite => site,
        }
    }
}

/// Local wall time to UTC: the earlier of an hour that happens twice, the later of one that does
/// not happen (RFC 5545's rule, jiff's "compatible").
fn to_utc(local: EventTime, zone: &TimeZone) -> Option<EventTime> {
    if *zone == TimeZone::UTC {
        return Some(local);
    }
    let as_utc = jiff::Timestamp::from_microsecond(local.0).ok()?;
    let civil = TimeZone::UTC.to_datetime(as_utc);
    let at = zone.to_timestamp(civil).ok()?;
    Some(EventTime(at.as_microsecond()))
}

/// A decimal text times `scale`, exactly as far as microseconds go.
fn decimal(text: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let whole: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut part = 0_i64;
    let mut unit = scale;
    for digit in fraction.bytes() {
        unit /= 10;
        part += i64::from(digit - b'0') * unit;
    }
    let whole = whole.checked_mul(scale)?;
    if negative { whole.checked_sub(part) } else { whole.checked_add(part) }
}

/// The zone of an IANA name, from the bundled database.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(format: &TimeFormat, text: &str) -> Option<String> {
        format.text(text, None).ok().map(|t| t.to_string())
    }

    #[test]
    fn every_format_reads_its_own() {
        let oslo = Zone::Fixed(zone("Europe/Oslo").unwrap_or_else(|| panic!("no Oslo")));
        let local = TimeFormat::Local(oslo.clone());
        // Summer time, winter time, the hour that happens twice (the first), the one that does not.
        for (text, utc) in [
            ("2026-07-01 12:00:00", "2026-07-01T10:00:00.000Z"),
            ("2026-01-01T12:00:00.5", "2026-01-01T11:00:00.500Z"),
            ("2026-10-25 02:30:00", "2026-10-25T00:30:00.000Z"),
            ("2026-03-29 02:30:00", "2026-03-29T01:30:00.000Z"),
        ] {
            assert_eq!(at(&local, text).as_deref(), Some(utc), "{text}");
        }
        let pattern = TimeFormat::Pattern("%d/%m/%Y %H:%M:%S".into(), oslo);
        assert_eq!(
            at(&pattern, "01/07/2026 12:00:00").as_deref(),
            Some("2026-07-01T10:00:00.000Z")
        );
        let seconds = TimeFormat::EpochSeconds;
        assert_eq!(
            at(&seconds, "1607123961.837752").as_deref(),
            Some("2020-12-04T23:19:21.837752Z")
        );
        assert_eq!(at(&seconds, "-0.5").as_deref(), Some("1969-12-31T23:59:59.500Z"));
        assert_eq!(
            TimeFormat::EpochMillis.integer(1_590_045_190_230),
            Ok(EventTime(1_590_045_190_230_000))
        );
        for bad in ["", "x", "1.x", "99999999999999999999"] {
            assert_eq!(at(&seconds, bad), None, "{bad}");
        }
        assert_eq!(TimeFormat::Rfc3339.integer(5), Err(RejectReason::WrongType));
    }
}
