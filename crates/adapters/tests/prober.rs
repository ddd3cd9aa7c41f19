//! Every kind of probe but the database's, run by a real prober against real servers, and what a hang does to others.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "all of it is tests")]

mod prober_lab;
#[path = "skipped/mod.rs"]
mod skipped;

use prober_lab::{Prober, http, quick, vital};
use regent_adapters::probe::line::{FromProber, ToProber};
use regent_config::probe::{Disk, File, Http, Kind, Probe};
use regent_core::health::{Counts, Health, ProbeId};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

#[test]
#[ignore = "not a test: the prober's process"]
fn prober_process() {
    prober_lab::prober_process();
}

fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("regent-prober-{}-{test}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn tcp(to: impl std::fmt::Display) -> Kind {
    Kind::Tcp(to.to_string().parse().unwrap())
}

/// Answers every request with these bytes; how many it took.
fn serve(
    listener: TcpListener,
    answer: impl Fn() -> Option<String> + Send + 'static,
) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let taken = Arc::clone(&count);
    thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            taken.fetch_add(1, Ordering::SeqCst);
            match answer() {
                Some(answer) => {
                    let _ = stream.read(&mut [0; 1024]);
                    let _ = stream.write_all(answer.as_bytes());
                }
                None => silent.push(stream),
            }
        }
    });
    count
}

fn fixed(answer: &str) -> SocketAddr {
    let (listener, address) = listener();
    let answer = answer.to_owned();
    serve(listener, move || Some(answer.clone()));
    address
}

#[test]
fn a_port_is_open_refused_or_silent() {
    let (open, address) = listener();
    let (closed, refused) = listener();
    drop(closed);
    // Nobody takes from a short queue: the next handshake is not answered.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let silent = full.local_addr().unwrap().as_socket().unwrap();
    let _queued: Vec<_> = (0..4)
        .map_while(|_| TcpStream::connect_timeout(&silent, Duration::from_millis(300)).ok())
        .collect();

    let mut prober = Prober::start();
    let localhost = format!("localhost:{}", address.port());
    let nowhere = "no-such-host.invalid:1";
    let patient = |id, kind| Probe { timeout_ms: 300, ..quick(id, kind) };
    prober.set(vec![quick(0, tcp(address))]);
    assert_eq!(prober.expect(0, Health::Passing), "");
    prober.set(vec![quick(1, tcp(refused))]);
    assert_eq!(prober.expect(1, Health::Failing), format!("connection refused by {refused}"));
    prober.set(vec![patient(2, tcp(silent))]);
    let why = format!("no connection to {silent} within 300 ms");
    assert_eq!(prober.expect(2, Health::Failing), why);
    prober.set(vec![quick(3, tcp(localhost))]);
    prober.expect(3, Health::Passing);
    prober.set(vec![quick(4, tcp(nowhere))]);
    let why = prober.expect(4, Health::Unknown);
    assert!(why.starts_with("the name no-such-host.invalid "), "{why}");
    drop(open);
    prober.end();
}

#[test]
fn who_hangs_behind_an_open_port_is_found() {
    let (port, address) = listener();
    let speaks = thread::spawn(move || {
        // Two are greeted; then nobody takes connections any more, and the kernel goes on.
        for _ in 0..2 {
            port.accept().unwrap().0.write_all(b"ok\r\n").unwrap();
        }
        port
    });
    let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = udp.local_addr().unwrap();
    let answers = thread::spawn(move || {
        for _ in 0..2 {
            let mut bytes = [0; 512];
            let (length, from) = udp.recv_from(&mut bytes).unwrap();
            // Refused, which is an answer.
            (bytes[2], bytes[3]) = (0x80, 5);
            udp.send_to(&bytes[..length], from).unwrap();
        }
        udp
    });
    let mut prober = Prober::start();
    let patient = |id, kind| Probe { timeout_ms: 300, rise: 1, ..quick(id, kind) };
    prober.set(vec![patient(0, Kind::Greeting(address.to_string().parse().unwrap()))]);
    prober.expect(0, Health::Passing);
    let why = format!("{address} takes connections, and says nothing for 300 ms");
    assert_eq!(prober.expect(0, Health::Failing), why);
    prober.set(vec![patient(1, Kind::Dns(server.to_string().parse().unwrap()))]);
    prober.expect(1, Health::Passing);
    let why = format!("{server} does not answer a question within 300 ms");
    assert_eq!(prober.expect(1, Health::Failing), why);
    drop(answers.join().unwrap());
    prober.set(vec![patient(2, Kind::Dns(server.to_string().parse().unwrap()))]);
    let why = format!("nobody listens on {server} by UDP");
    assert_eq!(prober.expect(2, Health::Failing), why);
    drop(speaks.join().unwrap());
    prober.end();
}

