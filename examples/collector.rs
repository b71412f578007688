//! A loopback endpoint that prints reports of pin violations.
//!
//! `cargo run --example collector -- [PORT] [COUNT]` listens on the port, or on a free one, and
//! ends after COUNT reports; without COUNT it runs until it is stopped. To send it a report, run
//! `pinhold get URL --pin FINGERPRINT --report-to http://127.0.0.1:PORT/`.
#![allow(clippy::print_stdout, reason = "prints reports")]

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

/// In bytes: rustls accepts served chains of up to 64 KiB, and a report contains the chain twice,
/// as base64.
const MAX_REPORT: usize = 256 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse());
    let port = numbers.next().transpose()?.unwrap_or(0);
    let count = numbers.next().transpose()?.map(usize::from);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening at http://{}/", listener.local_addr()?);
    let received = AtomicUsize::new(0);
    while count.is_none_or(|count| received.load(Ordering::Relaxed) < count) {
        let (socket, _) = listener.accept().await?;
        let service = service_fn(|request| async {
            let status = receive(request).await;
            let is_report = status == StatusCode::NO_CONTENT;
            received.fetch_add(is_report.into(), Ordering::Relaxed);
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = status;
            Ok::<_, io::Error>(response)
        });
        // Connections are served one at a time: reports are rare.
        let mut http = hyper::server::conn::http1::Builder::new();
        let connection = http.keep_alive(false);
        if let Err(error) = connection
            .serve_connection(TokioIo::new(socket), service)
            .await
        {
            println!("the connection failed: {error}");
        }
    }
    Ok(())
}

async fn receive(request: Request<Incoming>) -> StatusCode {
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let id = request.headers().get("idempotency-key").cloned();
    let body = Limited::new(request.into_body(), MAX_REPORT);
    let Ok(body) = body.collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    match serde_json::from_slice::<Value>(&body.to_bytes()) {
        Ok(report) => print(&report, id.as_ref().and_then(|id| id.to_str().ok())),
        Err(_) => return StatusCode::BAD_REQUEST,
    }
    StatusCode::NO_CONTENT
}

/// Prints the main fields as JSON, whose escapes keep control characters off the terminal.
fn print(report: &Value, id: Option<&str>) {
    let field = |name: &str| report.get(name).unwrap_or(&Value::Null);
    let length = |name| field(name).as_array().map_or(0, Vec::len);
    println!("report {}", id.unwrap_or("without id"));
    for name in ["date-time", "hostname", "port", "noted-hostname"] {
        println!("  {name}: {}", field(name));
    }
    for chain in ["served-certificate-chain", "validated-certificate-chain"] {
        println!("  certificates in {chain}: {}", length(chain));
    }
    for pin in field("known-pins").as_array().into_iter().flatten() {
        println!("  known pin: {pin}");
    }
}
