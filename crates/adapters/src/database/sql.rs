//! A client of the database's text protocol: over the local Unix socket as root, and over whatever a probe brings,
//! with the password of an ordinary account.
//!
//! It promises that no answer is mixed up with another: after a lost or late answer the connection says so for
//! ever ([`SqlError::Lost`]), because D11 needs to know which server thread may still be at work. It never opens
//! a TCP connection, knows no password for root (who comes in by `unix_socket`), never retries, and does nothing on
//! being dropped but closing its socket. That is why it is written here, in one screen: a general client cleans
//! up in the background, and brings a hundred packages.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::io;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Long password, protocol 4.1, transactions, secure connection, multiple statements and results, named plugins.
const CAPABILITIES: u32 = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x1_0000 | 0x2_0000 | 0x8_0000;
/// `utf8mb4_general_ci`.
const CHARSET: u8 = 45;
const MORE_RESULTS: u16 = 0x0008;
/// Larger answers than this are not ours.
const PACKET_MAX: usize = 0x00ff_ffff;

/// What became of a statement that was not answered well.
#[derive(Debug, Error)]
pub(crate) enum SqlError {
    /// The server answered: no.
    #[error("error {code}: {text}")]
    Server {
        /// The server's number.
        code: u16,
        /// The server's words.
        text: String,
    },
    /// There is nobody at the socket.
    #[error("no server at the socket: {0}")]
    Absent(#[source] io::Error),
    /// The connection is gone; a statement that was under way may still be.
    #[error("connection lost: {0}")]
    Lost(#[source] io::Error),
    /// No answer within the bound; the statement may still be under way (D11).
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl SqlError {
    /// The server's number, if it answered.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            SqlError::Server { code, .. } => Some(*code),
            SqlError::Absent(_) | SqlError::Lost(_) | SqlError::Late(_) => None,
        }
    }

    /// The server has no such table, or no such database.
    pub(crate) fn is_not_made(&self) -> bool {
        matches!(self.code(), Some(1146 | 1049))
    }
}

/// One result set; empty for statements that return none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rows {
    names: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    /// Rows that a statement changed.
    pub(crate) affected: u64,
}

impl Rows {
    /// As a test makes them.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(names: [&str; N], rows: Vec<Vec<Option<String>>>) -> Rows {
        Rows { names: names.map(String::from).to_vec(), rows, affected: 0 }
    }

    /// The first row's column of this name.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let column = self.names.iter().position(|n| n.eq_ignore_ascii_case(name))?;
        self.rows.first()?.get(column)?.as_deref()
    }

    /// The first column of the first row.
    pub(crate) fn scalar(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }

    /// For two columns, name and value: the value of this name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let row = self.rows.iter().find(|row| {
            row.first().and_then(Option::as_deref).is_some_and(|n| n.eq_ignore_ascii_case(name))
        })?;
        row.get(1)?.as_deref()
    }

    /// These columns of all rows that have them.
    pub(crate) fn columns<const N: usize>(
        &self,
        names: [&str; N],
    ) -> impl Iterator<Item = [&str; N]> {
        let place = |name: &str| self.names.iter().position(|n| n.eq_ignore_ascii_case(name));
        let places = names.map(place);
        self.rows.iter().filter_map(move |row| {
            let mut found = [""; N];
            for (value, place) in found.iter_mut().zip(places) {
                *value = row.get(place?)?.as_deref()?;
            }
            Some(found)
        })
    }

    /// All rows, each with all of its columns.
    pub(crate) fn each(&self) -> impl Iterator<Item = &[Option<String>]> {
        self.rows.iter().map(Vec::as_slice)
    }

    /// The first column of all rows.
    pub(crate) fn column(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| row.first()?.as_deref())
    }
}

/// One connection.
pub(crate) struct Client<S = UnixStream> {
    stream: S,
    sequence: u8,
    lost: bool,
}

/// Who comes in, by the method `mysql_native_password`; without a password the socket's owner is the proof.
struct Login<'a> {
    user: &'a str,
    password: Option<&'a str>,
}

