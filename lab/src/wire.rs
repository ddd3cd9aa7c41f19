//! The least of the MariaDB protocol that a measuring client needs: sign in without a password,
//! send one statement, hear OK or an error. Written out here so that a time-out is exactly that:
//! the socket is closed and nothing is sent or awaited behind the measurement's back, which no
//! ready-made driver promises.

use std::io;
use std::net::SocketAddrV4;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH, LONG_PASSWORD, TRANSACTIONS.
const CAPABILITIES: u32 = 0x0000_0200 | 0x0000_8000 | 0x0008_0000 | 0x0000_0001 | 0x0000_2000;
const UTF8MB4: u8 = 45;
const COM_QUERY: u8 = 3;
/// Larger than any answer to the statements sent here.
const PACKET_MAX: usize = 64 * 1024;

/// An open session.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
}

/// Why a statement was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The server answered with an error; the session goes on.
    Refused(u16, String),
    /// The connection failed; the session is over.
    Broken(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Broken(error.to_string())
    }
}

impl Session {
    /// Connects and signs in as a user that has no password.
    pub async fn open(address: SocketAddrV4, user: &str) -> Result<Session, Fault> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut session = Session { stream };
        let (_, greeting) = session.read_packet().await?;
        expect_ok_or(&greeting, 10)?;
        session.write_packet(1, &sign_in(user)).await?;
        let (sequence, mut answer) = session.read_packet().await?;
        if answer.first() == Some(&0xfe) {
            // The server asks for another method: an empty answer is right for any of them here.
            session.write_packet(sequence.wrapping_add(1), &[]).await?;
            answer = session.read_packet().await?.1;
        }
        expect_ok_or(&answer, 0)?;
        Ok(session)
    }

    /// Sends a statement that returns no rows; `Ok` means the server acknowledged it.
    pub async fn execute(&mut self, statement: &str) -> Result<(), Fault> {
        let mut packet = Vec::with_capacity(statement.len() + 1);
        packet.push(COM_QUERY);
        packet.extend_from_slice(statement.as_bytes());
        self.write_packet(0, &packet).await?;
        let (_, answer) = self.read_packet().await?;
        expect_ok_or(&answer, 0)
    }

    async fn read_packet(&mut self) -> Result<(u8, Vec<u8>), Fault> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        if length > PACKET_MAX {
            return Err(Fault::Broken(format!("packet of {length} bytes")));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((header[3], body))
    }

    async fn write_packet(&mut self, sequence: u8, body: &[u8]) -> Result<(), Fault> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut packet = Vec::with_capacity(body.len() + 4);
        packet.extend_from_slice(&[length[0], length[1], length[2], sequence]);
        packet.extend_from_slice(body);
        Ok(self.stream.write_all(&packet).await?)
    }
}

fn sign_in(user: &str) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend_from_slice(&CAPABILITIES.to_le_bytes());
    packet.extend_from_slice(&(PACKET_MAX as u32).to_le_bytes());
    packet.push(UTF8MB4);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(user.as_bytes());
    packet.push(0);
    packet.push(0);
    packet.extend_from_slice(b"mysql_native_password\0");
    packet
}

/// Success if the packet begins with `good`; the server's error otherwise.
fn expect_ok_or(packet: &[u8], good: u8) -> Result<(), Fault> {
    match packet.first() {
        Some(first) if *first == good => Ok(()),
        Some(0xff) if packet.len() >= 3 => {
            let code = u16::from_le_bytes([packet[1], packet[2]]);
            let text = &packet[3..];
            let text =
                if text.first() == Some(&b'#') { text.get(6..).unwrap_or(&[]) } else { text };
            Err(Fault::Refused(code, String::from_utf8_lossy(text).into_owned()))
        }
        Some(other) => Err(Fault::Broken(format!("packet of kind {other:#x}"))),
        None => Err(Fault::Broken("empty packet".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_packet_becomes_its_code_and_text() {
        let packet = b"\xff\x0a\x05#HY000read-only";
        assert_eq!(expect_ok_or(packet, 0), Err(Fault::Refused(1290, "read-only".to_owned())));
    }

    #[test]
    fn only_the_expected_packet_is_a_success() {
        assert_eq!(expect_ok_or(&[0, 1, 0], 0), Ok(()));
        assert!(expect_ok_or(&[1], 0).is_err());
        assert!(expect_ok_or(&[], 0).is_err());
    }

    #[test]
    fn signing_in_names_the_user_and_sends_no_password() {
        let packet = sign_in("app");
        assert_eq!(&packet[32..37], b"app\0\0");
    }
}
