//! Counting requests, in the text form that Prometheus reads.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::ApiError;

/// The media type of [`exposition`].
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: a verdict takes microseconds, a batch milliseconds, a gatherer seconds.
const BOUNDS: [f64; 14] = [
    25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 0.5, 2.0, 10.0,
];

/// How many requests were answered how, and how long that took.
#[derive(Debug)]
pub struct HttpMetrics {
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

impl HttpMetrics {
    /// Metrics that `registry` shows.
    pub fn new(registry: &mut Registry) -> HttpMetrics {
        let requests = Family::<Answered, Counter>::default();
        let help = "Requests answered, by route, method and status";
        registry.register("http_requests", help, requests.clone());
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let help = "How long requests took, from the head to the answer's head";
        registry.register_with_unit("http_request", help, Unit::Seconds, seconds.clone());
        HttpMetrics { requests, seconds }
    }
}

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

/// Middleware that counts what goes through it.
pub(crate) async fn observe(
    State(metrics): State<Arc<HttpMetrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    // By route and never by URL: whoever asks for made-up paths would fill the memory.
    let route = path.as_ref().map_or("other", MatchedPath::as_str);
    let method = method_name(request.method());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let answered = Answered {
        route: route.to_owned(),
        method,
        status,
    };
    metrics.requests.get_or_create(&answered).inc();
    let route = Route {
        route: route.to_owned(),
    };
    let elapsed = start.elapsed().as_secs_f64();
    metrics.seconds.get_or_create(&route).observe(elapsed);
    response
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// All that `registry` knows, as an answer.
pub fn exposition(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}
