//! The way back to the recorded writer: what of the own log it does not have, that saved, undone or replaced (S6, D8).

use super::{RESET_MAX, START_PATIENCE, Steps, Whom, draw};
use crate::database::control::Fault;
use crate::database::end::Seen;
use crate::database::keep::{Counts, Keep, KeepFiles, Kept};
use crate::database::line::UnitVerb;
use crate::database::lineage::{self, Parties, Relation};
use crate::database::peer::{Peer, PeerAnswer, PeerRequest, aside, log_index};
use crate::database::{binlog, rejoin};
use regent_core::command::SavedTail;
use regent_core::id::{Incarnation, NodeId};
use regent_core::state::DataCopy;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::net::UnixListener;

impl Steps {
    /// D8: by exact look-up in the recorded writer's log. Data whose rewind or copy was not finished are foreign, and
    /// so are those of which nothing is known: a log that began anew gives old names to other rows.
    pub(super) async fn relation(&mut self, writer: DataCopy) -> Result<Relation, Fault> {
        let reading = self.read(None).await?;
        if self.kept()?.agreed().is_none_or(|keep| keep.unfinished) {
            return Ok(Relation::FOREIGN);
        }
        let index = log_index(&self.link.settings).await.map_err(Fault::Failed)?;
        let link = Rc::clone(&self.link);
        lineage::compare(index, &reading.end, &*link, writer.node, writer.incarnation)
            .await
            .map_err(Fault::Failed)
    }

    fn parties(&self, writer: DataCopy) -> Parties {
        let incarnation = self.kept().ok().and_then(Kept::agreed).map(|keep| keep.incarnation);
        Parties {
            node: self.link.settings.node,
            incarnation,
            writer: writer.node,
            writer_incarnation: writer.incarnation,
        }
    }

    /// S6: copied, counted, reported, on the disk.
    pub(super) async fn save_tail(&mut self, writer: DataCopy) -> Result<SavedTail, Fault> {
        let index = log_index(&self.link.settings).await.map_err(Fault::Failed)?;
        let read = index.clone();
        // Before the comparison: what comes meanwhile is saved twice rather than not at all.
        let seen = aside(move || Seen::of(&read)).await.map_err(Fault::Failed)?;
        let relation = self.relation(writer).await?;
        let saved = self.save(&relation, &index, writer).await?;
        self.seen = Some(seen);
        Ok(saved)
    }

    async fn save(
        &self,
        relation: &Relation,
        index: &Path,
        writer: DataCopy,
    ) -> Result<SavedTail, Fault> {
        let all = binlog::files(index).map_err(|fault| Fault::failed(fault.to_string()))?;
        let tails = self.link.settings.state_dir.join("tails");
        lineage::save(relation, all, &tails, self.parties(writer))
            .await
            .map_err(|fault| Fault::failed(format!("the tail is not saved: {fault}")))
    }

    /// S6, once more, with the server down: what somebody wrote here by hand after the tail had been saved.
    async fn save_rest(&self, writer: DataCopy) -> Result<(), Fault> {
        let Some(index) = self.log_index.clone() else { return Ok(()) };
        let (seen, read) = (self.seen.clone().unwrap_or_default(), index.clone());
        let rest = aside(move || Relation::beyond(&seen, &read)).await.map_err(Fault::Failed)?;
        if rest.tail.is_empty() {
            return Ok(());
        }
        let saved = self.save(&rest, &index, writer).await?;
        let count = rest.tail.len();
        self.link.tell(format!("{count} more transactions are saved in {}", saved.path));
        Ok(())
    }

    /// D8: undoes the tail in place; only rows, only what is saved, only with nobody at work. Anything that
    /// goes wrong
    /// after the first undo leaves the data marked as unfinished: then only a fresh copy helps.
    pub(super) async fn rewind(&mut self, writer: DataCopy) -> Result<(), Fault> {
        let relation = self.relation(writer).await?;
        let Some(common) = &relation.common else {
            return Err(Fault::failed("there is no common point: only a fresh copy helps"));
        };
        if relation.tail.is_empty() {
            return Ok(());
        }
        if relation.tail.iter().any(|group| !group.rows_only) {
            return Err(Fault::failed("the tail has more than rows: only a fresh copy helps"));
        }
        let keep = self.kept()?.agreed().filter(|keep| keep.mark);
        let keep = keep.ok_or_else(|| Fault::failed("the data do not carry a follower's mark"))?;
        let gtids: Vec<_> = relation.tail.iter().map(|group| group.gtid).collect();
        let tails = self.link.settings.state_dir.join("tails");
        let parties = self.parties(writer);
        let saved = lineage::find_saved(&tails, Some(common.gtid), &gtids, parties);
        let saved = saved.ok_or_else(|| Fault::failed("the tail is not saved"))?;
        self.stop_both().await?;
        self.send_clients_away(Whom::All).await?;
        let keep = self.write_keep(Keep { unfinished: true, ..keep }).await?;
        rejoin::undo(common, &saved, &self.link.settings).await.map_err(Fault::Failed)?;
        let reset = rejoin::reset_to(&common.state, common.gtid);
        self.control()?.client.query(&reset, RESET_MAX).await?;
        // The log begins anew by our own hand.
        self.begin_end(keep.incarnation, None).await?;
        self.write_keep(Keep { unfinished: false, ..keep }).await?;
        self.link.tell(format!("{} transactions undone, back at {}", gtids.len(), common.gtid));
        Ok(())
    }

