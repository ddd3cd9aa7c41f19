//! Word of every change of an interface, from the kernel: whoever looks at links looks again at once. What is missed
//! costs nothing but time, because links are looked at now and then in any case.

use crate::netlink::Socket;
use crate::stoppable::{Stop, Stoppable};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// RTMGRP_LINK.
const GROUP: u32 = 1;
/// Between two times that it is told: a host that makes a hundred interfaces is no reason for a hundred looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Who listens gets word; it ends when this is dropped.
pub(crate) struct Changes {
    told: watch::Sender<u64>,
    _thread: Stoppable,
}

impl Changes {
    /// Begins to listen, on a thread of its own.
    pub(crate) fn listen() -> io::Result<Changes> {
        let (told, _) = watch::channel(0);
        let socket = Socket::route_word(GROUP)?;
        let stop = Stop::new()?;
        let (stopped, teller) = (stop.theirs()?, told.clone());
        let _thread = stop.start("link-watch", move || pass_on(socket, &stopped, &teller))?;
        Ok(Changes { told, _thread })
    }

    /// Changes whenever a link may have.
    pub(crate) fn word(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}

fn pass_on(mut socket: Socket, stopped: &OwnedFd, told: &watch::Sender<u64>) {
    loop {
        let mut fds = [
            PollFd::new(stopped, PollFlags::IN),
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !fds[0].revents().is_empty() => return,
            Ok(_) => {}
        }
        // What it says is asked for anew, and what a burst has overrun is a change as well.
        while matches!(socket.receive(Instant::now()), Ok(Some(_))) {}
        told.send_modify(|count| *count += 1);
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use crate::probe::line::{FromProber, ToProber};
    use crate::probe::worker;
    use crate::testing::{INTERFACE, Segment, segment};
    use regent_config::probe::{Kind, Probe};
    use regent_core::health::{Counts, Health, ProbeId};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    /// A prober on host 1 that would look at the link every five seconds; what it says of it.
    fn prober(on: &Segment, until: Receiver<()>) -> Receiver<(Health, String)> {
        let (tell, told) = channel();
        on.on(1, || {
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let (mut orders, input) = tokio::io::duplex(1 << 16);
                    let (output, lines) = tokio::io::duplex(1 << 16);
                    let probe = Probe {
                        id: ProbeId(0),
                        kind: Kind::Link(INTERFACE.into()),
                        interval_ms: 5_000,
                        timeout_ms: 250,
                        rise: 2,
                        fall: 3,
                        counts: Counts::Always,
                        unit: None,
                    };
                    let set = ToProber::Set { probes: vec![probe], accounts: None };
                    let mut line = serde_json::to_vec(&set).unwrap();
                    line.push(b'\n');
                    orders.write_all(&line).await.unwrap();
                    let mut lines = BufReader::new(lines).lines();
                    let read = async {
                        while let Ok(Some(line)) = lines.next_line().await {
                            let line = serde_json::from_str(&line).unwrap();
                            if let FromProber::Health { health, why, .. } = line {
                                tell.send((health, why)).unwrap();
                            }
                            if until.try_recv().is_ok() {
                                return;
                            }
                        }
                    };
                    tokio::select! {
                        _ = worker::run(input, output) => {}
                        () = read => {}
                    }
                });
                runtime.shutdown_background();
            });
        });
        told
    }

    #[test]
    fn a_carrier_that_goes_or_comes_is_told_at_once_and_a_blink_is_not() {
        let Some(segment) = segment(&[1, 2]) else { return };
        let (stop, until) = channel();
        let told = prober(&segment, until);
        let within = |bound: u64, wanted: Health| {
            let began = Instant::now();
            let (health, why) = told.recv_timeout(Duration::from_millis(bound)).unwrap();
            let took = began.elapsed();
            assert_eq!(health, wanted, "{why}");
            println!("{health:?} after {took:?}: {why}");
            (took, why)
        };
        within(10_000, Health::Passing);
        let port = |word: &str| segment.sh(0, &format!("ip link set p1 {word}"));
        for _ in 0..3 {
            port("down");
            let (took, why) = within(4_000, Health::Failing);
            assert_eq!(why, "eth0 has no carrier");
            // By looking now and then it would have taken ten seconds at the least.
            assert!(took < Duration::from_millis(1_500), "{took:?}");
            port("up");
            within(4_000, Health::Passing);
        }
        // Two looks in a row must agree with the first.
        segment.sh(0, "ip link set p1 down; ip link set p1 up");
        let blink = told.recv_timeout(Duration::from_millis(500));
        assert!(blink.is_err(), "{blink:?}");
        stop.send(()).unwrap();
    }
}
