//! Plain HTTP: pages, numbers, and the API.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::site::Site;

/// All routes.
pub(crate) fn router(_site: Arc<Site>) -> Router {
    Router::new().route("/health", get(async || "ok\n"))
}
