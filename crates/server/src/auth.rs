//! Lets in who holds a key.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, header};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    app::App,
    error::{ApiError, HttpError},
    health, web,
};

/// Digests of the keys. Comparing digests takes the same time however much of a key is right, and
/// whichever key it is.
#[derive(Debug)]
pub(crate) struct Keys {
    digests: Vec<[u8; blake3::OUT_LEN]>,
}

impl Keys {
    pub(crate) fn new(keys: &[String]) -> Self {
        Self { digests: keys.iter().map(|key| digest(key.as_bytes())).collect() }
    }

    fn contain(&self, key: &[u8]) -> bool {
        let given = digest(key);
        let found = self.digests.iter().map(|known| known.ct_eq(&given));
        found.fold(Choice::from(0), |any, one| any | one).into()
    }

    /// Whether a request with these headers may pass.
    fn check(&self, headers: &HeaderMap) -> Result<(), HttpError> {
        if self.digests.is_empty() {
            return Ok(());
        }
        let bearer = single(headers, header::AUTHORIZATION.as_str())?;
        let bearer = bearer.map(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let plain = single(headers, "x-api-key")?.map(HeaderValue::as_bytes);
        let key = match (bearer, plain) {
            (Some(Some(bearer)), Some(plain)) if bearer != plain => {
                return Err(HttpError::KeysDisagree);
            }
            (Some(None), Some(_)) => return Err(HttpError::KeysDisagree),
            (Some(bearer), None) => bearer,
            (_, plain) => plain,
        };
        match key {
            Some(key) if self.contain(key) => Ok(()),
            _ => Err(HttpError::Unauthorized),
        }
    }
}

fn digest(key: &[u8]) -> [u8; blake3::OUT_LEN] {
    *blake3::hash(key).as_bytes()
}

/// The only value of a header; several are as good as none.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, HttpError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(HttpError::Unauthorized),
    }
}

/// Stops requests without a key, except for health checks and the web page, which hold no secrets.
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let path = request.uri().path();
    if !health::OPEN_PATHS.contains(&path) && !web::is_asset(path) {
        app.keys.check(request.headers())?;
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &str)], expected: &str) {
        let keys = Keys::new(&["sk-Alpha".into(), "sk-beta".into()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let got = match keys.check(&map) {
            Ok(()) => "in",
            Err(HttpError::Unauthorized) => "401",
            Err(HttpError::KeysDisagree) => "400",
            Err(_) => "other",
        };
        assert_eq!(got, expected, "{headers:?}");
    }

    #[test]
    fn only_the_exact_key_opens() {
        check(&[("authorization", "Bearer sk-Alpha")], "in");
        check(&[("authorization", "Bearer sk-beta")], "in");
        check(&[("x-api-key", "sk-beta")], "in");
        check(&[("authorization", "Bearer sk-beta"), ("x-api-key", "sk-beta")], "in");
        let long = format!("Bearer {}", "k".repeat(10_000));
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  sk-beta",
            "bearer sk-beta",
            "Bearer sk-bet",
            "Bearer sk-beta2",
            "Bearer sk-BETA",
            "Bearer sk-beta ",
            "sk-beta",
            "Basic sk-beta",
            "Bearer ' OR 1=1--",
            &long,
        ] {
            check(&[("authorization", value)], "401");
        }
        check(&[], "401");
        check(&[("x-api-key", "")], "401");
        check(&[("authorization", "Bearer sk-beta"), ("authorization", "Bearer sk-beta")], "401");
        check(&[("authorization", "Bearer sk-beta"), ("x-api-key", "sk-Alpha")], "400");
        check(&[("authorization", "Basic sk-beta"), ("x-api-key", "sk-beta")], "400");
    }
}
