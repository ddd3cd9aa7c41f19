//! The command line's way to another node's agent: mutual TLS, with the identity on this machine.

use crate::tls::{self, OPERATOR};
use crate::transport::{Hello, Purpose, hello};
use regent_api::call::{Refusal, RefusalKind};
use regent_api::frame;
use regent_config::Settings;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// A greeted stream.
pub struct Remote(StreamOwned<ClientConnection, TcpStream>);

impl Read for Remote {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Remote {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// How long a connection may take: below the second within which `status` answers.
const CONNECT: Duration = Duration::from_millis(400);

/// Opens a stream to the agent of `node`.
pub fn open(
    node: &str,
    config: &Path,
    certificates: &Path,
    patience: Duration,
) -> Result<Remote, Refusal> {
    let settings = crate::config::load(config).map_err(|problems| Refusal {
        kind: RefusalKind::Configuration,
        reason: problems.to_string().trim_end().into(),
        remedy: String::new(),
    })?;
    let names = || settings.members.iter().map(|m| m.name.as_str());
    let member = settings.member(node).ok_or_else(|| Refusal {
        kind: RefusalKind::Usage,
        reason: format!("{node} is not in {}", config.display()),
        remedy: format!("one of {}", names().collect::<Vec<_>>().join(", ")),
    })?;
    let identity = tls::load(certificates, names().chain([OPERATOR])).map_err(|error| Refusal {
        kind: RefusalKind::Configuration,
        reason: error.to_string(),
        remedy: error.remedy().into(),
    })?;
    let unreachable = |error: io::Error| {
        let certificate = error.kind() == io::ErrorKind::InvalidData;
        let remedy = if certificate {
            "issue both certificates with one authority, and look at both clocks"
        } else {
            "is its agent running, and the port open?"
        };
        Refusal {
            kind: RefusalKind::Unreachable,
            reason: format!("failed to reach the agent of {node} at {}: {error}", member.address),
            remedy: remedy.into(),
        }
    };
    let stream = TcpStream::connect_timeout(&member.address, CONNECT).map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    stream.set_read_timeout(Some(CONNECT)).map_err(unreachable)?;
    stream.set_write_timeout(Some(CONNECT)).map_err(unreachable)?;
    let name = ServerName::try_from(node.to_string())
        .map_err(|e| unreachable(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
    let session = ClientConnection::new(identity.client.clone(), name)
        .map_err(|e| unreachable(io::Error::new(io::ErrorKind::InvalidData, e)))?;
    let mut stream = StreamOwned::new(session, stream);
    let hello = greeting(&settings, &identity.name);
    let welcome = frame::write(&mut stream, &hello)
        .and_then(|()| frame::read(&mut stream))
        .and_then(|body| Ok(serde_json::from_slice(&body)?))
        .map_err(unreachable)?;
    match welcome {
        // Only messages are numbered, and none is asked for: an answer of either kind takes the question.
        hello::Welcome::Taken | hello::Welcome::Numbered { .. } => {}
        hello::Welcome::Refused(reason) => {
            return Err(Refusal {
                kind: RefusalKind::Guard,
                reason: format!("{node} refuses: {reason}"),
                remedy: "use the configuration and the certificates of its cluster".into(),
            });
        }
    }
    stream.sock.set_read_timeout(Some(patience)).map_err(unreachable)?;
    Ok(Remote(stream))
}

fn greeting(settings: &Settings, name: &str) -> Vec<u8> {
    let hello = Hello {
        format: hello::FORMAT,
        cluster: settings.cluster.clone(),
        cluster_id: None,
        node: name.into(),
        id: settings.member(name).map(|m| m.id.0),
        run: String::new(),
        purpose: Purpose::Operator,
        series: None,
        packed: false,
    };
    serde_json::to_vec(&hello).expect("a greeting has string keys only")
}
