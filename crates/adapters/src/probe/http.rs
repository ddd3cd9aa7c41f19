//! HTTP and HTTPS: one request on a connection of its own, and as much of the answer as decides.
//!
//! A connection is never kept for the next look: a service that no longer accepts any would go unseen.

use crate::probe::connect::{self, Opened, Place};
use crate::probe::result::CheckResult;
use crate::probe::threads::{Late, Threads};
use crate::probe::tls::TlsCheck;
use httparse::{Header, ParserConfig, Response, Status};
use regent_config::probe::Http;
use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout_at;

/// Of an answer no more is read than this.
const ANSWER_MAX: usize = 64 << 10;
/// More header lines than any server sends.
const LINES_MAX: usize = 128;
/// Room for one reading.
const PART: usize = 1024;

/// Asks, again and again.
pub(crate) struct HttpCheck {
    http: Http,
    place: Place,
    request: Vec<u8>,
    answer: Vec<u8>,
    tls: Option<TlsCheck>,
}

impl HttpCheck {
    /// For this request.
    pub(crate) fn new(http: Http) -> HttpCheck {
        let endpoint = &http.url.endpoint;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {endpoint}\r\nUser-Agent: regent-prober\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            http.url.path
        );
        HttpCheck {
            place: Place::new(endpoint.clone()),
            request: request.into_bytes(),
            answer: Vec::new(),
            tls: http.url.secure.then(|| TlsCheck::new(endpoint, http.ca.clone())),
            http,
        }
    }

    /// What will go wrong, as of the last look.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.tls.as_ref()?.warning()
    }

    /// Asks once.
    pub(crate) async fn look(&mut self, threads: &Threads, bound: Duration) -> CheckResult {
        let deadline = Instant::now() + bound;
        let request = self.request.as_slice();
        // By TLS other words come first.
        let words = if self.tls.is_none() { request } else { &[] };
        let ready = |opened: Opened| async move {
            let sent = opened.sent;
            Ok((opened.stream().await?, sent))
        };
        let connected =
            connect::connect(&mut self.place, threads, deadline, bound, words, ready).await;
        let (stream, sent) = match connected {
            Ok(connected) => connected,
            Err(seen) => return seen,
        };
        let asking = async {
            match &mut self.tls {
                None => ask(stream, &request[sent..], &mut self.answer, &self.http).await,
                Some(tls) => {
                    let stream = tls.connect(stream, threads, bound).await?;
                    Box::pin(ask(stream, request, &mut self.answer, &self.http)).await
                }
            }
        };
        match timeout_at(deadline.into(), asking).await {
            Ok(Ok(seen) | Err(seen)) => seen,
            Err(_) => CheckResult::late(Late::NoAnswer, bound),
        }
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &[u8],
    answer: &mut Vec<u8>,
    http: &Http,
) -> Result<CheckResult, CheckResult> {
    let broke = |error: io::Error| CheckResult::Failed(format!("the connection broke: {error}"));
    answer.clear();
    if !request.is_empty() {
        stream.write_all(request).await.map_err(broke)?;
        stream.flush().await.map_err(broke)?;
    }
    loop {
        answer.reserve(PART);
        let end = match stream.read_buf(answer).await {
            Ok(count) => count == 0,
            // A server that ends without a word of TLS has said all it had to say.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
            Err(error) => return Err(broke(error)),
        };
        if let Some(seen) = judge(answer, end, http) {
            return Ok(seen);
        }
    }
}

/// What this much of an answer means; none if more is needed.
fn judge(answer: &[u8], is_end: bool, http: &Http) -> Option<CheckResult> {
    let failed = |why: String| Some(CheckResult::Failed(why));
    let mut lines = [MaybeUninit::uninit(); LINES_MAX];
    let mut head = Response::new(&mut []);
    let parsed = lenient().parse_response_with_uninit_headers(&mut head, answer, &mut lines);
    let rest = match parsed {
        Ok(Status::Complete(end)) => &answer[end..],
        Ok(Status::Partial) => {
            return match (is_end, answer.len()) {
                (true, 0) => failed("the connection was closed without an answer".into()),
                (true, _) => failed("the answer broke off in its head".into()),
                (false, ANSWER_MAX..) => failed("the answer's head has no end".into()),
                (false, _) => None,
            };
        }
        Err(httparse::Error::Status) => return failed("the answer has no status".into()),
        Err(httparse::Error::TooManyHeaders) => {
            return failed(format!("the answer's head has more than {LINES_MAX} lines"));
        }
        Err(_) => return failed("the answer is not HTTP".into()),
    };
    let Some(status) = head.code.filter(|status| (100..600).contains(status)) else {
        return failed("the answer has no status".into());
    };
    if (100..200).contains(&status) && status != 101 {
        // Only a foreword (RFC 9110 15.2).
        return judge(rest, is_end, http);
    }
    match http.status {
        Some(expected) if status != expected => {
            return failed(format!("status {status}, expected {expected}"));
        }
        None if !(200..400).contains(&status) => {
            return failed(format!("status {status}, expected 2xx or 3xx"));
        }
        Some(_) | None => {}
    }
    let Some(text) = &http.body else { return Some(CheckResult::Passed) };
    let (body, is_whole) = body(head.headers, rest);
    if find(&body, text.as_bytes()).is_some() {
        return Some(CheckResult::Passed);
    }
    match is_whole || is_end {
        true => failed(format!("the body lacks {text}")),
        false if answer.len() >= ANSWER_MAX => {
            failed(format!("the first 64 KiB of the body lack {text}"))
        }
        false => None,
    }
}

