//! The way back to the recorded writer: what of the own log it does not have, that saved, undone or replaced (S6, D8).

use super::rename::kept_logs;
use super::{RENEWED, RESET_MAX, START_PATIENCE, Steps, Whom, draw};
use crate::database::end::Seen;
use crate::database::facts::{PROCESSES, STREAMS};
use crate::database::fault::Fault;
use crate::database::gtid::Gtid;
use crate::database::keep::{Counts, Keep, KeepFiles, Kept};
use crate::database::line::UnitVerb;
use crate::database::lineage::{self, Parties, Relation};
use crate::database::local::{aside, log_index};
use crate::database::peer::{FollowInfo, Peer, PeerAnswer, PeerRequest};
use crate::database::site::{self, Configured, Site};
use crate::database::{account, binlog, json, rejoin};
use crate::durable;
use regent_core::command::SavedTail;
use regent_core::id::{Incarnation, NodeId};
use regent_core::state::DataCopy;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::net::UnixListener;
use tokio::task::spawn_local;
use tokio::time::Instant;

impl Steps {
    /// D8: by exact look-up in the recorded writer's log. Data whose rewind or copy was not finished are foreign, and
    /// so are those of which nothing is known: a log that began anew gives old names to other rows.
    pub(super) async fn relation(&mut self, writer: DataCopy) -> Result<Relation, Fault> {
        let reading = self.read(None).await?;
        let keep = self.kept()?.agreed();
        if keep.as_ref().is_none_or(|keep| keep.unfinished && !keep.distrusted) {
            return Ok(Relation::FOREIGN);
        }
        let index = log_index(&self.link.settings).await.map_err(Fault::Failed)?;
        // Of data that were only distrusted the log still tells what the writer lacks, if it is the one that was kept.
        if let Some(keep) = keep.filter(|keep| keep.distrusted) {
            let (end, of) = (self.keep.end.clone(), index.clone());
            let goes_on = aside(move || end.goes_on(keep.incarnation, Some(&of)));
            if !goes_on.await.map_err(Fault::Failed)? {
                return Ok(Relation::FOREIGN);
            }
        }
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
        let seen = aside(move || match Seen::of(&read) {
            // Somebody removed it: what is left is saved.
            Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(Seen::default()),
            seen => seen,
        });
        let seen = seen.await.map_err(Fault::Failed)?;
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
        let all = match binlog::files(index) {
            Err(fault) if fault.kind() == ErrorKind::NotFound => Vec::new(),
            all => all.map_err(|fault| Fault::failed(fault.to_string()))?,
        };
        let (all, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|path| path.exists());
        if let Some(path) = gone.first() {
            let (path, count) = (path.display(), gone.len());
            self.link
                .tell(format!("{path} is gone ({count} files of the log are): they are not saved"));
        }
        let tails = self.link.settings.state_dir.join("tails");
        lineage::save(relation, all, &tails, self.parties(writer))
            .await
            .map_err(|fault| Fault::failed(format!("the tail is not saved: {fault}")))
    }

    /// S6, once more, with the server down: what somebody wrote here by hand after the tail had been saved.
    async fn save_rest(&self, writer: DataCopy, way: Way) -> Result<(), Fault> {
        let index = match self.log_index.clone() {
            Some(index) => index,
            None => Configured::read().await.log_index(&self.link.settings.datadir),
        };
        let (seen, read) = (self.seen.clone().unwrap_or_default(), index.clone());
        let rest = match aside(move || Relation::beyond(&seen, &read)).await {
            Ok(rest) => rest,
            Err(fault) => {
                self.link.tell(format!("the log of the old data is not whole: {fault}"));
                // Whatever there is of it, whole.
                return match self.save(&Relation::FOREIGN, &index, writer).await {
                    Ok(saved) => {
                        self.link.tell(format!("what is left of it is saved in {}", saved.path));
                        Ok(())
                    }
                    // Beside the copy it is kept with the data.
                    Err(fault) if way == Way::Beside && self.has_log_inside(&index) => {
                        self.link.tell(format!("it is kept with the old data only: {fault:?}"));
                        Ok(())
                    }
                    Err(fault) => Err(fault),
                };
            }
        };
        if rest.tail.is_empty() {
            return Ok(());
        }
        let saved = self.save(&rest, &index, writer).await?;
        let count = rest.tail.len();
        self.link.tell(format!("{count} more transactions are saved in {}", saved.path));
        Ok(())
    }

