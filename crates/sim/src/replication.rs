//! Replication connections between hosts: in order, sent again after a cut, ended by either side or by time.

use crate::database::{DbEvent, Stream};
use crate::world::{Event, World};
use std::collections::VecDeque;

/// A connection that could not deliver for so long is given up by both sides.
const GIVE_UP: u64 = 4_000_000_000;
/// A follower whose writer's host vanished notices after this.
const NOTICE: (u64, u64) = (1_500_000_000, 4_000_000_000);

/// One connection; side 0 is the follower, side 1 the writer.
#[derive(Clone, Debug)]
pub struct Connection {
    hosts: [usize; 2],
    starts: [u64; 2],
    queues: [VecDeque<Stream>; 2],
    /// This side hung up, and hears no more.
    closed: [bool; 2],
    pumping: [bool; 2],
    blocked: [Option<u64>; 2],
}

impl World {
    /// A receiver looks for its source.
    pub fn connect(&mut self, host: usize) {
        let Some(server) = &self.hosts[host].database.server else { return };
        let start = server.start;
        let Some(source) = self.hosts[host].database.files.source else { return };
        let writer = usize::from(source.0) - 1;
        let there = self.hosts[writer].database.server.as_ref().map(|server| server.start);
        let reachable = self.hosts[writer].powered
            && self.hosts[writer].paused.is_none()
            && self.net.is_whole(host, writer);
        let (Some(there), true) = (there, reachable && writer != host) else {
            // MASTER_CONNECT_RETRY is in whole seconds.
            let event = DbEvent::Connect(self.hosts[host].database.tries);
            return self.after(1_000_000_000, Event::Database { host, start, event });
        };
        self.connections_made += 1;
        let id = self.connections_made;
        let connection = Connection {
            hosts: [host, writer],
            starts: [start, there],
            queues: [VecDeque::new(), VecDeque::new()],
            closed: [false; 2],
            pumping: [false; 2],
            blocked: [None; 2],
        };
        self.connections.insert(id, connection);
        let position = self.hosts[host].database.attach(id, &self.ledger);
        let from = self.hosts[host].node;
        self.send_stream(host, id, Stream::Attach { from, position });
    }

    /// A server says something on a connection.
    pub fn send_stream(&mut self, host: usize, id: u64, stream: Stream) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let to = usize::from(connection.hosts[0] == host);
        if connection.closed[1 - to] {
            return;
        }
        connection.queues[to].push_back(stream);
        self.pump_later(id, to);
    }

    fn pump_later(&mut self, id: u64, to: usize) {
        let delay = self.net.delay(&mut self.rng);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !std::mem::replace(&mut connection.pumping[to], true) {
            self.after(delay, Event::Pump { connection: id, to });
        }
    }

    /// The next message of a connection arrives, unless it cannot.
    pub fn pump(&mut self, id: u64, to: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.pumping[to] = false;
        let (here, there) = (connection.hosts[to], connection.hosts[1 - to]);
        let server = self.hosts[here].database.server.as_ref();
        let lives = server.is_some_and(|server| server.start == connection.starts[to]);
        let stalled = server.is_some_and(|server| server.stalled > now);
        let silent = !self.hosts[here].powered
            || self.hosts[here].paused.is_some()
            || !self.net.passes(there, here);
        if silent || (lives && stalled) {
            let since = *connection.blocked[to].get_or_insert(now);
            if silent && now - since > GIVE_UP {
                return self.drop_connection(id);
            }
            connection.pumping[to] = true;
            let again = self.rng.range(5_000_000, 120_000_000);
            return self.after(again, Event::Pump { connection: id, to });
        }
        connection.blocked[to] = None;
        if !lives {
            return self.drop_connection(id);
        }
        let Some(stream) = connection.queues[to].pop_front() else { return };
        let more = !connection.queues[to].is_empty();
        let heard = !connection.closed[to];
        let ends = stream == Stream::End;
        if heard {
            self.with_database(here, |database, ledger, rng, out| {
                database.hear(id, stream, ledger, rng, out);
            });
        }
        if ends {
            self.connections.remove(&id);
        } else if more {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            connection.pumping[to] = true;
            let after = self.rng.range(1_000, 30_000);
            self.after(after, Event::Pump { connection: id, to });
        }
    }

    /// One side hangs up: what it sent before still arrives.
    pub fn hang_up(&mut self, host: usize, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let to = usize::from(connection.hosts[0] == host);
        connection.closed[1 - to] = true;
        connection.queues[to].push_back(Stream::End);
        self.pump_later(id, to);
    }

    /// Both sides give a connection up.
    fn drop_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        for side in 0..2 {
            let host = connection.hosts[side];
            let server = self.hosts[host].database.server.as_ref();
            let lives = server.is_some_and(|server| server.start == connection.starts[side]);
            if lives && !connection.closed[side] {
                self.with_database(host, |database, ledger, rng, out| {
                    database.hear(id, Stream::End, ledger, rng, out);
                });
            }
        }
    }

    /// A host lost power: its connections are silent, and the other side notices late.
    pub fn silence_connections(&mut self, host: usize) {
        let lost: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.hosts.contains(&host))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            let after = self.rng.range(NOTICE.0, NOTICE.1);
            self.after(after, Event::Lost { connection: id });
        }
    }

    /// It noticed.
    pub fn lost(&mut self, id: u64) {
        self.drop_connection(id);
    }

    /// Does a replica confirm what this server streams?
    pub fn confirming_replica(&self, host: usize) -> Option<usize> {
        let server = self.hosts[host].database.server.as_ref()?;
        server.dumps.iter().find_map(|dump| {
            let connection = self.connections.get(&dump.connection)?;
            let follower = connection.hosts[0];
            let there = self.hosts[follower].database.server.as_ref()?;
            (there.connection == Some(dump.connection)).then_some(follower)
        })
    }
}