#[test]
fn an_answer_is_judged_by_status_and_body() {
    let ok = fixed("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"ok\":true}");
    let busy = fixed("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let mute = fixed("");
    let (closed, refused) = listener();
    drop(closed);
    let url = |address: SocketAddr| http(&format!("http://{address}/health"));
    let with = |body: &str| Http { body: Some(body.to_owned()), ..url(ok) };
    let cases = [
        (url(ok), Health::Passing, String::new()),
        (with("\"ok\":true"), Health::Passing, String::new()),
        (with("\"ok\":false"), Health::Failing, "the body lacks \"ok\":false".into()),
        (Http { status: Some(204), ..url(ok) }, Health::Failing, "status 200, expected 204".into()),
        (url(busy), Health::Failing, "status 503, expected 2xx or 3xx".into()),
        (url(mute), Health::Failing, "the connection was closed without an answer".into()),
        (url(refused), Health::Failing, format!("connection refused by {refused}")),
    ];
    let mut prober = Prober::start();
    for (n, (http, health, why)) in cases.into_iter().enumerate() {
        prober.set(vec![quick(n as u16, Kind::Http(http))]);
        assert_eq!(prober.expect(n as u16, health), why);
    }
}

/// The bound of the default settings, 950 ms, is one interval and three timeouts: so three observations must do.
#[test]
fn a_hang_is_found_by_three_observations_and_recovery_by_two() {
    let (listener, address) = listener();
    let hangs = Arc::new(AtomicBool::new(false));
    let is_silent = Arc::clone(&hangs);
    let count = serve(listener, move || {
        let answer = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
        (!is_silent.load(Ordering::SeqCst)).then_some(answer)
    });
    let mut prober = Prober::start();
    prober.set(vec![vital(0, Kind::Http(http(&format!("http://{address}/"))))]);
    assert_eq!(prober.change().health, Health::Passing);
    hangs.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let before = count.load(Ordering::SeqCst);
    let change = prober.change();
    let found_ms = began.elapsed().as_millis();
    let looks = count.load(Ordering::SeqCst) - before;
    assert_eq!((change.health, change.why.as_str()), (Health::Failing, "no answer within 250 ms"));
    // The first may have been taken before it hung, the next may have begun already.
    assert!((2..=4).contains(&looks), "{looks}");
    println!("a hang was found in {found_ms} ms, by {looks} observations");
    // The first of the three timeouts may have begun before it hung.
    assert!(found_ms >= 500, "three timeouts: {found_ms}");
    hangs.store(false, Ordering::SeqCst);
    let before = count.load(Ordering::SeqCst);
    assert_eq!(prober.change().health, Health::Passing);
    let looks = count.load(Ordering::SeqCst) - before;
    assert!((2..=3).contains(&looks), "{looks}");
}

#[test]
fn a_stopped_process_fails_and_a_continued_one_passes() {
    let mut server = stoppable();
    let mut port = [0; 5];
    server.0.stdout.as_mut().unwrap().read_exact(&mut port).unwrap();
    let port = String::from_utf8(port.to_vec()).unwrap();
    let mut prober = Prober::start();
    prober.set(vec![vital(0, Kind::Http(http(&format!("http://127.0.0.1:{port}/"))))]);
    prober.expect(0, Health::Passing);
    server.signal("-STOP");
    assert_eq!(prober.expect(0, Health::Failing), "no answer within 250 ms");
    server.signal("-CONT");
    prober.expect(0, Health::Passing);
}

struct Server(Child);

impl Server {
    fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server in a process of its own: this binary once more.
fn stoppable() -> Server {
    let child = Command::new("/proc/self/exe")
        .args(["--exact", "server_process", "--ignored", "--nocapture", "--quiet"])
        .env("RG_SERVER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Server(child);
    // The harness says its own before.
    let mut words = Vec::new();
    while !words.ends_with(b"PORT ") {
        let mut byte = [0];
        server.0.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        words.push(byte[0]);
    }
    server
}

#[test]
#[ignore = "not a test: a server's process"]
fn server_process() {
    if std::env::var_os("RG_SERVER").is_none() {
        return;
    }
    let (listener, address) = listener();
    println!("PORT {:05}", address.port());
    serve(listener, || Some("HTTP/1.1 200 OK\r\n\r\n".to_owned()));
    thread::sleep(Duration::from_secs(600));
}

/// A server by TLS whose certificate ends in so many days; its address, and the certificate's file.
fn secure(name: &str, days: i64) -> (SocketAddr, PathBuf) {
    let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    parameters.not_before = (now - 400 * day).into();
    let end = day * days.unsigned_abs() as u32 + Duration::from_secs(3600);
    parameters.not_after = if days < 0 { now - end } else { now + end }.into();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(parameters.clone(), key).unwrap();
    parameters.is_ca = rcgen::IsCa::NoCa;
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, &authority).unwrap();
    let file = folder("tls").join(name);
    std::fs::write(&file, authority.pem()).unwrap();

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let (listener, address) = listener();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            if stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    (address, file)
}

#[test]
fn a_certificate_is_trusted_or_not_and_its_end_is_warned_of() {
    let (fresh, ca) = secure("fresh.pem", 100);
    let (near, _) = secure("near.pem", 5);
    let (ended, old_ca) = secure("ended.pem", -3);
    let plain = fixed("HTTP/1.1 200 OK\r\n\r\n");
    let https = |address: SocketAddr, ca: Option<&PathBuf>| {
        let body = Some("ok".to_owned());
        Kind::Http(Http { ca: ca.cloned(), body, ..http(&format!("https://{address}/")) })
    };
    let mut prober = Prober::start();
    prober.set(vec![quick(0, https(fresh, Some(&ca)))]);
    prober.expect(0, Health::Passing);
    prober.set(vec![quick(1, https(fresh, Some(&old_ca)))]);
    let why = "the certificate is not of the expected authority";
    assert_eq!(prober.expect(1, Health::Failing), why);
    prober.set(vec![quick(2, https(ended, Some(&old_ca)))]);
    assert_eq!(prober.expect(2, Health::Failing), "the certificate has ended");
    prober.set(vec![quick(3, https(plain, None))]);
    assert_eq!(prober.expect(3, Health::Failing), "the answer is not TLS");
    prober.set(vec![quick(4, https(fresh, Some(&"/no/such/file".into())))]);
    let why = prober.expect(4, Health::Unknown);
    assert!(why.starts_with("the authority in /no/such/file cannot be read"), "{why}");
    // Nobody is named to trust: it passes, and is warned of; and no more once it is another's turn.
    let warning = |prober: &mut Prober| match prober.next() {
        FromProber::Warning { id, text } => (id.0, text),
        other => panic!("{other:?}"),
    };
    prober.set(vec![quick(5, https(near, None))]);
    prober.expect(5, Health::Passing);
    let text = format!("the certificate of {near} ends in 5 days");
    assert_eq!(warning(&mut prober), (5, text));
    prober.set(vec![quick(5, https(ended, None))]);
    assert_eq!(prober.change().health, Health::Unknown);
    assert_eq!(prober.next(), FromProber::Warned { id: ProbeId(5) });
    prober.expect(5, Health::Passing);
    let text = format!("the certificate of {ended} ended 3 days ago");
    assert_eq!(warning(&mut prober), (5, text));
    // An hour is not over.
    let quiet = prober.all(Duration::from_millis(500));
    assert!(quiet.iter().all(|line| matches!(line, FromProber::Pulse { .. })), "{quiet:?}");
    std::fs::remove_dir_all(folder("tls")).unwrap();
}

#[test]
fn files_disks_programs_and_links_are_looked_at() {
    let folder = folder("host");
    let path = folder.join("file");
    std::fs::write(&path, "x").unwrap();
    let file = Kind::File(File { path: path.clone(), newer_than_ms: Some(60_000) });
    let disk =
        |least: &str| Kind::Disk(Disk { path: "/tmp".into(), least: least.parse().unwrap() });
    let script = |script: &str| Kind::Exec(["/bin/sh", "-c", script].map(str::to_owned).into());
    let mut prober = Prober::start();
    prober.set(vec![
        quick(0, file),
        quick(1, disk("1KiB")),
        quick(2, disk("100%")),
        quick(3, script("exit 0")),
        quick(4, script("echo 'the queue is full'; exit 2")),
        Probe { timeout_ms: 300, ..quick(5, script("echo waiting; sleep 600")) },
        quick(6, Kind::Link("lo".into())),
        quick(7, Kind::Link("no-such-link".into())),
        quick(8, Kind::Memory("100%".parse().unwrap())),
    ]);
    let mut seen: Vec<_> = (0..9).map(|_| prober.change()).collect();
    seen.sort_by_key(|change| change.id);
    let ids: Vec<_> = seen.iter().map(|change| change.id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 7, 8], "each tells itself once");
    for n in [0, 1, 3, 6] {
        assert_eq!(seen[n].health, Health::Passing, "{:?}", seen[n]);
    }
    for n in [2, 4, 5, 7] {
        assert_eq!(seen[n].health, Health::Failing, "{:?}", seen[n]);
    }
    assert!(seen[2].why.ends_with(" of /tmp is free, expected 100%"), "{:?}", seen[2]);
    assert_eq!(seen[4].why, "exit 2: the queue is full");
    assert_eq!(seen[5].why, "killed after 300 ms: waiting");
    assert_eq!(seen[7].why, "there is no interface no-such-link");
    if seen[8].health == Health::Unknown {
        skipped::skipped(&format!("the memory probe: {}", seen[8].why));
    }
    let old = SystemTime::now() - Duration::from_secs(300);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    let why = prober.expect(0, Health::Failing);
    assert!(why.ends_with("was changed 300 s ago, expected within 60 s"), "{why}");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "again").unwrap();
    prober.expect(0, Health::Passing);
    std::fs::remove_dir_all(folder).unwrap();
}