impl Client {
    /// Connects as this account; all of it within the bound. Without a password the socket's owner is the proof.
    pub(crate) async fn connect_as(
        socket: &Path,
        user: &str,
        password: Option<&str>,
        bound: Duration,
    ) -> Result<Client, SqlError> {
        let connecting = async {
            let stream = UnixStream::connect(socket).await.map_err(SqlError::Absent)?;
            Client::sign_in(stream, Login { user, password }).await
        };
        timeout(bound, connecting).await.unwrap_or(Err(SqlError::Late(bound)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Comes in over this stream as an ordinary account.
    pub(crate) async fn login(
        stream: S,
        user: &str,
        password: &str,
    ) -> Result<Client<S>, SqlError> {
        Client::sign_in(stream, Login { user, password: Some(password) }).await
    }

    async fn sign_in(stream: S, login: Login<'_>) -> Result<Client<S>, SqlError> {
        let mut client = Client { stream, sequence: 0, lost: false };
        client.greet(&login).await?;
        Ok(client)
    }

    /// Says farewell, so that the server counts and logs no lost connection, and waits until it closes.
    pub(crate) async fn quit(mut self) {
        const QUIT: u8 = 1;
        self.sequence = 0;
        if self.send(&[QUIT]).await.is_ok() {
            // Whatever comes is not for anybody.
            let _ = self.stream.read(&mut [0]).await;
        }
    }

    /// Sends one text of one or more statements and reads every answer, within the bound.
    /// An error of one statement ends the text; what was answered before it is dropped.
    pub(crate) async fn query(
        &mut self,
        text: &str,
        bound: Duration,
    ) -> Result<Vec<Rows>, SqlError> {
        if self.lost {
            return Err(SqlError::Lost(io::Error::from(io::ErrorKind::NotConnected)));
        }
        self.lost = true;
        let answer =
            timeout(bound, self.converse(text)).await.unwrap_or(Err(SqlError::Late(bound)));
        self.lost = matches!(answer, Err(SqlError::Lost(_) | SqlError::Late(_)));
        answer
    }

    /// One statement, one answer.
    pub(crate) async fn one(&mut self, text: &str, bound: Duration) -> Result<Rows, SqlError> {
        Ok(self.query(text, bound).await?.into_iter().next().unwrap_or_default())
    }

    async fn converse(&mut self, text: &str) -> Result<Vec<Rows>, SqlError> {
        let mut command = Vec::with_capacity(text.len() + 1);
        command.push(3);
        command.extend_from_slice(text.as_bytes());
        self.sequence = 0;
        self.send(&command).await?;
        let mut answers = Vec::new();
        loop {
            let (rows, status) = self.result_set().await?;
            answers.push(rows);
            if status & MORE_RESULTS == 0 {
                return Ok(answers);
            }
        }
    }

    async fn result_set(&mut self) -> Result<(Rows, u16), SqlError> {
        let head = self.receive().await?;
        let mut bytes = Bytes(&head);
        match bytes.peek()? {
            0x00 => {
                bytes.skip(1)?;
                let affected = bytes.length()?;
                bytes.length()?;
                let status = bytes.u16()?;
                return Ok((Rows { affected, ..Rows::default() }, status));
            }
            0xff => return Err(refusal(&head)),
            _ => {}
        }
        let columns = bytes.length()?;
        let mut rows = Rows::default();
        for _ in 0..columns {
            let packet = self.receive().await?;
            let mut definition = Bytes(&packet);
            for _ in 0..4 {
                definition.text()?;
            }
            rows.names.push(definition.text()?.unwrap_or_default());
        }
        self.receive().await?;
        loop {
            let packet = self.receive().await?;
            match packet.first() {
                Some(0xfe) if packet.len() < 9 => {
                    let mut end = Bytes(&packet[1..]);
                    end.u16()?;
                    return Ok((rows, end.u16()?));
                }
                Some(0xff) => return Err(refusal(&packet)),
                Some(_) | None => {
                    let mut bytes = Bytes(&packet);
                    let row = (0..columns).map(|_| bytes.text()).collect::<Result<_, _>>()?;
                    rows.rows.push(row);
                }
            }
        }
    }

    async fn greet(&mut self, login: &Login<'_>) -> Result<(), SqlError> {
        let hello = self.receive().await?;
        let mut nonce = match Bytes(&hello).peek()? {
            10 => nonce(&hello)?,
            0xff => return Err(refusal(&hello)),
            _ => return Err(strange("an unknown protocol")),
        };
        let mut answer = Vec::new();
        answer.extend_from_slice(&CAPABILITIES.to_le_bytes());
        answer.extend_from_slice(&0x0100_0000u32.to_le_bytes());
        answer.push(CHARSET);
        answer.extend_from_slice(&[0; 23]);
        answer.extend_from_slice(login.user.as_bytes());
        answer.push(0);
        let proof = login.proof(&nonce);
        answer.push(proof.len() as u8);
        answer.extend_from_slice(&proof);
        answer.extend_from_slice(NATIVE);
        answer.push(0);
        self.send(&answer).await?;
        loop {
            let packet = self.receive().await?;
            match packet.first() {
                Some(0x00) => return Ok(()),
                Some(0xff) => return Err(refusal(&packet)),
                // Another method or another nonce.
                Some(0xfe) => {
                    let mut parts = packet[1..].splitn(2, |b| *b == 0);
                    let method = parts.next().unwrap_or_default();
                    let proof = if method == NATIVE {
                        nonce = parts.next().unwrap_or_default().to_vec();
                        nonce.truncate(NONCE);
                        login.proof(&nonce)
                    } else {
                        Vec::new()
                    };
                    self.send(&proof).await?;
                }
                Some(_) | None => return Err(strange("an unknown way to sign in")),
            }
        }
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), SqlError> {
        if payload.len() >= PACKET_MAX {
            return Err(strange("a statement beyond 16 MiB"));
        }
        let mut packet = Vec::with_capacity(payload.len() + 4);
        packet.extend_from_slice(&(payload.len() as u32).to_le_bytes()[..3]);
        packet.push(self.sequence);
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&packet).await.map_err(SqlError::Lost)
    }

    async fn receive(&mut self) -> Result<Vec<u8>, SqlError> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.map_err(SqlError::Lost)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        if length >= PACKET_MAX {
            return Err(strange("an answer beyond 16 MiB"));
        }
        self.sequence = head[3].wrapping_add(1);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.map_err(SqlError::Lost)?;
        Ok(payload)
    }
}

const NATIVE: &[u8] = b"mysql_native_password";
const NONCE: usize = 20;

impl Login<'_> {
    /// SHA1(password) XOR SHA1(nonce, SHA1(SHA1(password))).
    fn proof(&self, nonce: &[u8]) -> Vec<u8> {
        let Some(password) = self.password else { return Vec::new() };
        let sha = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
        let once = sha(password.as_bytes());
        let twice = sha(once.as_ref());
        let mask = sha(&[nonce, twice.as_ref()].concat());
        once.as_ref().iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect()
    }
}