    fn has_log_inside(&self, index: &Path) -> bool {
        let folder = index.parent().unwrap_or(Path::new("/"));
        site::real(folder).starts_with(site::real(&self.link.settings.datadir))
    }

    /// The log begins anew at this place, and whoever was being sent the old one is sent away: the server goes on
    /// reading the removed file for it and says nothing. Only now: a replica comes back at once, and would be sent the
    /// old one again.
    pub(super) async fn reset_log(&mut self, state: &[Gtid], place: Gtid) -> Result<(), Fault> {
        self.control()?.client.query(&rejoin::reset_to(state, place), RESET_MAX).await?;
        let processes = self.control()?.run(PROCESSES).await?;
        let streams = processes.columns(["Id", "Command"]).filter(|[_, what]| *what == STREAMS);
        let streams: Vec<String> = streams.map(|[id, _]| id.to_string()).collect();
        for id in streams {
            self.control()?.run_if_allowed(&format!("KILL CONNECTION {id}")).await?;
        }
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
        self.reset_log(&common.state, common.gtid).await?;
        // The log begins anew by our own hand.
        self.begin_end(keep.incarnation, None).await?;
        self.note_renewed(keep.incarnation)?;
        self.write_keep(Keep { unfinished: false, ..keep }).await?;
        self.link.tell(format!("{} transactions undone, back at {}", gtids.len(), common.gtid));
        Ok(())
    }

    /// D8: a fresh copy of the recorded writer's data. Everything is looked at before anything is touched: can the
    /// writer's data be copied, would the copy land where the server looks for it, is there room. It is put together
    /// beside the old data, which serve nobody meanwhile and are moved aside whole at the end (S6); or, where there is
    /// no room for two and somebody allowed it, in their place.
    pub(super) async fn reclone(
        &mut self,
        writer: DataCopy,
        incarnation: Incarnation,
    ) -> Result<(), Fault> {
        let info = self.follow_info(writer).await?;
        let way = self.way_of_copy(&info).await?;
        let link = Rc::clone(&self.link);
        link.tell(match way {
            Way::Beside => format!("taking a copy of node {}", writer.node.0),
            Way::InPlace => {
                format!("taking a copy of node {} in place of the old data", writer.node.0)
            }
        });
        account::adopt_secret(&link.settings.state_dir, &info.password)
            .map_err(|fault| Fault::failed(format!("the password is not kept: {fault}")))?;
        let keep = Keep {
            format: 1,
            writes: 0,
            incarnation,
            mark: true,
            server_id: draw()?,
            start: 0,
            unfinished: true,
            distrusted: false,
            starts: 0,
            counted: 0,
            was: Vec::new(),
        };
        let (keep, state) = match way {
            Way::Beside => {
                let site = self.site()?;
                let staging = aside(move || site.make_staging()).await.map_err(Fault::Failed)?;
                let state = self.fetch(writer, &staging).await?;
                (self.replace_data(keep, writer).await?, state)
            }
            Way::InPlace => self.fetch_in_place(keep, writer).await?,
        };
        let place = end_of(&state)?;
        self.take_control(START_PATIENCE).await?;
        if self.keep.read().agreed().is_none_or(|here| here.incarnation != incarnation) {
            return Err(Fault::failed("somebody exchanged the data while they were copied"));
        }
        let reading = self.read(None).await?;
        self.set_server_id(&keep, &reading).await?;
        self.reset_log(&state, place).await?;
        let start = self.start()?;
        let reading = self.read(None).await?;
        self.write_counts(&Counts::begun(incarnation, start, reading.starts, reading.stops))?;
        self.begin_end(incarnation, None).await?;
        self.note_renewed(incarnation)?;
        self.write_keep(Keep { start, counted: start, unfinished: false, ..keep }).await?;
        link.tell(format!("the copy of node {} is in place, at {place}", writer.node.0));
        self.forget_consent();
        self.give_back();
        Ok(())
    }

    /// These data did not come by following alone: both copies are compared soon.
    fn note_renewed(&mut self, incarnation: Incarnation) -> Result<(), Fault> {
        let path = self.link.settings.state_dir.join(RENEWED);
        let noted =
            json::to_json(&incarnation).and_then(|bytes| durable::replace(&path, &bytes, 0o600));
        noted.map_err(|fault| Fault::failed(format!("the new data are not noted: {fault}")))?;
        self.renewed = Some(incarnation);
        Ok(())
    }