    /// D8: a fresh copy of the recorded writer's data. It is put together beside the old data, which serve nobody
    /// meanwhile and are moved aside whole at the end (S6).
    pub(super) async fn reclone(
        &mut self,
        writer: DataCopy,
        incarnation: Incarnation,
    ) -> Result<(), Fault> {
        self.follow_info(writer).await?;
        let link = Rc::clone(&self.link);
        link.tell(format!("taking a copy of node {}", writer.node.0));
        self.copy(writer.node).await.map_err(Fault::Failed)?;
        let staging = rejoin::staging(&link.settings);
        let (file, offset) = rejoin::place_of_copy(&staging).map_err(Fault::Failed)?;
        let request = PeerRequest::StateAt { incarnation: writer.incarnation, file, offset };
        let state = match link.ask(writer.node, request).await.map_err(Fault::Failed)? {
            PeerAnswer::State { state } => state,
            PeerAnswer::Refused { reason } => return Err(Fault::Failed(reason)),
            other @ (PeerAnswer::Found { .. } | PeerAnswer::Follow(_)) => {
                return Err(Fault::failed(format!("not an answer to a place: {other:?}")));
            }
        };
        let place = binlog::last(&state, 0)
            .ok_or_else(|| Fault::failed("the copy stands before the first transaction"))?;
        let mut keep = Keep {
            format: 1,
            writes: 0,
            incarnation,
            mark: true,
            server_id: draw()?,
            start: 0,
            unfinished: true,
            starts: 0,
            counted: 0,
        };
        keep = self.replace_data(keep, writer).await?;
        self.take_control(START_PATIENCE).await?;
        let reading = self.read(None).await?;
        self.set_server_id(&keep, &reading).await?;
        let reset = rejoin::reset_to(&state, place);
        self.control()?.client.query(&reset, RESET_MAX).await?;
        let start = self.start()?;
        let reading = self.read(None).await?;
        self.write_counts(&Counts::begun(incarnation, start, reading.starts, reading.stops))?;
        self.begin_end(incarnation, None).await?;
        self.write_keep(Keep { start, counted: start, unfinished: false, ..keep }).await?;
        link.tell(format!("the copy of node {} is in place, at {place}", writer.node.0));
        self.drop_surplus();
        Ok(())
    }

    /// The stream, unpacked and prepared beside the data directory, owned like it.
    async fn copy(&self, writer: NodeId) -> Result<(), String> {
        let link = Rc::clone(&self.link);
        let settings = &link.settings;
        let staging = rejoin::make_staging(settings).map_err(|fault| fault.to_string())?;
        let socket: PathBuf = settings.run_dir.join("clone.sock");
        if socket.exists() {
            std::fs::remove_file(&socket).map_err(|fault| fault.to_string())?;
        }
        let listener = UnixListener::bind(&socket).map_err(|fault| fault.to_string())?;
        let telling = Rc::clone(&link);
        let progress = move |bytes: u64| telling.tell(format!("{} MiB copied", bytes >> 20));
        let (unpacked, whole) = tokio::join!(
            rejoin::unpack(listener, &staging, progress),
            link.backup(writer, socket.clone())
        );
        // Either may be late; a socket that is left is removed the next time.
        let _ = std::fs::remove_file(&socket);
        whole?;
        unpacked?;
        link.tell("preparing the copy".into());
        rejoin::prepare(&staging).await?;
        let datadir = settings.datadir.clone();
        aside(move || rejoin::adopt(&staging, &datadir)).await
    }

    /// Stops the server, exchanges the directories, starts it at rest. The copy carries its name before it is
    /// in place.
    async fn replace_data(&mut self, keep: Keep, writer: DataCopy) -> Result<Keep, Fault> {
        let link = Rc::clone(&self.link);
        let old = self.kept()?.agreed();
        let old = old.map_or_else(|| "unnamed".to_string(), |keep| keep.incarnation.to_string());
        let quiet = match self.read(None).await {
            Ok(reading) => reading.read_only && reading.waiting == 0,
            Err(_) => false,
        };
        self.control = None;
        // An orderly stop would tell waiting clients that their commit is done (D9).
        let verb = if quiet { UnitVerb::Stop } else { UnitVerb::Kill };
        link.unit(verb).await.map_err(Fault::Failed)?;
        self.save_rest(writer).await?;
        let settings = link.settings.clone();
        let staged = KeepFiles::new(&rejoin::staging(&settings), &settings.state_dir);
        let exchanged = aside(move || {
            let keep = staged.write(keep)?;
            let kept = rejoin::exchange(&settings, &old)?;
            Ok((keep, kept))
        });
        let (keep, kept) = exchanged.await.map_err(Fault::Failed)?;
        self.seen = None;
        link.tell(format!("the old data are kept at {}", kept.display()));
        link.unit(UnitVerb::Start).await.map_err(Fault::Failed)?;
        Ok(keep)
    }

    /// Old data directories beyond the newest two, each named before it goes.
    fn drop_surplus(&self) {
        let surplus = rejoin::surplus(&self.link.settings).unwrap_or_default();
        for path in surplus {
            self.link.tell(format!("removing replaced data at {}", path.display()));
            if let Err(fault) = std::fs::remove_dir_all(&path) {
                self.link.tell(format!("{} is not removed: {fault}", path.display()));
            }
        }
    }
}
