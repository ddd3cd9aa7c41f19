//! What a thousand probes cost: `cargo run --release -p regent-adapters --example probe-bench [SECONDS]`.
//!
//! Three processes: this one gives the orders and reads the counters of the kernel, one serves, one is the prober as
//! it is shipped; only the prober's time counts. Ends with 1 if the bar is missed or a probe was not well.

use regent_adapters::probe::line::{FromProber, ToProber};
use regent_adapters::probe::worker;
use regent_config::probe::{Disk, File, Http, Kind, Probe};
use regent_core::health::{Counts, Health, ProbeId};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PROBES: u16 = 1000;
/// Of a core, in percent.
const BAR: f64 = 5.0;
const SECONDS: u64 = 20;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let done = match argument.as_deref() {
        Some("prober") => worker::main().map(|()| true),
        Some("server") => serve().map(|()| true),
        seconds => bench(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(SECONDS)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(seconds: u64) -> io::Result<bool> {
    let mut server = Running::start("server")?;
    let mut ports = String::new();
    BufReader::new(server.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?)
        .read_line(&mut ports)?;
    let ports: Vec<&str> = ports.split_whitespace().collect();
    let [tcp, http] = ports[..] else { return Err(io::Error::other("no ports")) };
    let file = std::env::temp_dir().join(format!("regent-bench-{}", std::process::id()));
    std::fs::write(&file, "fresh")?;

    let mut prober = Running::start("prober")?;
    let mut orders = prober.0.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let lines = listen(prober.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let kinds: Vec<Kind> = (0..PROBES).map(|n| kind(n, tcp, http, &file)).collect();
    say(&mut orders, &set(kinds))?;
    let mut health = HashMap::new();
    let mut hear = |until: Instant| {
        let (mut ran, mut late, mut pulses) = (0, 0, 0);
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            match line {
                FromProber::Health { id, health: now, why, .. } => {
                    health.insert(id, (now, why));
                }
                FromProber::Pulse { ran: more, late_ms } => {
                    (ran, late, pulses) = (ran + more, late.max(late_ms), pulses + 1);
                }
                FromProber::Warning { .. } | FromProber::Warned { .. } => {}
                FromProber::Event(event) => eprintln!("{event}"),
            }
        }
        (ran, late, pulses)
    };
    hear(Instant::now() + Duration::from_secs(3));
    let (began, before) = (Instant::now(), cost(&prober.0)?);
    let (ran, late, pulses) = hear(began + Duration::from_secs(seconds));
    let (took, after) = (began.elapsed().as_secs_f64(), cost(&prober.0)?);
    let well = health.values().filter(|(health, _)| *health == Health::Passing).count();
    for (id, (health, why)) in health.iter().filter(|(_, (h, _))| *h != Health::Passing).take(3) {
        eprintln!("probe {}: {health:?}: {why}", id.0);
    }

    // A port that nobody has and a service that hangs, found as fast as the default settings have it.
    let refused = first_failure(&mut orders, &lines, "tcp", "127.0.0.1:1")?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let hang = first_failure(&mut orders, &lines, "http", &silent.local_addr()?.to_string())?;
    drop(orders);
    std::fs::remove_file(&file)?;

    let share = (after.ticks - before.ticks) as f64 / 100.0 / took * 100.0;
    let exact = (after.ran_ns - before.ran_ns) as f64 / 1e9 / took * 100.0;
    println!(
        "probes: {PROBES} at 1/s cost {share:.2} % of a core ({exact:.2} % by the scheduler's count), \
         bar {BAR} %, {:.2} of it; {:.0} looks/s, {well} well, latest start {late} ms in {pulses} s; \
         {:.1} MiB resident, {} threads; refused found in {refused} ms, a hang in {hang} ms",
        share / BAR,
        ran as f64 / took,
        after.resident as f64 / 1024.0,
        after.threads,
    );
    let paced = ran as f64 / took > 0.97 * f64::from(PROBES);
    Ok(share < BAR && well == usize::from(PROBES) && paced)
}

/// The mix: connections, requests, files, disks, links.
fn kind(n: u16, tcp: &str, http: &str, file: &std::path::Path) -> Kind {
    let parse = |text: String| text.parse().expect("an address");
    match n % 10 {
        0..3 => Kind::Tcp(parse(format!("127.0.0.1:{tcp}"))),
        3..6 => {
            let url = format!("http://127.0.0.1:{http}/health").parse().expect("an address");
            let body = Some("\"ok\":true".to_owned());
            Kind::Http(Http { url, status: Some(200), body, ca: None })
        }
        6..8 => Kind::File(File { path: file.into(), newer_than_ms: Some(3_600_000) }),
        8 => Kind::Disk(Disk { path: "/tmp".into(), least: "1MiB".parse().expect("a size") }),
        _ => Kind::Link("lo".into()),
    }
}

fn probe(id: u16, kind: Kind, interval_ms: u64, timeout_ms: u64) -> Probe {
    let (rise, fall, counts) = (2, 3, Counts::Always);
    Probe { id: ProbeId(id), kind, interval_ms, timeout_ms, rise, fall, counts, unit: None }
}

fn set(kinds: Vec<Kind>) -> ToProber {
    let probe = |(n, kind)| probe(n as u16, kind, 1000, 1000);
    ToProber::Set { probes: kinds.into_iter().enumerate().map(probe).collect(), accounts: None }
}

/// One probe with the default settings, failing from the start: how long until it says so.
fn first_failure(
    orders: &mut impl Write,
    lines: &Receiver<FromProber>,
    key: &str,
    to: &str,
) -> io::Result<u64> {
    let text = if key == "tcp" { to.to_owned() } else { format!("http://{to}/") };
    let kind = match key {
        "tcp" => Kind::Tcp(text.parse().map_err(io::Error::other)?),
        _ => {
            let url = text.parse().map_err(io::Error::other)?;
            Kind::Http(Http { url, status: None, body: None, ca: None })
        }
    };
    let began = Instant::now();
    say(orders, &ToProber::Set { probes: vec![probe(0, kind, 200, 250)], accounts: None })?;
    loop {
        let line = lines.recv_timeout(Duration::from_secs(10)).map_err(io::Error::other)?;
        if let FromProber::Health { health: Health::Failing, .. } = line {
            return Ok(began.elapsed().as_millis() as u64);
        }
    }
}

fn say(orders: &mut impl Write, line: &ToProber) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    orders.write_all(&text)
}

fn listen(output: impl Read + Send + 'static) -> Receiver<FromProber> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let Ok(line) = serde_json::from_str(&line) else { continue };
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

struct Running(Child);

impl Running {
    fn start(role: &str) -> io::Result<Running> {
        let mut command = Command::new(std::env::current_exe()?);
        let command = command.arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().map(Running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Cost {
    /// User and system time, in hundredths of a second.
    ticks: u64,
    /// The same as the scheduler has it, all threads that live together.
    ran_ns: u64,
    resident: u64,
    threads: u64,
}

fn cost(child: &Child) -> io::Result<Cost> {
    let folder = format!("/proc/{}", child.id());
    let stat = std::fs::read_to_string(format!("{folder}/stat"))?;
    // After the name, which may contain anything, comes field 3.
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let mut ran_ns = 0;
    for task in std::fs::read_dir(format!("{folder}/task"))? {
        let times = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        ran_ns += times.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    let status = std::fs::read_to_string(format!("{folder}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|kib| kib.trim().split(' ').next()?.parse().ok());
    Ok(Cost {
        ticks: fields[11] + fields[12],
        ran_ns,
        resident: resident.unwrap_or(0),
        threads: fields[17],
    })
}

/// One port that takes connections, one that answers requests; ends with its input.
fn serve() -> io::Result<()> {
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let http = TcpListener::bind("127.0.0.1:0")?;
    println!("{} {}", tcp.local_addr()?.port(), http.local_addr()?.port());
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            drop(stream);
        }
    });
    std::thread::spawn(move || {
        for stream in http.incoming() {
            let Ok(mut stream) = stream else { continue };
            let answer =
                "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{\"ok\":true}";
            if stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
                // Who asked may have seen enough.
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
}
