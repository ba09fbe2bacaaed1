//! What a client lets the response cache do for its request: one grammar for the header and the body.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    error::{RequestError, clip},
    fields::Fields,
};

/// The request header; its value and the body field `cache_control` have the same grammar.
pub const CACHE_CONTROL_HEADER: &str = "x-brisk-cache-control";
/// The body field.
pub const CACHE_CONTROL_FIELD: &str = "cache_control";

const EXPECTED: &str = "directives separated by commas, each at most once: `no-cache`, `no-store`, \
                        `bypass`, `exact`, `max-age=SECONDS`, `ttl=SECONDS`";

/// The directives of a request; the default restricts nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `no-cache`: no kept reply answers; the new one may be kept.
    pub no_cache: bool,
    /// `no-store`: the reply is not kept; a kept one may answer.
    pub no_store: bool,
    /// `bypass`: neither.
    pub bypass: bool,
    /// `exact`: only a reply to this very text, not to another spelling of it.
    pub exact: bool,
    /// `max-age=N`: the oldest kept reply that may answer.
    pub max_age: Option<Duration>,
    /// `ttl=N`: how long the reply may be kept.
    pub ttl: Option<Duration>,
}

impl CacheControl {
    /// Reads directives. `name` is the header or field that they stand in, for the error.
    ///
    /// # Errors
    ///
    /// An unknown directive, one that is given twice, a number that is none, or no directive at all.
    pub fn read(name: &str, text: &str) -> Result<Self, RequestError> {
        let mut all = Self::default();
        for directive in text.split(',').map(str::trim) {
            if !all.take(directive) {
                return Err(RequestError::OutOfRange {
                    param: name.to_owned(),
                    value: format!("`{}`", clip(text)),
                    expected: EXPECTED.into(),
                });
            }
        }
        Ok(all)
    }

    /// Adds a directive; false if it is none, or there already.
    fn take(&mut self, directive: &str) -> bool {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (directive, None),
        };
        let flag = match name.to_ascii_lowercase().as_str() {
            "max-age" => return put(&mut self.max_age, value.and_then(|it| seconds(it, 0))),
            // A reply that may not be kept at all is `no-store`.
            "ttl" => return put(&mut self.ttl, value.and_then(|it| seconds(it, 1))),
            "no-cache" => &mut self.no_cache,
            "no-store" => &mut self.no_store,
            "bypass" => &mut self.bypass,
            "exact" => &mut self.exact,
            _ => return false,
        };
        value.is_none() && !std::mem::replace(flag, true)
    }
}

impl fmt::Display for CacheControl {
    /// The directives in the grammar that [`CacheControl::read`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.no_cache, "no-cache"),
            (self.no_store, "no-store"),
            (self.bypass, "bypass"),
            (self.exact, "exact"),
        ];
        let flags =
            flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned());
        let times = [("max-age", self.max_age), ("ttl", self.ttl)].into_iter();
        let times = times.filter_map(|(name, time)| Some(format!("{name}={}", time?.as_secs())));
        f.write_str(&flags.chain(times).collect::<Vec<_>>().join(", "))
    }
}

impl Serialize for CacheControl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes the body field.
pub(crate) fn take_cache_control(
    fields: &mut Fields,
) -> Result<Option<CacheControl>, RequestError> {
    let text = fields.string(CACHE_CONTROL_FIELD)?;
    text.map(|text| CacheControl::read(CACHE_CONTROL_FIELD, &text)).transpose()
}

fn put(place: &mut Option<Duration>, value: Option<Duration>) -> bool {
    value.is_some() && place.replace(value.unwrap_or_default()).is_none()
}

/// Plain digits, as in HTTP's own `Cache-Control`.
fn seconds(text: &str, min: u32) -> Option<Duration> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u32 = is_plain.then(|| text.parse().ok()).flatten()?;
    (seconds >= min).then(|| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: CacheControl) {
        assert_eq!(CacheControl::read("x", text), Ok(expected), "{text}");
        assert_eq!(CacheControl::read("x", &expected.to_string()), Ok(expected), "{text}");
    }

    #[test]
    fn directives_are_read() {
        let none = CacheControl::default();
        check("no-cache", CacheControl { no_cache: true, ..none });
        check(" No-Store ,EXACT", CacheControl { no_store: true, exact: true, ..none });
        check("bypass", CacheControl { bypass: true, ..none });
        check("max-age=0", CacheControl { max_age: Some(Duration::ZERO), ..none });
        let (max_age, ttl) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(4294967295)));
        check("max-age=60, ttl=4294967295", CacheControl { max_age, ttl, ..none });
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            ",",
            "no-cache,",
            "no cache",
            "nocache",
            "no-cache=1",
            "exact=true",
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=+1",
            "max-age=1.5",
            "max-age=\"1\"",
            "max-age = 1",
            "max-age=4294967296",
            "ttl=0",
            "ttl=soon",
            "ttl=1, ttl=2",
            "bypass, bypass",
            "no-cache; exact",
            "private",
            "similarity=0.1",
            "no-cache\u{0}",
            "ключ",
        ] {
            let error = CacheControl::read("the_name", text).unwrap_err();
            assert_eq!(error.param(), Some("the_name"), "{text}");
        }
        let long = CacheControl::read("x", &"a".repeat(1 << 20)).unwrap_err().to_string();
        assert!(long.len() < 600, "{long}");
    }
}
