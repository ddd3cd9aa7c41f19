//! A client of the name server on the VIP that asks for one name all the time. No answer is a pause; an answer that the
//! name does not exist is a lie, which resolvers keep.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::lab::{Lab, VIP};
use crate::run::now_us;

/// Between two questions.
const EVERY: Duration = Duration::from_millis(50);
/// For an answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// RFC 1035, section 4.1.1: NXDOMAIN, in the low bits of the fourth byte.
const NAME_ERROR: u8 = 3;

/// It asks until it is dropped.
#[derive(Debug)]
pub struct Names {
    seen: Arc<Mutex<Vec<Answer>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One answer: when, its response code, and how many records it has.
#[derive(Debug, Clone, Copy)]
struct Answer {
    at: u64,
    code: u8,
    records: u16,
}

impl Names {
    /// Begins, as a client on the network.
    pub fn start(lab: &Lab, name: &str) -> Result<Names> {
        let namespace = File::open(format!("/run/netns/{}", lab.client_ns()))?;
        let question = question(name);
        let seen: Arc<Mutex<Vec<Answer>>> = Arc::default();
        let end = Arc::new(AtomicBool::new(false));
        let (tape, is_over) = (Arc::clone(&seen), Arc::clone(&end));
        let thread = std::thread::Builder::new().name("names".into()).spawn(move || {
            // Sockets belong to the namespace in which they are made; only this thread goes there.
            let net = Some(LinkNameSpaceType::Network);
            if move_into_link_name_space(namespace.as_fd(), net).is_err() {
                return;
            }
            let vip: Ipv4Addr = VIP.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
            while !is_over.load(Ordering::SeqCst) {
                if let Some(answer) = ask(vip, &question) {
                    locked(&tape).push(answer);
                }
                std::thread::sleep(EVERY);
            }
        })?;
        Ok(Names { seen, end, thread: Some(thread) })
    }

    /// Since then it was answered, and every answer had the name.
    pub fn expect_true(&self, from: u64) -> Result<()> {
        let seen = locked(&self.seen);
        let since: Vec<&Answer> = seen.iter().filter(|answer| answer.at >= from).collect();
        let lies = since.iter().filter(|answer| answer.code == NAME_ERROR || answer.records == 0);
        let lies: Vec<u64> = lies.map(|answer| (answer.at - from) / 1000).collect();
        ensure!(!since.is_empty(), "the name server on the VIP did not answer at all");
        ensure!(
            lies.is_empty(),
            "{} of {} answers say that the name does not exist, {lies:?} ms after the beginning",
            lies.len(),
            since.len()
        );
        Ok(())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Its end is all that matters.
            let _ = thread.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A question of RFC 1035 for the address of this name.
fn question(name: &str) -> Vec<u8> {
    let mut packet = vec![0x52, 0x67, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

fn ask(vip: Ipv4Addr, question: &[u8]) -> Option<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.connect((vip, 53)).ok()?;
    socket.send(question).ok()?;
    let mut packet = [0; 512];
    let length = socket.recv(&mut packet).ok()?;
    let head = packet.get(..length.min(12)).filter(|head| head.len() == 12)?;
    let records = u16::from_be_bytes([head[6], head[7]]);
    Some(Answer { at: now_us(), code: head[3] & 0x0f, records })
}
