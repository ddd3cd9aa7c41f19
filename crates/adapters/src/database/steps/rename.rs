//! A log that began anew under data that have everything: begun once more by our own hand, under another name (D12).

use super::{Steps, draw};
use crate::database::control::Fault;
use crate::database::gtid::Gtid;
use crate::database::keep::{Counts, Keep, Kept};
use crate::database::rejoin;
use regent_core::command::StepResult;
use regent_core::id::Incarnation;
use std::time::Duration;

/// Files of gigabytes are removed, after what they hold was written out.
const RESET_MAX: Duration = Duration::from_secs(600);
/// The whole of a cluster of ours writes in this domain.
const DOMAIN: u32 = 0;

impl Steps {
    /// Nothing is touched unless it is this very start of the server that control was taken of while the log was whole:
    /// then nobody exchanged the tables. Sessions write under the old server id, so all are ended: before, where no
    /// commit waits for a replica, so that their locks and statements hold nothing up; and after read-only was answered
    /// (D9). The new log goes on from the old numbers, and its first name is nobody else's.
    pub(super) async fn rename(&mut self, incarnation: Incarnation) -> Result<StepResult, Fault> {
        let reading = self.read(None).await?;
        let start = self.start()?;
        let keep = match self.kept()? {
            // An earlier try came to its end, and its answer was lost.
            Kept::Agreed(keep) if keep.incarnation == incarnation => {
                self.set_server_id(&keep, &reading).await?;
                return Ok(StepResult::Done);
            }
            Kept::Agreed(_) => return Err(Fault::failed("the log goes on: its data have a name")),
            Kept::LogBegan(keep) if !keep.names_of(start).is_empty() => keep,
            Kept::LogBegan(_) | Kept::Missing | Kept::Disagree { .. } => {
                return Err(Fault::failed("nothing shows that these data have everything"));
            }
        };
        if !reading.enabled {
            self.end_sessions().await?;
        }
        match self.read_only().await? {
            StepResult::Done => {}
            other @ (StepResult::Blocked
            | StepResult::NoAnswer
            | StepResult::Down
            | StepResult::Failed(_)
            | StepResult::Lineage(_)
            | StepResult::Saved(_)) => return Ok(other),
        }
        let reading = self.read(None).await?;
        if reading.waiting > 0 {
            return Err(Fault::failed("commits wait"));
        }
        self.note_sessions(true)?;
        let server_id = draw()?;
        let ends = reading.end.iter().copied().chain(self.keep.end.gtid(keep.incarnation));
        let number = ends.map(|gtid| gtid.number).max().unwrap_or(0) + 1;
        let first = Gtid { domain: DOMAIN, server: server_id, number };
        let reset = rejoin::reset_to(&[], first);
        self.control()?.client.query(&reset, RESET_MAX).await?;
        let was = keep.incarnation;
        let named = Keep {
            incarnation,
            server_id,
            was: keep.names_of(start),
            mark: false,
            start,
            counted: start,
            ..keep
        };
        self.begin_end(incarnation, Some(was)).await?;
        self.write_counts(&Counts::begun(incarnation, start, reading.starts, reading.stops))?;
        let named = self.write_keep(named).await?;
        let reading = self.read(None).await?;
        self.set_server_id(&named, &reading).await?;
        self.renew_sessions().await?;
        self.link.tell(format!("the log begins anew at {first}, as incarnation {incarnation}"));
        Ok(StepResult::Done)
    }
}
