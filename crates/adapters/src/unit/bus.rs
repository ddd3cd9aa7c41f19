//! systemd over D-Bus. Calls and signals have a connection each, so that a burst of signals never holds up an answer.

use super::facts::Facts;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use zbus::Variant;
use zbus::export::futures_core::Stream;
use zbus::fdo::PropertiesProxy;
use zbus::{Connection, OwnedObjectPath, proxy};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// systemd answers in a millisecond, but not while it reloads.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A start or an end passes through three or four states, some milliseconds apart.
const READS_MAX: usize = 20;
const AGAIN_AFTER: Duration = Duration::from_secs(1);

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

/// Both connections.
#[derive(Clone)]
pub(super) struct Connections {
    calls: Connection,
    signals: Connection,
}

/// The way to the bus; lost and found again.
pub(super) struct Bus {
    state: Mutex<State>,
}

struct State {
    connections: Option<Connections>,
    tried: Option<Instant>,
}

impl Bus {
    pub(super) fn new() -> Bus {
        Bus { state: Mutex::new(State { connections: None, tried: None }) }
    }

    /// The connections, made anew at most once a second; none while the bus is down.
    pub(super) async fn connection(&self) -> Option<Connections> {
        let mut state = self.state.lock().await;
        let wait = state.tried.is_some_and(|tried| tried.elapsed() < AGAIN_AFTER);
        if state.connections.is_none() && !wait {
            state.tried = Some(Instant::now());
            let connect = tokio::time::timeout(CONNECT_MAX, connect());
            state.connections = connect.await.ok().and_then(Result::ok);
        }
        state.connections.clone()
    }

    /// After this error: is it the bus that failed? Then the connections are made anew.
    pub(super) async fn suspect(&self, error: &zbus::Error) {
        // An answer of systemd's own, also a refusal, is one of a bus that works.
        if !matches!(error, zbus::Error::MethodError(..)) {
            self.state.lock().await.connections = None;
        }
    }
}

async fn connect() -> zbus::Result<Connections> {
    let open = || zbus::connection::Builder::system().method_timeout(ANSWER_MAX).build();
    let connections = Connections { calls: open().await?, signals: open().await? };
    ManagerProxy::new(&connections.signals).await?.subscribe().await?;
    Ok(connections)
}

/// Its properties are read one by one; so again until nothing moved in between, or systemd is too busy to tell.
pub(super) async fn facts(connections: &Connections, unit: &str) -> zbus::Result<Facts> {
    let manager = ManagerProxy::new(&connections.calls).await?;
    let path = manager.load_unit(unit).await?;
    let properties = properties(&connections.calls, &path).await?;
    let mut facts = read(&properties, unit).await?;
    for _ in 0..READS_MAX {
        let again = read(&properties, unit).await?;
        if again == facts {
            return Ok(facts);
        }
        facts = again;
    }
    Err(zbus::Error::Failure(format!("{unit} changes faster than it can be read")))
}

async fn read(properties: &PropertiesProxy<'_>, unit: &str) -> zbus::Result<Facts> {
    let get = async |interface: &'static str, name: &'static str| {
        let interface = zbus::names::InterfaceName::from_static_str(interface)?;
        Ok::<_, zbus::Error>(properties.get(interface, name).await?)
    };
    let (active, entered, job) = tokio::try_join!(
        get(UNIT, "ActiveState"),
        get(UNIT, "ActiveEnterTimestampMonotonic"),
        get(UNIT, "Job")
    )?;
    let mut facts = Facts {
        active: active.try_into()?,
        entered: entered.try_into()?,
        job: is_job(&job),
        ..Facts::default()
    };
    // Sockets and targets have no process.
    if unit.ends_with(".service") {
        let (pid, started, cgroup, result) = tokio::try_join!(
            get(SERVICE, "MainPID"),
            get(SERVICE, "ExecMainStartTimestampMonotonic"),
            get(SERVICE, "ControlGroup"),
            get(SERVICE, "Result")
        )?;
        facts.main_pid = pid.try_into()?;
        facts.main_started = started.try_into()?;
        facts.cgroup = cgroup.try_into()?;
        facts.result = result.try_into()?;
    }
    Ok(facts)
}

/// A job's number and object, as `org.freedesktop.systemd1.Unit` has it; the number is 0 where there is none.
fn is_job(value: &Variant<'_>) -> bool {
    let Variant::Structure(job) = value else { return false };
    matches!(job.fields().first(), Some(Variant::U32(number)) if *number != 0)
}

/// What the unit told systemd last of itself (`STATUS=` of sd_notify(3)).
pub(super) async fn words(connections: &Connections, unit: &str) -> zbus::Result<String> {
    let manager = ManagerProxy::new(&connections.calls).await?;
    let path = manager.load_unit(unit).await?;
    let properties = properties(&connections.calls, &path).await?;
    let interface = zbus::names::InterfaceName::from_static_str(SERVICE)?;
    let words = properties.get(interface, "StatusText").await?;
    words.try_into()
}

async fn properties<'a>(
    connection: &'a Connection,
    path: &OwnedObjectPath,
) -> zbus::Result<PropertiesProxy<'a>> {
    PropertiesProxy::builder(connection).destination(SYSTEMD).path(path.clone()).build().await
}

/// Queues a job and waits until systemd has removed it; returns how it ended.
pub(super) async fn job(connections: &Connections, verb: &str, unit: &str) -> zbus::Result<String> {
    let signals = ManagerProxy::new(&connections.signals).await?;
    // Listening before asking: the job may be over before the answer is here.
    let mut removed = signals.receive_job_removed().await?;
    let manager = ManagerProxy::new(&connections.calls).await?;
    let job = match verb {
        "stop" => manager.stop_unit(unit, "replace").await?,
        _ => manager.start_unit(unit, "replace").await?,
    };
    while let Some(signal) = next(&mut removed).await {
        let arguments = signal.args()?;
        if arguments.job == job {
            return Ok(arguments.result);
        }
    }
    Err(zbus::Error::Failure("the bus went away".into()))
}

pub(super) async fn reload(connections: &Connections) -> zbus::Result<()> {
    ManagerProxy::new(&connections.calls).await?.reload().await
}

/// What a change says by itself, as far as it says it: the unit may have gone on since.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    /// A job of the unit waits or is under way.
    pub(super) job: Option<bool>,
    /// It is active.
    pub(super) up: Option<bool>,
}

/// Tells that something about the unit changed; systemd may leave intermediate states out.
pub(super) struct Changes(zbus::fdo::PropertiesChangedStream);

impl Changes {
    pub(super) async fn of(connections: &Connections, unit: &str) -> zbus::Result<Changes> {
        let manager = ManagerProxy::new(&connections.calls).await?;
        let path = manager.load_unit(unit).await?;
        let properties = properties(&connections.signals, &path).await?;
        Ok(Changes(properties.receive_properties_changed().await?))
    }

    /// The next change; none when the bus went away.
    pub(super) async fn next(&mut self) -> Option<Change> {
        let signal = next(&mut self.0).await?;
        let Ok(arguments) = signal.args() else { return Some(Change::default()) };
        let changed = &arguments.changed_properties;
        Some(Change {
            job: changed.get("Job").map(is_job),
            up: changed.get("ActiveState").map(|state| *state == Variant::from("active")),
        })
    }
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}
