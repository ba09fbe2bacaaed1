//! Lets in who holds a key.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use brisk_gateway::Tenant;
use http::{HeaderMap, HeaderValue, header};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    app::App,
    error::{ApiError, HttpError},
    health,
    observe::Record,
    web,
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

    /// Whose request it is that has these headers, if it may pass.
    fn check(&self, headers: &HeaderMap) -> Result<Tenant, HttpError> {
        if self.digests.is_empty() {
            return Ok(Tenant::LOCAL);
        }
        let bearer = single(headers, header::AUTHORIZATION.as_str())?;
        let bearer = bearer.map(|value| bearer_key(value.as_bytes()));
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
            Some(key) if self.contain(key) => Ok(tenant(key)),
            _ => Err(HttpError::Unauthorized),
        }
    }
}

/// The key in `Bearer KEY`: a scheme has no case, and any number of blanks may follow it.
fn bearer_key(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(b"Bearer".len())?;
    let key_start = key.iter().position(|byte| *byte != b' ')?;
    (scheme.eq_ignore_ascii_case(b"Bearer") && key_start > 0).then(|| &key[key_start..])
}

/// Whoever holds a key is a tenant of their own: their kept replies and conversations are nobody
/// else's, and a new key starts without any.
fn tenant(key: &[u8]) -> Tenant {
    Tenant::new(blake3::derive_key("brisk 2026 tenant of an API key", key))
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
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let path = request.uri().path();
    if !health::OPEN_PATHS.contains(&path) && !web::is_asset(path) {
        // Who may pass without a key is nobody, and its handlers ask for no tenant.
        let tenant = app.keys.check(request.headers())?;
        if let (Some(open), Some(record)) =
            (&app.open_requests, request.extensions().get::<Arc<Record>>())
        {
            record.set_open(open.open(tenant)?);
        }
        request.extensions_mut().insert(tenant);
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
            Ok(tenant) => {
                assert_ne!(tenant, Tenant::LOCAL);
                "in"
            }
            Err(HttpError::Unauthorized) => "401",
            Err(HttpError::KeysDisagree) => "400",
            Err(_) => "other",
        };
        assert_eq!(got, expected, "{headers:?}");
    }

    #[test]
    fn every_key_is_a_tenant() {
        let tenant = |keys: &Keys, key: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-api-key", HeaderValue::from_str(key).unwrap());
            keys.check(&headers).unwrap()
        };
        let keys = Keys::new(&["sk-Alpha".into(), "sk-beta".into()]);
        assert_ne!(tenant(&keys, "sk-Alpha"), tenant(&keys, "sk-beta"));
        // The same key is the same tenant in another process, whatever other keys there are.
        assert_eq!(tenant(&keys, "sk-beta"), tenant(&Keys::new(&["sk-beta".into()]), "sk-beta"));
        assert_eq!(tenant(&Keys::new(&[]), "anything"), Tenant::LOCAL);
        // No digest that lets in is a tenant's name.
        assert_ne!(tenant(&keys, "sk-beta").as_bytes(), &digest(b"sk-beta"));
    }

    #[test]
    fn only_the_exact_key_opens() {
        check(&[("authorization", "Bearer sk-Alpha")], "in");
        check(&[("authorization", "Bearer sk-beta")], "in");
        for value in ["bearer sk-beta", "BEARER sk-beta", "bEaReR sk-beta", "Bearer   sk-beta"] {
            check(&[("authorization", value)], "in");
        }
        check(&[("authorization", "bearer  sk-beta"), ("x-api-key", "sk-beta")], "in");
        check(&[("x-api-key", "sk-beta")], "in");
        check(&[("authorization", "Bearer sk-beta"), ("x-api-key", "sk-beta")], "in");
        let long = format!("Bearer {}", "k".repeat(10_000));
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer\tsk-beta",
            "Bearersk-beta",
            " Bearer sk-beta",
            "Bearer:sk-beta",
            "Token sk-beta",
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
