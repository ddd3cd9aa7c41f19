//! The lab's management controllers: one small Redfish service over HTTPS per management node, on an
//! address of its own in the clients' namespace, that really switches its host off and on. A power
//! state is never remembered: it is looked up at the host. Controllers can be made to fail the way
//! real ones do.
//!
//! What is served is what fence agents use (Redfish DSP0266 and the schema ComputerSystem): the
//! service root, `Systems`, `Systems/1` with `PowerState`, and the action `ComputerSystem.Reset`.
//!
//! How to read it: [`Bmc`] starts and stops the services and switches their faults, `http` reads and
//! writes messages, and `answer` is the service itself.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::cluster::NODES;
use crate::host::Host;
use crate::lab::Lab;
use crate::run::{is_interrupted, now_us, sh};
use crate::say;
use http::{Request, Response};

mod http;

/// Who may ask.
pub const USER: &str = "admin";
/// With which password. It has what a careless shell, URL or log would trip over.
pub const PASSWORD: &str = "lab bmc/%=1\"";
/// The port of HTTPS.
const PORT: u16 = 443;
/// The only system of each controller.
const SYSTEM: &str = "/redfish/v1/Systems/1";
/// Where its power is switched.
const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
/// A host has a PID 1 long before.
const POWERING_ON: Duration = Duration::from_secs(10);
/// A client that sends nothing is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// More at once is a client gone mad.
const CONNECTIONS: usize = 16;

/// How a controller behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does what it is told.
    Works,
    /// Its address is gone from the network.
    Unreachable,
    /// Every answer comes this late.
    Slow(Duration),
    /// It answers that it is done, and does nothing.
    Lies,
    /// It refuses to switch the power.
    Refuses,
}

impl Mode {
    /// By its name on the command line.
    pub fn parse(text: &str) -> Result<Mode> {
        Ok(match text {
            "works" => Mode::Works,
            "unreachable" => Mode::Unreachable,
            "slow" => Mode::Slow(Duration::from_secs(3)),
            "lies" => Mode::Lies,
            "refuses" => Mode::Refuses,
            other => anyhow::bail!("{other}: not works, unreachable, slow, lies or refuses"),
        })
    }
}

/// The address of a node's controller.
pub fn address(node: &str) -> Result<Ipv4Addr> {
    let place = NODES.iter().position(|one| *one == node);
    let place = place.with_context(|| format!("{node} has no controller: mn1 or mn2"))?;
    Ok(Ipv4Addr::new(10, 77, 0, 201 + place as u8))
}

/// The controllers of a lab; they end when this is dropped.
#[derive(Debug)]
pub struct Bmc {
    client_ns: String,
    controllers: Vec<Arc<Controller>>,
    threads: Vec<JoinHandle<()>>,
    end: Arc<AtomicBool>,
}

/// One controller.
#[derive(Debug)]
struct Controller {
    node: String,
    address: Ipv4Addr,
    mode: Mutex<Mode>,
    host: Mutex<Power>,
    /// What was asked of the power, and when.
    resets: Mutex<Vec<(u64, String)>>,
    connections: AtomicUsize,
}

/// A host as its controller switches it.
#[derive(Debug)]
struct Power {
    host: Host,
    started: Option<Instant>,
}

impl Bmc {
    /// Starts a controller for each management node of this lab.
    pub fn start(lab: &Lab) -> Result<Bmc> {
        // Hosts of their own: what they do to a machine is seen by every other owner of it, since
        // all of it is in the kernel and on disk.
        let hosts = Lab::attach(&lab.name)?.into_hosts();
        let mut bmc = Bmc {
            client_ns: lab.client_ns(),
            controllers: Vec::new(),
            threads: Vec::new(),
            end: Arc::default(),
        };
        for host in hosts.into_iter().filter(|host| NODES.contains(&host.spec.name.as_str())) {
            let node = host.spec.name.clone();
            bmc.add(&node, host).with_context(|| format!("controller of {node}"))?;
        }
        Ok(bmc)
    }