    fn site(&self) -> Result<Site, Fault> {
        let datadir = &self.link.settings.datadir;
        Site::of(datadir).map_err(|fault| Fault::failed(format!("no place for a copy: {fault}")))
    }

    /// Can there be a copy, and where is there room for it? Kept data are given back for it, the oldest first, if that
    /// makes room.
    async fn way_of_copy(&self, info: &FollowInfo) -> Result<Way, Fault> {
        let (room, kept) = self.room_for(info).await?;
        let Some(room) = room else { return Ok(Way::Beside) };
        let may_remove = self.link.settings.copies.in_place || self.has_consent();
        let way = room.way(may_remove, &self.link.settings.datadir)?;
        let site = self.site()?;
        let link = Rc::clone(&self.link);
        let told = aside(move || {
            site.drop_staging()?;
            let mut told = Vec::new();
            for (path, _) in kept {
                if site.free()? >= room.needed {
                    break;
                }
                site::remove_all(&path)?;
                told.push(format!(
                    "no room for a copy: removed replaced data at {}",
                    path.display()
                ));
            }
            Ok(told)
        });
        told.await.map_err(Fault::Failed)?.into_iter().for_each(|text| link.tell(text));
        Ok(way)
    }

    /// What a copy takes and what there is, with everything that could be given back; nothing is touched. None: the
    /// writer does not say how much it has.
    async fn room_for(&self, info: &FollowInfo) -> Result<(Option<Room>, Kepts), Fault> {
        if let Some(why) = &info.no_copy {
            let text = format!("the active node's data cannot be copied: {why}");
            return Err(Fault::Failed(text));
        }
        let settings = &self.link.settings;
        let configured = Configured::read().await;
        if let Some(setting) = site::leads_out(&settings.datadir, |name| configured.value(name)) {
            return Err(Fault::Failed(format!(
                "{setting} leads out of {}: a copy would not land where the server looks; take it out of the server's configuration",
                settings.datadir.display()
            )));
        }
        let site = self.site()?;
        site.expect_as_before(&settings.state_dir)
            .map_err(|fault| Fault::failed(fault.to_string()))?;
        let Some(bytes) = info.bytes else { return Ok((None, Vec::new())) };
        let datadir = settings.datadir.clone();
        let measured = aside(move || {
            let kept = site.kept()?.into_iter().map(|path| {
                let bytes = site::bytes_of(&path)?;
                Ok((path, bytes))
            });
            let kept = kept.collect::<io::Result<Kepts>>()?;
            let staging = site.staging();
            let staged = if staging.exists() { site::bytes_of(&staging)? } else { 0 };
            let spare = staged + kept.iter().map(|(_, bytes)| bytes).sum::<u64>();
            let own = site::extent(&datadir).map_or(0, |own| own.bytes);
            Ok((Room { needed: site::needed(bytes), free: site.free()? + spare, own }, kept))
        });
        let (room, kept) = measured.await.map_err(Fault::Failed)?;
        Ok((Some(room), kept))
    }

    /// The stream, unpacked and prepared in this folder, and owned like the data; the state of the writer's log at the
    /// place where the copy stands.
    async fn fetch(&self, writer: DataCopy, folder: &Path) -> Result<Vec<Gtid>, Fault> {
        self.copy(writer.node, folder).await.map_err(Fault::Failed)?;
        let (file, offset) = rejoin::place_of_copy(folder).map_err(Fault::Failed)?;
        let request = PeerRequest::StateAt { incarnation: writer.incarnation, file, offset };
        match self.link.ask(writer.node, request).await.map_err(Fault::Failed)? {
            PeerAnswer::State { state } => end_of(&state).map(|_| state),
            PeerAnswer::Refused { reason } => Err(Fault::Failed(reason)),
            other @ (PeerAnswer::Survey { .. }
            | PeerAnswer::Found { .. }
            | PeerAnswer::Follow(_)
            | PeerAnswer::Checksum { .. }) => {
                Err(Fault::failed(format!("not an answer to a place: {other:?}")))
            }
        }
    }