/// Greeting: protocol, version, thread, 8 bytes of the nonce, 19 bytes about the server, the rest of the nonce.
fn nonce(hello: &[u8]) -> Result<Vec<u8>, SqlError> {
    let version = hello.iter().skip(1).position(|b| *b == 0).unwrap_or(hello.len());
    let mut bytes = Bytes(hello);
    bytes.skip(1 + version + 1 + 4)?;
    let mut nonce = bytes.take(8)?.to_vec();
    bytes.skip(19)?;
    nonce.extend_from_slice(bytes.take(NONCE - 8)?);
    Ok(nonce)
}

fn refusal(packet: &[u8]) -> SqlError {
    let code = packet.get(1..3).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let text = packet.get(3..).unwrap_or_default();
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    SqlError::Server { code, text: String::from_utf8_lossy(text).into_owned() }
}

fn strange(what: &'static str) -> SqlError {
    SqlError::Lost(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// What is left of a packet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], SqlError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(|| strange("a short packet"))?;
        self.0 = rest;
        Ok(head)
    }

    fn peek(&self) -> Result<u8, SqlError> {
        self.0.first().copied().ok_or_else(|| strange("an empty packet"))
    }

    fn skip(&mut self, n: usize) -> Result<(), SqlError> {
        self.take(n).map(|_| ())
    }

    fn u16(&mut self) -> Result<u16, SqlError> {
        self.take(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    fn length(&mut self) -> Result<u64, SqlError> {
        let width = match self.peek()? {
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            small => {
                self.skip(1)?;
                return Ok(u64::from(small));
            }
        };
        self.skip(1)?;
        let mut value = [0; 8];
        value[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(value))
    }

    fn text(&mut self) -> Result<Option<String>, SqlError> {
        if self.peek()? == 0xfb {
            self.skip(1)?;
            return Ok(None);
        }
        let length = self.length()? as usize;
        Ok(Some(String::from_utf8_lossy(self.take(length)?).into_owned()))
    }
}
