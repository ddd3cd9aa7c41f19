//! Clients that write through the VIP, and some that write past it, straight into a host's database.

use crate::host::{MEMBERS, NAMES};
use crate::net::CLIENTS;
use crate::world::{Event, World};
use std::collections::BTreeMap;

/// A client gives an attempt up after this.
const PATIENCE: u64 = 300_000_000;
/// After an error it tries again this soon.
const AGAIN: (u64, u64) = (10_000_000, 40_000_000);
/// Outages longer than this are told.
const OUTAGE: u64 = 250_000_000;

/// All clients.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// Between two writes of one client.
    pub period: (u64, u64),
    /// What each waits for.
    current: Vec<Option<u64>>,
    writes: BTreeMap<u64, Write>,
    made: u64,
    /// Writes answered with OK, as clients heard it.
    pub acknowledged: u64,
    /// When the last of them was.
    pub last: Option<u64>,
    /// The longest time between two of them.
    pub gap: u64,
    /// Who answered it.
    server: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    /// Which client; none wrote past the VIP.
    client: Option<usize>,
    host: Option<usize>,
}

impl Clients {
    /// So many clients, each this often.
    pub fn new(count: usize, period: (u64, u64)) -> Clients {
        Clients { period, current: vec![None; count], ..Clients::default() }
    }

    /// They write so seldom that none is missed.
    pub fn is_seldom(&self) -> bool {
        self.period.0 > PATIENCE
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.current.len()
    }
}

impl World {
    /// A client begins its next write.
    pub fn client_turn(&mut self, client: usize) {
        self.clients.made += 1;
        let write = self.clients.made;
        self.clients.current[client] = Some(write);
        let now = self.now;
        let open: Vec<usize> = MEMBERS
            .into_iter()
            .filter(|host| self.hosts[*host].answers(now) && self.net.is_whole(CLIENTS, *host))
            .collect();
        let host = if open.is_empty() { None } else { Some(self.rng.pick(&open)) };
        self.clients.writes.insert(write, Write { client: Some(client), host });
        if let Some(host) = host {
            let delay = self.net.delay(&mut self.rng);
            self.after(delay, Event::ClientWrite { write, host });
        }
        self.after(PATIENCE, Event::ClientPatience { client, write });
    }

    /// A write arrives at a host.
    pub fn client_write(&mut self, write: u64, host: usize) {
        let through = self.clients.writes.get(&write).is_some_and(|w| w.client.is_some());
        if !self.hosts[host].powered || self.hosts[host].paused.is_some() {
            return;
        }
        if through && !self.hosts[host].answers(self.now) {
            return;
        }
        let stalled = self.hosts[host].database.server.as_ref().map_or(0, |server| server.stalled);
        if stalled > self.now {
            let at = stalled + self.rng.below(300_000);
            return self.at(at, Event::ClientWrite { write, host });
        }
        self.with_database(host, |database, ledger, rng, out| {
            database.write(write, ledger, rng, out)
        });
    }

    /// A database answers a write; through the VIP the answer needs an open gate, too.
    pub fn answer_client(&mut self, host: usize, write: u64, good: bool) {
        let Some(entry) = self.clients.writes.get(&write) else { return };
        if entry.client.is_none() {
            self.clients.writes.remove(&write);
            return;
        }
        if self.hosts[host].answers(self.now) && self.net.passes(host, CLIENTS) {
            let delay = self.net.delay(&mut self.rng);
            self.after(delay, Event::ClientAnswer { write, good, host });
        }
    }

    /// The client hears it.
    pub fn client_answer(&mut self, write: u64, good: bool, host: usize) {
        let now = self.now;
        let Some(client) = self.clients.writes.remove(&write).and_then(|write| write.client) else {
            return;
        };
        if self.clients.current[client] != Some(write) {
            return;
        }
        self.clients.current[client] = None;
        if !good {
            let after = self.rng.range(AGAIN.0, AGAIN.1);
            return self.after(after, Event::ClientTurn { client });
        }
        self.clients.acknowledged += 1;
        let gap = now - self.clients.last.replace(now).unwrap_or(now);
        self.clients.gap = self.clients.gap.max(gap);
        let moved = self.clients.server.replace(host) != Some(host);
        if moved || gap > OUTAGE {
            self.log.tell(now, NAMES[host], "client", || {
                format!("writes are acknowledged here, after {} ms", gap / 1_000_000)
            });
        }
        let after = self.rng.range(self.clients.period.0, self.clients.period.1);
        self.after(after, Event::ClientTurn { client });
    }

    /// The client has waited long enough.
    pub fn client_patience(&mut self, client: usize, write: u64) {
        if self.clients.current[client] == Some(write) {
            self.clients.current[client] = None;
            let after = self.rng.range(1_000_000, 5_000_000);
            self.after(after, Event::ClientTurn { client });
        }
        self.clients.writes.remove(&write);
    }

    /// Sockets of the VIP were destroyed: clients see a reset, commits go on waiting.
    pub fn reset_clients(&mut self, host: usize) {
        let cut: Vec<(u64, usize)> = self
            .clients
            .writes
            .iter()
            .filter(|(_, write)| write.host == Some(host))
            .filter_map(|(id, write)| Some((*id, write.client?)))
            .collect();
        for (write, client) in cut {
            self.clients.writes.remove(&write);
            if self.clients.current[client] == Some(write) {
                self.clients.current[client] = None;
                let after = self.rng.range(AGAIN.0, AGAIN.1);
                self.after(after, Event::ClientTurn { client });
            }
        }
    }

    /// Somebody writes past the VIP.
    pub fn stray_write(&mut self) {
        let host = self.rng.pick(&MEMBERS);
        self.clients.made += 1;
        let write = self.clients.made;
        self.clients.writes.insert(write, Write { client: None, host: Some(host) });
        self.client_write(write, host);
        let after = self.rng.range(100_000_000, 600_000_000);
        self.after(after, Event::Stray);
    }
}