    async fn copy(&self, writer: NodeId, folder: &Path) -> Result<(), String> {
        let link = Rc::clone(&self.link);
        let settings = &link.settings;
        let socket: PathBuf = settings.run_dir.join("clone.sock");
        if socket.exists() {
            std::fs::remove_file(&socket).map_err(|fault| fault.to_string())?;
        }
        let listener = UnixListener::bind(&socket).map_err(|fault| fault.to_string())?;
        let telling = Rc::clone(&link);
        let progress = move |bytes: u64| telling.tell(format!("{} MiB copied", bytes >> 20));
        let (unpacked, whole) = tokio::join!(
            rejoin::unpack(listener, folder, progress),
            link.backup(writer, socket.clone())
        );
        // Either may be late; a socket that is left is removed the next time.
        let _ = std::fs::remove_file(&socket);
        whole?;
        unpacked?;
        link.tell("preparing the copy".into());
        rejoin::prepare(folder).await?;
        let (folder, datadir) = (folder.to_path_buf(), settings.datadir.clone());
        aside(move || rejoin::adopt(&folder, &datadir)).await
    }

    /// Ends the server; what its log has beyond what was saved is saved then.
    async fn end_server(&mut self, writer: DataCopy, way: Way) -> Result<(), Fault> {
        self.control = None;
        // Its data are of no use any more. An orderly stop would tell waiting clients that their commit is done (D9),
        // and one in the middle of applying may hang.
        self.link.unit(UnitVerb::Kill).await.map_err(Fault::Failed)?;
        self.save_rest(writer, way).await
    }

    /// Exchanges the directories and starts the server at rest. The copy carries its name before it is in place.
    async fn replace_data(&mut self, keep: Keep, writer: DataCopy) -> Result<Keep, Fault> {
        let old = self.kept()?.agreed();
        let old = old.map_or_else(|| "unnamed".to_string(), |keep| keep.incarnation.to_string());
        self.end_server(writer, Way::Beside).await?;
        let (link, site) = (Rc::clone(&self.link), self.site()?);
        let staged = KeepFiles::new(&site.staging(), &link.settings.state_dir);
        let exchanged = aside(move || Ok((staged.write(keep)?, site.exchange(&old)?)));
        let (keep, kept) = exchanged.await.map_err(Fault::Failed)?;
        self.seen = None;
        link.tell(match kept {
            Some(kept) => format!("the old data are kept at {}", kept.display()),
            None => "there were no old data".into(),
        });
        link.unit(UnitVerb::Start).await.map_err(Fault::Failed)?;
        Ok(keep)
    }

    /// The old data go before the copy comes: their log is saved, the rest is not.
    async fn fetch_in_place(
        &mut self,
        keep: Keep,
        writer: DataCopy,
    ) -> Result<(Keep, Vec<Gtid>), Fault> {
        self.end_server(writer, Way::InPlace).await?;
        let (link, site) = (Rc::clone(&self.link), self.site()?);
        let data = site.data.clone();
        link.tell(format!("removing the old data in {}: there is no room for two", data.display()));
        aside(move || site.clear(rejoin::is_note)).await.map_err(Fault::Failed)?;
        self.seen = None;
        let state = self.fetch(writer, &data).await?;
        let staged = KeepFiles::new(&data, &link.settings.state_dir);
        let keep = aside(move || staged.write(keep)).await.map_err(Fault::Failed)?;
        link.unit(UnitVerb::Start).await.map_err(Fault::Failed)?;
        Ok((keep, state))
    }

    /// Could a copy be taken now? Nothing is touched.
    pub(super) async fn may_copy(&self, writer: DataCopy, in_place: bool) -> Result<(), Fault> {
        let info = self.follow_info(writer).await?;
        let (room, _) = self.room_for(&info).await?;
        let Some(room) = room else { return Ok(()) };
        let may_remove = in_place || self.link.settings.copies.in_place || self.has_consent();
        room.way(may_remove, &self.link.settings.datadir).map(drop)
    }

