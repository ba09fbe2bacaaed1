//! What every request shares, and which handler answers which route.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::Request,
    middleware::{from_fn, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use brisk_gateway::Gateway;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    assistant,
    auth::{self, Keys},
    cache_admin, chat, completions, compression,
    config::ServerConfig,
    conversations,
    cors::with_cors,
    error::HttpError,
    health,
    host::{self, HostRule},
    markdown,
    metrics::Metrics,
    models, observe,
    open_requests::OpenRequests,
    openapi, performance, web,
};

/// The state behind all routes.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) config: ServerConfig,
    pub(crate) keys: Keys,
    pub(crate) hosts: HostRule,
    pub(crate) metrics: Metrics,
    /// None where there is one client at most.
    pub(crate) open_requests: Option<Arc<OpenRequests>>,
    draining: AtomicBool,
}

impl App {
    pub(crate) fn new(gateway: Arc<Gateway>, config: ServerConfig, address: SocketAddr) -> Self {
        let is_shared = config.num_clients() > 1;
        Self {
            gateway,
            keys: Keys::new(&config.api_keys),
            open_requests: is_shared.then(|| Arc::new(OpenRequests::new(config.max_connections))),
            hosts: HostRule::new(address, &config.allowed_hosts),
            metrics: Metrics::default(),
            draining: AtomicBool::new(false),
            config,
        }
    }

    pub(crate) fn set_draining(&self) {
        self.metrics.samples.close();
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// All routes, inside everything that every request goes through.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/api/query", post(assistant::query))
        .route("/api/query/stream", post(assistant::query_stream))
        .route("/api/chat", post(assistant::chat))
        .route("/api/conversations", get(conversations::list))
        .route(
            "/api/conversations/{user_id}",
            get(conversations::show).delete(conversations::delete),
        )
        .route("/api/cache", get(cache_admin::list).delete(cache_admin::flush))
        .route("/api/cache/{key}", delete(cache_admin::remove))
        .route("/api/cache/{key}/report", post(cache_admin::report))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::retrieve))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::show))
        .route("/api/performance", get(performance::show))
        .route("/api/performance/stream", get(performance::watch))
        .route("/api/markdown", post(markdown::render));
    for asset in web::ASSETS {
        router = router.route(asset.path, get(async |request: Request| web::show(asset, &request)));
    }
    // The last layer is the first to see a request.
    let router = router
        .fallback(async || HttpError::UnknownRoute)
        .method_not_allowed_fallback(async || HttpError::WrongMethod)
        .layer(from_fn_with_state(Arc::clone(app), auth::check))
        .layer(from_fn_with_state(Arc::clone(app), host::check))
        .layer(CatchPanicLayer::custom(|panic| panicked(&panic)))
        .layer(compression::layer())
        .layer(map_response(compression::weaken_tag))
        .with_state(Arc::clone(app));
    // Pages of other origins ask without their key whether they may ask, and can read refusals too.
    with_cors(router, &app.config.cors_origins)
        .layer(from_fn_with_state(Arc::clone(app), observe::observe))
        .layer(from_fn(web::add_security_headers))
}

/// A panic costs one request. Its message goes to the log alone.
fn panicked(panic: &Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        panic = text.unwrap_or("without a message").escape_debug().to_string(),
        "a handler panicked"
    );
    HttpError::Panicked.into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_costs_one_request() {
        let router: Router = Router::new()
            .route("/", get(async || -> &'static str { panic!("secret") }))
            .layer(CatchPanicLayer::custom(|panic| panicked(&panic)));
        for _ in 0..2 {
            let request = Request::new(Body::empty());
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            let body = String::from_utf8(body.into()).unwrap();
            assert!(body.contains("\"internal_error\"") && !body.contains("secret"), "{body}");
        }
    }
}