    fn add(&mut self, node: &str, host: Host) -> Result<()> {
        let address = address(node)?;
        plug(&self.client_ns, address, true)?;
        let listener = listen(&self.client_ns, SocketAddrV4::new(address, PORT))?;
        let tls = certificate(address)?;
        let controller = Arc::new(Controller {
            node: node.to_owned(),
            address,
            mode: Mutex::new(Mode::Works),
            host: Mutex::new(Power { host, started: None }),
            resets: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let (end, served) = (Arc::clone(&self.end), Arc::clone(&controller));
        let thread = std::thread::Builder::new().name(format!("bmc-{node}"));
        self.threads.push(thread.spawn(move || accept(&listener, &tls, &served, &end))?);
        self.controllers.push(controller);
        Ok(())
    }

    /// Makes a controller behave like this from its next request on.
    pub fn set(&self, node: &str, mode: Mode) -> Result<()> {
        let controller = self.of(node)?;
        let before = std::mem::replace(&mut *locked(&controller.mode), mode);
        let (was_gone, is_gone) = (before == Mode::Unreachable, mode == Mode::Unreachable);
        if was_gone != is_gone {
            plug(&self.client_ns, controller.address, !is_gone)?;
        }
        Ok(())
    }

    /// What was asked of a node's power since the start: when, and which reset.
    pub fn resets(&self, node: &str) -> Result<Vec<(u64, String)>> {
        Ok(locked(&self.of(node)?.resets).clone())
    }

    /// Whether a node's host has power.
    pub fn is_on(&self, node: &str) -> Result<bool> {
        Ok(locked(&self.of(node)?.host).host.is_on())
    }

    /// Waits until a host that this controller switched on has booted.
    pub fn wait_booted(&self, node: &str) -> Result<()> {
        locked(&self.of(node)?.host).host.wait_booted()
    }

    fn of(&self, node: &str) -> Result<&Controller> {
        let found = self.controllers.iter().find(|one| one.node == node);
        found.map(Arc::as_ref).with_context(|| format!("{node} has no controller"))
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
        for controller in &self.controllers {
            plug(&self.client_ns, controller.address, false).ok();
        }
    }
}

/// Controllers for a lab that stands, until Ctrl-C; how they behave stands in `bmc-NODE` in the
/// run's directory, for whoever wants to change it meanwhile.
pub fn main(name: &str) -> Result<()> {
    let lab = Lab::attach(name)?;
    let bmc = Bmc::start(&lab)?;
    let mut modes = NODES.map(|node| (node, Mode::Works));
    for (node, _) in &modes {
        say::plain(&format!("controller of {node}: https://{}{SYSTEM}", address(node)?));
    }
    while !is_interrupted() {
        for (node, mode) in &mut modes {
            let text = fs::read_to_string(lab.dir.join(format!("bmc-{node}"))).unwrap_or_default();
            let wanted = match text.trim() {
                "" => Mode::Works,
                text => Mode::parse(text)?,
            };
            if wanted != *mode {
                bmc.set(node, wanted)?;
                *mode = wanted;
                say::plain(&format!("controller of {node}: {mode:?}"));
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The controller's address on the clients' side of the bridge, or no longer.
fn plug(namespace: &str, address: Ipv4Addr, is_there: bool) -> Result<()> {
    let verb = if is_there { "replace" } else { "del" };
    sh(&format!("ip -n {namespace} addr {verb} {address}/32 dev eth0")).map(drop)
}

/// A socket belongs to the namespace in which it was made, whoever uses it: so a thread of its own
/// makes it there, and the power is switched by threads that never left.
fn listen(namespace: &str, address: SocketAddrV4) -> Result<TcpListener> {
    let file = File::open(format!("/run/netns/{namespace}"))?;
    let listener = std::thread::scope(|scope| {
        let bound = scope.spawn(|| -> Result<TcpListener> {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(TcpListener::bind(address)?)
        });
        bound.join().map_err(|_| anyhow!("the listening thread ended"))?
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn certificate(address: Ipv4Addr) -> Result<Arc<ServerConfig>> {
    let own = rcgen::generate_simple_self_signed(vec![address.to_string()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    Ok(Arc::new(config))
}

fn accept(
    listener: &TcpListener,
    tls: &Arc<ServerConfig>,
    controller: &Arc<Controller>,
    end: &AtomicBool,
) {
    while !end.load(Ordering::SeqCst) {
        let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        // Whatever it says, the next look at `end` comes soon.
        poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&wait)).ok();
        let Ok((stream, _)) = listener.accept() else { continue };
        if controller.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            controller.connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (tls, served) = (Arc::clone(tls), Arc::clone(controller));
        std::thread::spawn(move || {
            if let Err(error) = serve(stream, tls, &served) {
                say::line(&format!("bmc     {}: {error:#}", served.node));
            }
            served.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// One connection: requests until the client has enough.
fn serve(stream: TcpStream, tls: Arc<ServerConfig>, controller: &Controller) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut stream = StreamOwned::new(ServerConnection::new(tls)?, stream);
    while let Some(request) = http::read(&mut stream)? {
        let mode = *locked(&controller.mode);
        if let Mode::Slow(late) = mode {
            std::thread::sleep(late);
        }
        let response = controller.answer(&request, mode);
        http::write(&mut stream, &response)?;
        if request.wants_close {
            break;
        }
    }
    stream.conn.send_close_notify();
    // The client may have left already.
    stream.conn.write_tls(&mut stream.sock).ok();
    Ok(())
}

impl Controller {
    fn answer(&self, request: &Request, mode: Mode) -> Response {
        let path = request.path.trim_end_matches('/');
        // The service root is for everybody (DSP0266 13.3.3).
        if path != "/redfish/v1" && !request.is_by(USER, PASSWORD) {
            return error(401, "Base.1.8.NoValidSession", "sign in");
        }
        let known = ["/redfish/v1", "/redfish/v1/Systems", SYSTEM, RESET];
        match (request.method.as_str(), path) {
            ("GET", "/redfish/v1") => Response::new(
                200,
                json!({"@odata.id": "/redfish/v1", "Id": "RootService", "Name": "Lab controller",
                       "RedfishVersion": "1.8.0", "Systems": {"@odata.id": "/redfish/v1/Systems"}}),
            ),
            ("GET", "/redfish/v1/Systems") => Response::new(
                200,
                json!({"@odata.id": "/redfish/v1/Systems", "Name": "Computer System Collection",
                       "Members@odata.count": 1, "Members": [{"@odata.id": SYSTEM}]}),
            ),
            ("GET", SYSTEM) => Response::new(200, self.system()),
            ("POST", RESET) => self.reset(&request.body, mode),
            (_, path) if known.contains(&path) => {
                error(405, "Base.1.8.OperationNotAllowed", "not with this method")
            }
            (_, path) => error(404, "Base.1.8.ResourceMissingAtURI", path),
        }
    }

    fn system(&self) -> Value {
        json!({
            "@odata.id": SYSTEM,
            "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem",
            "Id": "1",
            "Name": self.node,
            "SystemType": "Physical",
            "PowerState": locked(&self.host).state(),
            "Actions": {"#ComputerSystem.Reset": {
                "target": RESET,
                "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "ForceRestart"]
            }}
        })
    }

    fn reset(&self, body: &[u8], mode: Mode) -> Response {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(kind) = asked.get("ResetType").and_then(Value::as_str) else {
            return error(400, "Base.1.8.ActionParameterMissing", "ResetType");
        };
        locked(&self.resets).push((now_us(), kind.to_owned()));
        say::line(&format!("bmc     {}: {kind} ({mode:?})", self.node));
        match mode {
            Mode::Lies => return Response::empty(204),
            Mode::Refuses => return error(403, "Base.1.8.InsufficientPrivilege", "not yours"),
            Mode::Works | Mode::Unreachable | Mode::Slow(_) => {}
        }
        let mut power = locked(&self.host);
        let done = match kind {
            "On" => power.on(),
            "ForceOff" => power.off(),
            "ForceRestart" => power.off().and_then(|()| power.on()),
            other => return error(400, "Base.1.8.ActionParameterValueNotInList", other),
        };
        match done {
            Ok(()) => Response::empty(204),
            Err(why) => error(500, "Base.1.8.InternalError", &format!("{why:#}")),
        }
    }
}

impl Power {
    fn state(&self) -> &'static str {
        match self.host.is_on() {
            true => "On",
            false if self.started.is_some_and(|at| at.elapsed() < POWERING_ON) => "PoweringOn",
            false => "Off",
        }
    }

    fn on(&mut self) -> Result<()> {
        if self.host.is_on() {
            return Ok(());
        }
        self.started = Some(Instant::now());
        self.host.start()
    }

    fn off(&mut self) -> Result<()> {
        self.started = None;
        if !self.host.is_on() {
            return Ok(());
        }
        self.host.power_off()
    }
}

fn error(status: u16, code: &str, message: &str) -> Response {
    Response::new(status, json!({"error": {"code": code, "message": message}}))
}