    /// These data are nobody's copy any more, whatever they are: a copy replaces them. On the disk when this returns.
    pub(super) async fn distrust(&mut self, in_place: bool) -> Result<(), Fault> {
        if in_place {
            durable::replace(&self.consent(), b"", 0o600)
                .map_err(|fault| Fault::failed(fault.to_string()))?;
        }
        // By the two files alone: a server that is down tells nothing of its log.
        match self.keep.read().agreed().filter(|keep| !keep.unfinished) {
            Some(keep) => {
                let keep = Keep { unfinished: true, distrusted: true, ..keep };
                self.write_keep(keep).await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Somebody allowed one copy in place of the old data.
    fn consent(&self) -> PathBuf {
        self.link.settings.state_dir.join("copy-in-place")
    }

    fn has_consent(&self) -> bool {
        self.consent().exists()
    }

    fn forget_consent(&self) {
        if let Err(fault) = std::fs::remove_file(self.consent())
            && fault.kind() != ErrorKind::NotFound
        {
            self.link.tell(format!("{} is not removed: {fault}", self.consent().display()));
        }
    }

    /// Replaced data beyond what is to be kept, by number and by age; each is named before it goes. Beside the steps,
    /// which must not wait for it: it may be much.
    pub(super) fn give_back(&mut self) {
        self.given_back = Some(Instant::now());
        let Ok(site) = self.site() else { return };
        let link = Rc::clone(&self.link);
        let copies = link.settings.copies;
        let index = self.log_index.clone();
        spawn_local(async move {
            let removed = aside(move || {
                let kept = site.kept()?;
                let surplus = kept.len().saturating_sub(copies.keep);
                let mut told = Vec::new();
                for path in index.map_or_else(|| Ok(Vec::new()), |index| kept_logs(&index))? {
                    if path.symlink_metadata()?.ctime_age() > copies.keep_for {
                        site::remove_all(&path)?;
                        told.push(format!("removed an old log at {}", path.display()));
                    }
                }
                for (n, path) in kept.into_iter().enumerate() {
                    // What is kept has not been changed since it was moved aside; the folder itself then was.
                    let age = path.symlink_metadata()?.ctime_age();
                    if n < surplus || age > copies.keep_for {
                        site::remove_all(&path)?;
                        told.push(format!("removed replaced data at {}", path.display()));
                    }
                }
                Ok(told)
            });
            match removed.await {
                Ok(told) => told.into_iter().for_each(|text| link.tell(text)),
                Err(fault) => link.tell(format!("replaced data are not removed: {fault}")),
            }
        });
    }
}

/// Replaced data, and what each takes.
type Kepts = Vec<(PathBuf, u64)>;

/// Where a copy comes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Beside the old data.
    Beside,
    /// Instead of them: they are removed before.
    InPlace,
}

/// What there is, and what it takes.
struct Room {
    needed: u64,
    free: u64,
    /// What the old data take.
    own: u64,
}

impl Room {
    fn way(&self, may_remove: bool, datadir: &Path) -> Result<Way, Fault> {
        let Room { needed, free, own } = *self;
        if free >= needed {
            return Ok(Way::Beside);
        }
        let (wants, has) = (site::size(needed), site::size(free));
        let place = datadir.display();
        if free + own < needed {
            return Err(Fault::Failed(format!(
                "no room for a copy: it takes {wants}, {has} are free beside {place}, and without the old data {}",
                site::size(free + own)
            )));
        }
        if may_remove {
            return Ok(Way::InPlace);
        }
        Err(Fault::Failed(format!(
            "no room for a second copy: it takes {wants}, {has} are free beside {place}; make room, or let the old data go first: regent resync --in-place, or [database] copy-in-place = true"
        )))
    }
}

fn end_of(state: &[Gtid]) -> Result<Gtid, Fault> {
    binlog::last(state, 0)
        .ok_or_else(|| Fault::failed("the copy stands before the first transaction"))
}

/// For how long it has been as it is.
trait Age {
    fn ctime_age(&self) -> Duration;
}

impl Age for std::fs::Metadata {
    fn ctime_age(&self) -> Duration {
        let changed = Duration::from_secs(u64::try_from(self.ctime()).unwrap_or(0));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_decides_where_a_copy_comes_together() {
        let data = Path::new("/data");
        let way = |needed, free, own, may| Room { needed, free, own }.way(may, data);
        assert_eq!(way(10, 10, 0, false), Ok(Way::Beside));
        assert_eq!(way(10, 9, 5, true), Ok(Way::InPlace));
        let Err(Fault::Failed(why)) = way(10 << 20, 9 << 20, 5 << 20, false) else { panic!() };
        assert!(
            why.contains("10 MiB") && why.contains("9 MiB") && why.contains("--in-place"),
            "{why}"
        );
        let Err(Fault::Failed(why)) = way(10 << 20, 3 << 20, 5 << 20, true) else { panic!() };
        assert!(why.contains("without the old data 8 MiB"), "{why}");
    }
}