/// A server that people use is well, whatever its head looks like beside its status.
fn lenient() -> ParserConfig {
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    config.allow_multiple_spaces_in_response_status_delimiters(true);
    config.ignore_invalid_headers_in_responses(true);
    config
}

fn header<'a>(head: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let header = head.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(header.value.trim_ascii())
}

/// The body as far as it is here, and whether that is all of it.
fn body<'a>(head: &[Header<'_>], rest: &'a [u8]) -> (std::borrow::Cow<'a, [u8]>, bool) {
    if header(head, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case(b"chunked")) {
        let (bytes, is_whole) = joined(rest);
        return (bytes.into(), is_whole);
    }
    let length = header(head, "content-length").and_then(|v| std::str::from_utf8(v).ok());
    match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if rest.len() >= length => (rest[..length].into(), true),
        Some(_) | None => (rest.into(), false),
    }
}

/// Chunks put together (RFC 9112 7.1), and whether the last one is here.
fn joined(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(Status::Complete((start, size))) => (start, size as usize),
            Ok(Status::Partial) => break,
            // Not what it claims to be: nothing more can be understood.
            Err(_) => return (bytes, true),
        };
        if size == 0 {
            return (bytes, true);
        }
        let chunk = &rest[start..];
        bytes.extend_from_slice(&chunk[..size.min(chunk.len())]);
        let Some(next) = size.checked_add(2).and_then(|next| chunk.get(next..)) else { break };
        rest = next;
    }
    (bytes, false)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    if what.is_empty() {
        return Some(0);
    }
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: Option<u16>, body: Option<&str>) -> Http {
        let url = "http://127.0.0.1:80/".parse().unwrap();
        Http { url, status, body: body.map(str::to_owned), ca: None }
    }

    /// Judged after every byte: the first conclusion must be the last one's.
    fn judged(answer: &str, http: &Http) -> CheckResult {
        let bytes = answer.as_bytes();
        let early = (0..=bytes.len()).find_map(|n| judge(&bytes[..n], false, http));
        let last = judge(bytes, true, http).expect("a conclusion at the end");
        assert_eq!(early.unwrap_or(last.clone()), last, "{answer}");
        last
    }

    fn failed(why: &str) -> CheckResult {
        CheckResult::Failed(why.to_owned())
    }

    #[test]
    fn a_status_passes_or_is_named() {
        let any = http(None, None);
        assert_eq!(judged("HTTP/1.1 200 OK\r\n\r\n", &any), CheckResult::Passed);
        assert_eq!(judged("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n", &any), CheckResult::Passed);
        let why = "status 503, expected 2xx or 3xx";
        assert_eq!(judged("HTTP/1.1 503 Busy\r\n\r\n", &any), failed(why));
        let exact = http(Some(204), None);
        assert_eq!(judged("HTTP/1.1 204 No\r\n\r\n", &exact), CheckResult::Passed);
        assert_eq!(judged("HTTP/1.1 200 OK\r\n\r\n", &exact), failed("status 200, expected 204"));
        let foreword = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(judged(foreword, &any), CheckResult::Passed);
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let any = http(None, None);
        assert_eq!(judged("", &any), failed("the connection was closed without an answer"));
        assert_eq!(judged("SSH-2.0-x\r\n", &any), failed("the answer is not HTTP"));
        assert_eq!(judged("HTTP/1.1 2", &any), failed("the answer broke off in its head"));
        assert_eq!(judged("HTTP/1.1 abc\r\n\r\n", &any), failed("the answer has no status"));
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(ANSWER_MAX));
        assert_eq!(
            judge(endless.as_bytes(), false, &any),
            Some(failed("the answer's head has no end"))
        );
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(LINES_MAX + 1));
        assert_eq!(judged(&many, &any), failed("the answer's head has more than 128 lines"));
    }

    #[test]
    fn a_head_with_mistakes_beside_its_status_passes() {
        let any = http(None, None);
        for head in ["no colon here", "A : b", "A: b\r\n c", "\u{e4}: b", ": b"] {
            assert_eq!(
                judged(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"), &any),
                CheckResult::Passed
            );
        }
        assert_eq!(judged("HTTP/1.0 200\r\n\r\n", &any), CheckResult::Passed);
    }

    #[test]
    fn a_body_is_looked_into_however_it_comes() {
        let ok = http(None, Some("\"ok\":true"));
        let lacks = failed("the body lacks \"ok\":true");
        let length = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n";
        assert_eq!(judged(&format!("{length}{{\"ok\":true}}"), &ok), CheckResult::Passed);
        assert_eq!(judged(&format!("{length}{{\"ok\":fals}}"), &ok), lacks);
        let plain = "HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(judged(&format!("{plain}{{\"ok\":true}}"), &ok), CheckResult::Passed);
        assert_eq!(judged(&format!("{plain}{{}}"), &ok), lacks);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        let split = "5;x=y\r\n{\"ok\"\r\n6\r\n:true}\r\n0\r\n\r\n";
        assert_eq!(judged(&format!("{chunked}{split}"), &ok), CheckResult::Passed);
        assert_eq!(judged(&format!("{chunked}2\r\n{{}}\r\n0\r\n\r\n"), &ok), lacks);
        assert_eq!(judged(&format!("{chunked}zz\r\n"), &ok), lacks);
        let long = format!("{plain}{}", "x".repeat(ANSWER_MAX));
        let why = "the first 64 KiB of the body lack \"ok\":true";
        assert_eq!(judge(long.as_bytes(), false, &ok), Some(failed(why)));
    }
}
