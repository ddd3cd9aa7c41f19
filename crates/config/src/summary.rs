//! A valid configuration in a few lines, for people.

use super::profile;
use super::settings::{Driver, Settings, Topology};
use super::timing::{UNTIL_RELEASED, UNTIL_RELEASED_TEXT};
use regent_core::health::Weight;

impl Settings {
    /// What `regent config check` says of a valid configuration.
    pub fn summary(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .map(|m| format!("{}{}", m.name, if m.witness { " (witness)" } else { "" }))
            .collect();
        let services: Vec<&str> = self.services.iter().map(|s| s.name.as_str()).collect();
        let services = if services.is_empty() { "none".into() } else { services.join(", ") };
        let vital = self.probes.iter().filter(|p| p.weight == Weight::Vital).count();
        let ms = |span: regent_core::time::Span| span.as_millis();
        let mut text = format!(
            "cluster {}: {}\nvirtual IP {} ({}), {}, services {services}\n\
         {} probes, {vital} of them vital; `regent config show --effective` lists them\n\
         profile {}; timing {}: ttl {}, margin {} ms, renewal {} ms, suspicion {} ms; all sums hold\n",
            self.cluster,
            members.join(", "),
            self.vip_text(),
            match self.driver {
                Driver::Native => "native driver",
                Driver::Keepalived(_) => "by keepalived",
            },
            match &self.topology {
                Topology::Replicated(database) => format!("database unit {}", database.unit),
                Topology::SharedData(stack) => format!(
                    "shared data in {} under the name {}",
                    stack.data.display(),
                    stack.hostname
                ),
            },
            self.probes.len(),
            self.profile,
            self.preset,
            match self.timing.ttl {
                UNTIL_RELEASED => UNTIL_RELEASED_TEXT.into(),
                ttl => format!("{} ms", ms(ttl)),
            },
            ms(self.timing.margin),
            ms(self.pace.renewal),
            ms(self.pace.suspicion),
        );
        let unfenced: Vec<&str> = self
            .members
            .iter()
            .filter(|m| !m.witness && m.fence.is_none())
            .map(|m| m.name.as_str())
            .collect();
        if !unfenced.is_empty() {
            text += &format!("no fence: {}\n", unfenced.join(", "));
        }
        for service in self.without_answer() {
            text += &format!(
                "warning: no probe asks {service} for an answer: if it hangs, nobody notices; add [[service.probe]] with http, \
             dns, greeting or exec\n"
            );
        }
        if let Some(proof) = self.proof() {
            text += &format!("{proof}\n");
        }
        if let Some(caveat) = profile::caveat(self.profile) {
            text += &format!("{caveat}\n");
        }
        text
    }
}
