//! As much of HTTP/1.1 (RFC 9112) as clients of a management controller need: a request with a
//! body of known length, Basic authentication (RFC 7617), an answer in JSON.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The longest head and the longest body that are read.
const MOST: usize = 64 << 10;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    /// `Authorization`, as sent.
    pub authorization: String,
    pub wants_close: bool,
    pub body: Vec<u8>,
}

impl Request {
    /// Whether it shows this name and password.
    pub fn is_by(&self, user: &str, password: &str) -> bool {
        let wanted = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        self.authorization == wanted
    }
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Response {
    pub status: u16,
    pub body: Option<Value>,
}

impl Response {
    pub fn new(status: u16, body: Value) -> Response {
        Response { status, body: Some(body) }
    }

    pub fn empty(status: u16) -> Response {
        Response { status, body: None }
    }
}

/// The next request; none when the client has closed.
pub(super) fn read(from: &mut impl Read) -> Result<Option<Request>> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < MOST, "a head of more than {MOST} bytes");
        match from.read(&mut byte) {
            Ok(0) if head.is_empty() => return Ok(None),
            Ok(0) => bail!("the client closed in the middle of a head"),
            Ok(_) => head.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A client that closed without a farewell, or that has nothing more to say.
            Err(_) if head.is_empty() => return Ok(None),
            Err(error) => return Err(error).context("read"),
        }
    }
    let text = String::from_utf8(head).context("a head that is not text")?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        ..Request::default()
    };
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().context("content-length")?,
            "authorization" => value.clone_into(&mut request.authorization),
            "connection" => request.wants_close = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    ensure!(length <= MOST, "a body of {length} bytes");
    request.body.resize(length, 0);
    from.read_exact(&mut request.body).context("body")?;
    Ok(Some(request))
}

/// Answers.
pub(super) fn write(to: &mut impl Write, response: &Response) -> Result<()> {
    let body = response.body.as_ref().map(Value::to_string).unwrap_or_default();
    let reason = match response.status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Internal Server Error",
    };
    let mut head = format!("HTTP/1.1 {} {reason}\r\nOData-Version: 4.0\r\n", response.status);
    if response.status == 401 {
        head.push_str("WWW-Authenticate: Basic realm=\"lab\"\r\n");
    }
    // An answer without content has no length either (RFC 9110 8.6).
    if response.status != 204 {
        head.push_str("Content-Type: application/json\r\n");
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    to.write_all(format!("{head}\r\n{body}").as_bytes())?;
    to.flush().context("write")
}

/// RFC 4648 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let part = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_read_with_its_body_and_the_next_one_stays() {
        let text = "POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic Zm9vOmJhcg==\r\n\
                    Content-Length: 4\r\n\r\n{}  GET /y HTTP/1.1\r\nConnection: close\r\n\r\n";
        let mut from = text.as_bytes();
        let first = read(&mut from).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/x"));
        assert!(first.is_by("foo", "bar") && !first.is_by("foo", "baz") && !first.wants_close);
        assert_eq!(first.body, b"{}  ");
        let second = read(&mut from).unwrap().unwrap();
        assert!(second.path == "/y" && second.wants_close && !second.is_by("foo", "bar"));
        assert_eq!(read(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_too_long_or_broken_is_refused() {
        let long = "GET /".to_owned() + &"x".repeat(MOST);
        assert!(read(&mut long.as_bytes()).is_err());
        assert!(read(&mut "GET / HTTP/1.1\r\nContent-Le".as_bytes()).is_err());
        let huge = "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n";
        assert!(read(&mut huge.as_bytes()).is_err());
    }

    #[test]
    fn an_answer_says_its_length_and_an_empty_one_has_none() {
        let mut out = Vec::new();
        write(&mut out, &Response::new(200, json!({"a": 1}))).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 7\r\n\r\n{\"a\":1}"), "{text}");
        let mut out = Vec::new();
        write(&mut out, &Response::empty(204)).unwrap();
        assert!(!String::from_utf8(out).unwrap().contains("Content-"));
    }

    #[test]
    fn base64_is_the_published_one() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in pairs {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
