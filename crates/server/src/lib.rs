//! The HTTP edge: routes, streaming, limits, keys, metrics and the web page.
//!
//! [`serve()`] takes a listener and a gateway and runs until it is told to stop. Everything about the
//! wire is decided here and nothing else is: bytes become `brisk-api` types, those become the
//! gateway's, and every error of the layers below becomes a status and OpenAI's error body in
//! one place, `error.rs`.

mod app;
mod assistant;
mod auth;
mod body;
mod cache_admin;
mod cache_control;
mod chat;
mod completions;
mod compression;
mod config;
mod connection;
mod connection_state;
mod conversations;
mod convert;
mod cors;
mod error;
mod framing;
mod guarded_io;
mod head;
mod health;
mod host;
mod markdown;
mod metrics;
mod models;
mod observe;
mod open_requests;
mod openapi;
mod paging;
mod performance;
mod places;
mod reply;
mod serve;
mod sse;
mod web;
mod whole;

pub use config::{ConfigError, ServerConfig};
pub use convert::AssistantDefaults;
pub use cors::is_origin;
pub use host::is_host_name;
pub use openapi::document as openapi_document;
pub use serve::{Error, serve};