/// A FIFO without a writer blocks whoever opens it, as a file of a dead mount does.
#[test]
fn probes_that_hang_for_ever_delay_no_other() {
    let folder = folder("hang");
    let fifos: Vec<_> = (0..20).map(|n| folder.join(format!("fifo{n}"))).collect();
    for fifo in &fifos {
        assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    }
    let (open, address) = listener();
    let taken = serve(open, || Some(String::new()));
    let mut probes: Vec<_> = fifos
        .iter()
        .enumerate()
        .map(|(n, path)| {
            let file = File { path: path.clone(), newer_than_ms: None };
            vital(n as u16, Kind::File(file))
        })
        .collect();
    probes.push(vital(100, tcp(address)));
    let fresh = File { path: folder.clone(), newer_than_ms: None };
    probes.push(vital(101, Kind::File(fresh)));
    let mut prober = Prober::start();
    prober.set(probes);
    for _ in 0..22 {
        let change = prober.change();
        let expected = if change.id < 100 {
            (Health::Failing, "no answer within 250 ms")
        } else {
            (Health::Passing, "")
        };
        assert_eq!((change.health, change.why.as_str()), expected, "{change:?}");
    }
    // The one at 200 ms keeps its pace: in what the prober counts as its seconds there are five for each.
    let before = taken.load(Ordering::SeqCst);
    let lines = prober.all(Duration::from_millis(5500));
    let looks = taken.load(Ordering::SeqCst) - before;
    let pulses: Vec<_> = lines
        .iter()
        .map(|line| match line {
            FromProber::Pulse { ran, late_ms } => (*ran, *late_ms),
            other => panic!("{other:?}"),
        })
        .collect();
    println!("{looks} looks in 5.5 s beside 20 that hang; pulses: {pulses:?}");
    assert!(pulses.len() >= 4 && looks >= 20, "{looks} {pulses:?}");
    // One thread for each that hangs, however often it was looked at, and a few for the others.
    let threads = std::fs::read_dir(format!("/proc/{}/task", prober.pid())).unwrap().count();
    assert!((20..40).contains(&threads), "{threads}");
    // One that is let go is well again.
    let writer = std::fs::File::options().write(true).open(&fifos[7]).unwrap();
    prober.expect(7, Health::Passing);
    drop(writer);
    // And what hangs does not hold up the end.
    prober.end();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_role_decides_which_probes_run() {
    let (_open, address) = listener();
    let mut prober = Prober::start();
    let with = |id, counts| Probe { counts, ..quick(id, tcp(address)) };
    prober.set(vec![with(0, Counts::Always), with(1, Counts::Active), with(2, Counts::Standby)]);
    let mut first: Vec<_> = (0..3).map(|_| prober.change()).collect();
    first.sort_by_key(|change| change.id);
    assert_eq!(first[0].health, Health::Passing);
    assert_eq!((first[1].health, first[2].health), (Health::Unknown, Health::Unknown));
    assert_eq!(first[1].why, "it counts on the active node only");
    prober.say(&ToProber::Role { serving: true });
    let change = prober.change();
    assert_eq!((change.id, change.health), (1, Health::Passing));
    prober.say(&ToProber::Role { serving: false });
    let mut both = [prober.change(), prober.change()];
    both.sort_by_key(|change| change.id);
    assert_eq!((both[0].id, both[0].health), (1, Health::Unknown));
    assert_eq!((both[1].id, both[1].health), (2, Health::Passing));
}

#[test]
fn what_is_started_anew_is_unknown_and_looked_at_at_once() {
    let (_open, address) = listener();
    let mut prober = Prober::start();
    let rare = Probe { interval_ms: 3_600_000, ..quick(3, tcp(address)) };
    // The first in the list starts at once.
    prober.set(vec![rare.clone(), quick(0, tcp(address))]);
    let mut both = [prober.change(), prober.change()];
    both.sort_by_key(|change| change.id);
    assert_eq!((both[1].id, both[1].health), (3, Health::Passing));
    prober.say(&ToProber::Forget(vec![ProbeId(3), ProbeId(77)]));
    let change = prober.change();
    let expected = (3, Health::Unknown, "it was started anew");
    assert_eq!((change.id, change.health, change.why.as_str()), expected);
    let change = prober.change();
    assert_eq!((change.id, change.health), (3, Health::Passing));

    // What is the same stays known, what is another is unknown, what is gone is gone.
    prober.set(vec![rare.clone()]);
    prober.set(vec![Probe { fall: 2, ..rare }]);
    let change = prober.change();
    assert_eq!((change.id, change.why.as_str()), (3, "it was configured anew"));
    let change = prober.change();
    assert_eq!((change.id, change.health), (3, Health::Passing));
}

#[test]
fn another_reason_to_fail_is_told_and_a_strange_line_is_an_event() {
    let (open, address) = listener();
    let mut prober = Prober::start();
    prober.set(vec![quick(0, Kind::Http(http(&format!("http://{address}/"))))]);
    serve(open, {
        let count = AtomicU32::new(500);
        move || {
            Some(format!("HTTP/1.1 {} No\r\n\r\n", count.fetch_add(1, Ordering::SeqCst).min(599)))
        }
    });
    assert_eq!(prober.expect(0, Health::Failing), "status 500, expected 2xx or 3xx");
    // Not each of them: once in five seconds.
    let change = prober.change();
    assert_eq!(change.health, Health::Failing);
    assert_ne!(change.why, "status 501, expected 2xx or 3xx");
    assert!(change.why.starts_with("status 5"), "{change:?}");
    prober.say(&ToProber::Forget(vec![]));
    let mut strange = Prober::start();
    strange.raw("nonsense");
    let FromProber::Event(event) = strange.next() else { panic!("no event") };
    assert!(event.starts_with("a line that says nothing: "), "{event}");
}
