//! Questions of operators: by the local socket with the peer's credentials, or over mutual TLS.

use crate::host::Later;
use crate::log;
use crate::transport::frame;
use regent_api::VERSION;
use regent_api::call::{Ask, Call, Refusal, RefusalKind, Reply};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// How many questions may be open at once.
const OPEN_MAX: usize = 32;

/// How long a question may take to arrive once its connection stands.
const ASKING: Duration = Duration::from_secs(2);

/// Tells an operator how far it is.
#[derive(Clone)]
pub struct Progress(mpsc::Sender<Reply>);

impl Progress {
    /// One line; lost if the operator does not read.
    pub fn tell(&self, text: impl Into<String>) {
        self.send(Reply::Progress(text.into()));
    }

    /// A reply that others follow; lost if the operator does not read.
    pub fn send(&self, reply: Reply) {
        self.0.try_send(reply).ok();
    }
}

/// A reply, and what follows once it is on its way.
pub struct Answered {
    /// For the operator.
    pub reply: Reply,
    /// Ends what would have cut the reply off, had it come first.
    pub after: Option<Box<dyn FnOnce() + Send>>,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Answered {
        Answered { reply, after: None }
    }
}

/// Who answers.
pub type Answerer = Arc<dyn Fn(Ask, Progress) -> Later<Answered> + Send + Sync>;

/// Makes the socket: root and its group may ask, only root may change (checked by the kernel's credentials).
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Answers on the socket for as long as the runtime lives.
pub async fn run(listener: UnixListener, answerer: Answerer) {
    let open = Arc::new(Semaphore::new(OPEN_MAX));
    let own = rustix::process::geteuid().as_raw();
    loop {
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warning(&format!("failed to take a question: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Root, and whoever this process runs as.
        let may_change = stream.peer_cred().is_ok_and(|c| c.uid() == 0 || c.uid() == own);
        let answerer = Arc::clone(&answerer);
        tokio::spawn(async move {
            converse(stream, may_change, answerer).await;
            drop(permit);
        });
    }
}

/// One question and its answer.
pub async fn converse<S>(mut stream: S, may_change: bool, answerer: Answerer)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(Ok(call)) = timeout(ASKING, frame::read_json::<Call>(&mut stream)).await else {
        let refusal = refuse(RefusalKind::Usage, "the question is not understood", "");
        frame::write_json(&mut stream, &refusal).await.ok();
        return;
    };
    if call.version > VERSION {
        let reason = format!("a question of version {}, this agent knows {VERSION}", call.version);
        let reply = refuse(RefusalKind::Usage, &reason, "upgrade this node's agent");
        frame::write_json(&mut stream, &reply).await.ok();
        return;
    }
    if call.ask.changes() && !may_change {
        let reply = refuse(RefusalKind::Guard, "only root may change anything", "use sudo");
        frame::write_json(&mut stream, &reply).await.ok();
        return;
    }
    let (sender, mut progress) = mpsc::channel(64);
    let mut answer = answerer(call.ask, Progress(sender));
    let Answered { reply, after } = loop {
        tokio::select! {
            biased;
            Some(told) = progress.recv() => {
                // An operator who went away stops nothing that was begun.
                frame::write_json(&mut stream, &told).await.ok();
            }
            answered = &mut answer => break answered,
        }
    };
    while let Ok(told) = progress.try_recv() {
        frame::write_json(&mut stream, &told).await.ok();
    }
    frame::write_json(&mut stream, &reply).await.ok();
    if let Some(after) = after {
        after();
    }
}

/// A refusal.
pub fn refuse(kind: RefusalKind, reason: &str, remedy: &str) -> Reply {
    Reply::Refused(Refusal { kind, reason: reason.into(), remedy: remedy.into() })
}
