//! As much HTTP/1.1 as three routes need: one request per connection, bounded in size and time.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::jobs::{JobError, Jobs};

/// A request that has not arrived by then is not waited for.
const ARRIVAL: Duration = Duration::from_secs(5);
/// Head and body together; a job is a name.
const REQUEST_MAX: usize = 16 * 1024;

/// Reads one request, answers it, closes.
pub(crate) async fn answer(mut stream: TcpStream, jobs: Arc<Jobs>) {
    let response = match tokio::time::timeout(ARRIVAL, read(&mut stream)).await {
        Ok(Some(request)) => route(&request, &jobs).await,
        Ok(None) => respond(400, &json!({"error": "not a request this service understands"})),
        Err(_) => respond(408, &json!({"error": "the request did not arrive in time"})),
    };
    // A caller that is gone is no matter of ours.
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct NewJob {
    name: String,
}

async fn route(request: &Request, jobs: &Jobs) -> String {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/health") => respond(200, &json!({"node": jobs.node(), "ok": true})),
        ("GET", "/jobs") => match jobs.last().await {
            Ok(list) => respond(200, &json!({"node": jobs.node(), "jobs": list})),
            Err(error) => unavailable(&error),
        },
        ("POST", "/jobs") => match serde_json::from_slice::<NewJob>(&request.body) {
            Ok(job) => match jobs.store(&job.name).await {
                Ok(id) => respond(201, &json!({"id": id, "node": jobs.node()})),
                Err(error) => unavailable(&error),
            },
            Err(why) => respond(400, &json!({"error": why.to_string()})),
        },
        (_, "/health" | "/jobs") => respond(405, &json!({"error": "no such method here"})),
        (_, _) => respond(404, &json!({"error": "no such page"})),
    }
}

fn unavailable(error: &JobError) -> String {
    respond(503, &json!({"error": error.to_string()}))
}

fn respond(code: u16, body: &serde_json::Value) -> String {
    let reason = match code {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        _ => "Service Unavailable",
    };
    let body = body.to_string();
    format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some(request) = parse(&bytes)? {
            return Some(request);
        }
        if bytes.len() > REQUEST_MAX || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// `None` if this is no request, `Some(None)` if more has to arrive.
fn parse(bytes: &[u8]) -> Option<Option<Request>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Some(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    first.next().filter(|version| version.starts_with("HTTP/1."))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.trim().parse::<usize>().ok())?;
    let body = &bytes[end + 4..];
    if length > REQUEST_MAX {
        return None;
    }
    if body.len() < length {
        return Some(None);
    }
    Some(Some(Request { method, path, body: body[..length].to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_its_body_is_complete() {
        let text = b"POST /jobs HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(parse(&text[..text.len() - 1]), Some(None));
        let expected =
            Request { method: "POST".into(), path: "/jobs".into(), body: b"abc".to_vec() };
        assert_eq!(parse(text), Some(Some(expected)));
    }

    #[test]
    fn what_is_no_request_or_too_large_is_refused() {
        assert_eq!(parse(b"hello\r\n\r\n"), None);
        assert_eq!(parse(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), None);
        assert_eq!(parse(b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n"), None);
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let answer = respond(200, &json!({"ok": true}));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(answer.contains("Content-Length: 11\r\n"));
        assert!(answer.ends_with("\r\n\r\n{\"ok\":true}"));
    }
}
