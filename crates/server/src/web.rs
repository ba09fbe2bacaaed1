//! The web pages, built into the program.

use std::sync::LazyLock;

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

/// One file of the page.
#[derive(Debug)]
pub(crate) struct Asset {
    /// The path that it is served under.
    pub(crate) path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $file:literal, $content_type:expr) => {
        Asset {
            path: $path,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../web/", $file)),
        }
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Every file; a test compares this with the folder.
pub(crate) static ASSETS: &[Asset] = &[
    asset!("/", "index.html", HTML),
    asset!("/style.css", "style.css", CSS),
    asset!("/icon.svg", "icon.svg", SVG),
    asset!("/api.js", "api.js", SCRIPT),
    asset!("/app.js", "app.js", SCRIPT),
    asset!("/chart.js", "chart.js", SCRIPT),
    asset!("/chat.js", "chat.js", SCRIPT),
    asset!("/dashboard", "dashboard.html", HTML),
    asset!("/dashboard.css", "dashboard.css", CSS),
    asset!("/dashboard.js", "dashboard.js", SCRIPT),
    asset!("/key.js", "key.js", SCRIPT),
    asset!("/shell.js", "shell.js", SCRIPT),
    asset!("/store.js", "store.js", SCRIPT),
    asset!("/theme.js", "theme.js", SCRIPT),
    asset!("/view.js", "view.js", SCRIPT),
];

/// Everything the page loads comes from here: no script of others, no frame around it.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Whether a path is one of the page's files.
pub(crate) fn is_asset(path: &str) -> bool {
    ASSETS.iter().any(|asset| asset.path == path)
}

/// Sends a file, or says that the client's copy is good.
pub(crate) fn show(asset: &'static Asset, request: &Request) -> Response {
    let etag = etag(asset);
    let known = request.headers().get(header::IF_NONE_MATCH);
    let is_known = known.and_then(|known| known.to_str().ok()).is_some_and(|known| {
        known.split(',').any(|one| one.trim().trim_start_matches("W/") == etag)
    });
    let caching = [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache")];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
}

fn etag(asset: &'static Asset) -> &'static str {
    static ETAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let etag = |asset: &Asset| format!("\"{:.16}\"", blake3::hash(asset.bytes).to_hex());
        ASSETS.iter().map(etag).collect()
    });
    let index = ASSETS.iter().position(|other| std::ptr::eq(other, asset));
    &ETAGS[index.expect("every asset is in the table")]
}

/// Headers of every response: browsers must not guess types, embed us, or run what is not ours.
pub(crate) async fn add_security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|file| [".html", ".css", ".js", ".svg"].iter().any(|end| file.ends_with(end)))
            .collect();
        let mut served: Vec<_> = ASSETS
            .iter()
            .map(|asset| match asset.path {
                "/" => "index.html",
                "/dashboard" => "dashboard.html",
                path => &path[1..],
            })
            .collect();
        files.sort();
        served.sort_unstable();
        assert_eq!(served, files);
    }
}
