//! `regent keepalived`: keepalived's file on this host, shown, compared, repaired. Needs no agent.

use crate::config;
use crate::host::real::vrrp;
use crate::place::Place;
use crate::tls;
use regent_adapters::keepalived::{self, Files, KeepalivedError, Laid, Vrrp, Whose};
use regent_api::exit::Exit;
use regent_config::settings::Driver;
use std::path::Path;

/// What is asked about the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// The file as it is, and whose it is.
    Show,
    /// Where it differs from what Regent renders.
    Diff,
    /// Render it anew; what was there by somebody else's hand is saved aside.
    Repair,
}

/// Answers; the text goes to stdout if the exit code is `Ok` or `Degraded`, else it is an error.
pub(crate) fn answer(ask: Ask, config: &Path) -> (Exit, String) {
    let vrrp = match here(config) {
        Ok(vrrp) => vrrp,
        Err(why) => return (Exit::Configuration, why),
    };
    let answer = answer_of(ask, &vrrp, &Files::default());
    answer.unwrap_or_else(|error| (Exit::Internal, format!("failed to {error}")))
}

/// What keepalived is to do on this host.
fn here(config: &Path) -> Result<Vrrp, String> {
    let settings = config::load(config).map_err(|problems| problems.to_string())?;
    let Driver::Keepalived(told) = settings.driver else {
        return Err("the driver of the virtual addresses is the native one; nothing of keepalived is Regent's \
                    here (driver = \"keepalived\" under [vip])"
            .into());
    };
    let known = settings.members.iter().map(|m| m.name.as_str());
    let identity = tls::load(&Place::default().tls, known)
        .map_err(|error| format!("{error}\n  what to do: {}", error.remedy()))?;
    let me = settings.member(&identity.name).filter(|me| !me.witness);
    let me = me.ok_or("a witness has no virtual addresses")?;
    Ok(vrrp(&settings, me, told))
}

fn answer_of(ask: Ask, vrrp: &Vrrp, files: &Files) -> Result<(Exit, String), KeepalivedError> {
    let path = files.config.display();
    Ok(match ask {
        Ask::Show => {
            let shown = keepalived::show(vrrp, files)?;
            let whose = match (shown.whose, &shown.drift) {
                (None, _) => "is not there".to_owned(),
                (Some(Whose::Foreign), _) => "is not Regent's".to_owned(),
                (Some(Whose::Edited), _) => "is Regent's, and was edited".to_owned(),
                (Some(Whose::Rendered), Some(_)) => "is of earlier settings".to_owned(),
                (Some(Whose::Rendered), None) => "is as rendered".to_owned(),
            };
            (Exit::Ok, format!("{path} {whose}\n\n{}", shown.text.unwrap_or_default()))
        }
        Ask::Diff => match keepalived::show(vrrp, files)?.drift {
            None => (Exit::Ok, format!("{path} is as rendered\n")),
            Some(lines) => {
                let head = format!("{path}: '-' is rendered and missing there, '+' is there only");
                (Exit::Degraded, format!("{head}\n{}\n", lines.join("\n")))
            }
        },
        Ask::Repair => match keepalived::repair(vrrp, files)? {
            Laid::AlreadySo => (Exit::Ok, format!("{path} is as rendered\n")),
            Laid::Written => (Exit::Ok, format!("{path} is rendered anew\n")),
            Laid::Saved(aside) => {
                let text =
                    format!("{path} is rendered anew; what was there is {}\n", aside.display());
                (Exit::Ok, text)
            }
            Laid::Left(lines) => (Exit::Degraded, lines.join("\n") + "\n"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use regent_core::time::Span;

    #[test]
    fn an_edited_file_is_shown_compared_and_repaired() {
        let scratch = Scratch::new("keepalived");
        let run = scratch.path().to_owned();
        let files = Files { config: run.join("keepalived.conf"), run, unit: None };
        let vrrp = Vrrp {
            interface: "lo".into(),
            addresses: vec![("192.0.2.100".parse().unwrap(), 24)],
            router_id: 100,
            advert_interval: Span::millis(10),
            own: "192.0.2.1".parse().unwrap(),
            peers: vec!["192.0.2.2".parse().unwrap()],
        };
        let ask = |ask| answer_of(ask, &vrrp, &files).unwrap();
        assert!(ask(Ask::Show).1.contains("is not there"));
        assert_eq!(ask(Ask::Diff).0, Exit::Degraded);
        assert!(ask(Ask::Repair).1.contains("is rendered anew"));
        assert_eq!(ask(Ask::Diff).0, Exit::Ok);
        let rendered = std::fs::read_to_string(&files.config).unwrap();
        std::fs::write(&files.config, rendered.replace("id 100", "id 101")).unwrap();
        let (exit, text) = ask(Ask::Diff);
        assert_eq!(exit, Exit::Degraded);
        assert!(text.contains("+     virtual_router_id 101"), "{text}");
        assert!(ask(Ask::Show).1.contains("was edited"));
        assert!(ask(Ask::Repair).1.contains("keepalived.conf.edited"));
        assert_eq!(ask(Ask::Repair), (Exit::Ok, ask(Ask::Diff).1), "as rendered");
        assert!(ask(Ask::Show).1.ends_with(&rendered));
    }
}
