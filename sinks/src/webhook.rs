//! The webhook: each notification is one POST of JSON.
//!
//! `Idempotency-Key` carries the notification's id: a receiver that remembers it turns "at least
//! once" into "once" (draft-ietf-httpapi-idempotency-key-header).

use std::fmt;
use std::time::Duration;

use event::EventTime;
use ureq::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use crate::limits;
use crate::settings::{SinkError, SinkSettings};
use crate::sink::{Disposition, Notification, Sink};

/// Bytes of an answer that are read, so that the connection can be used again.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The URL of a receiver. Tokens hide in paths, queries and user names: it prints as its origin.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    /// An absolute `http` or `https` URL; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        (web && uri.host().is_some_and(|host| !host.is_empty())).then_some(Self(uri))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.0.scheme_str().unwrap_or("?"), self.0.host().unwrap_or("?"));
        write!(f, "{scheme}://{host}")?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/…")
    }
}

/// Posts notifications to one URL.
pub struct Webhook {
    name: String,
    url: Endpoint,
    authorization: Option<HeaderValue>,
    attempts_max: u32,
    agent: ureq::Agent,
}

impl Webhook {
    pub(crate) fn new(
        settings: &SinkSettings,
        url: Endpoint,
        token_env: Option<&str>,
    ) -> Result<Self, SinkError> {
        let name = settings.id.clone();
        let authorization = token_env.map(|variable| authorization(&name, variable)).transpose()?;
        // Statuses are ours to judge; a redirect of a POST would lose its body. The environment's
        // proxy is not asked: what the configuration does not say does not happen.
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent("portcullis")
            .build()
            .new_agent();
        Ok(Self { name, url, authorization, attempts_max: settings.attempts_max, agent })
    }
}

fn authorization(sink: &str, variable: &str) -> Result<HeaderValue, SinkError> {
    let (sink, variable) = (sink.to_owned(), variable.to_owned());
    let Some(token) = std::env::var_os(&variable).filter(|token| !token.is_empty()) else {
        return Err(SinkError::TokenUnset { sink, variable });
    };
    let value = token.to_str().and_then(|t| HeaderValue::from_str(&format!("Bearer {t}")).ok());
    let mut value = value.ok_or(SinkError::TokenUnfit { sink, variable })?;
    value.set_sensitive(true);
    Ok(value)
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, notification: &Notification) -> Result<(), Disposition> {
        let mut request = self
            .agent
            .post(&self.url.0)
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", &notification.id);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let mut answer = request
            .send(&notification.body)
            .map_err(|error| Disposition::Retry(format!("{}: {}", self.url, plain(&error))))?;
        let result = judge(&self.url, answer.status(), answer.headers());
        // The status has said it all: a body that breaks off changes nothing.
        drop(answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec());
        result
    }

    fn attempts_max(&self) -> u32 {
        self.attempts_max
    }
}

/// RFC 9110, parts 10.2.3 and 15.
fn judge(url: &Endpoint, status: StatusCode, headers: &HeaderMap) -> Result<(), Disposition> {
    if status.is_success() {
        return Ok(());
    }
    let said = format!("{url} answered {}", status.as_u16());
    let passing = matches!(status.as_u16(), 408 | 429) || status.is_server_error();
    Err(match (passing, retry_after(headers)) {
        (true, Some(wait)) => Disposition::RetryAfter(said, wait.min(limits::RETRY_AFTER_MAX)),
        (true, None) => Disposition::Retry(said),
        (false, _) if status.is_redirection() => {
            Disposition::Reject(format!("{said}: configure the URL that it redirects to"))
        }
        (false, _) => Disposition::Reject(said),
    })
}

/// Seconds, or a date; a date counts from the answer's own `Date`, whose clock it was made by.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let after = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = http_date(after)?.since(http_date(text(header::DATE)?)?);
    Some(Duration::from_micros(u64::try_from(wait.0).unwrap_or(0)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, part 5.6.7, the one form that may be sent).
fn http_date(text: &str) -> Option<EventTime> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
    let local = format!("{year}-{month:02}-{day}T{time}");
    (words.next() == Some("GMT")).then(|| EventTime::parse_local(local.as_bytes()))?
}

/// The fault without the URL, which `ureq` puts into some of its texts.
fn plain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer within the time-out".to_owned(),
        ureq::Error::HostNotFound => "the host's name is unknown".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        ureq::Error::Tls(error) => format!("TLS: {error}"),
        ureq::Error::Protocol(_) => "the answer is not HTTP".to_owned(),
        _ => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_judged() {
        let url = Endpoint::parse("https://user:pw@soc.example:8443/t0ken?k=s3cret").expect("url");
        let judged = |status, after: &str| {
            let mut headers = HeaderMap::new();
            if !after.is_empty() {
                headers.insert(header::RETRY_AFTER, after.parse().expect("header"));
                let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
                headers.insert(header::DATE, date);
            }
            judge(&url, StatusCode::from_u16(status).expect("status"), &headers)
        };
        assert_eq!(judged(204, ""), Ok(()));
        let said = |s: u16| format!("https://soc.example:8443 answered {s}");
        for status in [408, 429, 500, 503] {
            assert_eq!(judged(status, ""), Err(Disposition::Retry(said(status))));
        }
        for status in [400, 401, 404, 422] {
            assert_eq!(judged(status, "5"), Err(Disposition::Reject(said(status))));
        }
        assert!(matches!(judged(307, ""), Err(Disposition::Reject(r)) if r.contains("redirects")));
        for (after, seconds) in
            [("7", 7), ("Sun, 06 Nov 1994 08:50:07 GMT", 30), ("999999", 3_600), ("0", 0)]
        {
            let wait = Duration::from_secs(seconds);
            assert_eq!(
                judged(503, after),
                Err(Disposition::RetryAfter(said(503), wait)),
                "{after}"
            );
        }
        assert_eq!(judged(503, "soon"), Err(Disposition::Retry(said(503))));
    }

    #[test]
    fn only_web_servers_are_endpoints() {
        for bad in ["", "soc.example", "ftp://soc.example", "/path", "http://", "https:///x"] {
            assert!(Endpoint::parse(bad).is_none(), "{bad}");
        }
    }
}
