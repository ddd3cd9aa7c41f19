//! The keys of the configuration, as the generated reference has them.

/// The keys of the configuration, each with the path of the table in which it stands.
pub struct Keys(Vec<(Vec<String>, String)>);

impl Keys {
    /// Read from the generated reference.
    pub fn read(reference: &str) -> Keys {
        let mut keys = Vec::new();
        let mut tables: Vec<Vec<String>> = vec![Vec::new()];
        for line in reference.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                let names =
                    heading.trim_matches('`').split(", ").filter(|name| name.starts_with('['));
                tables = names.map(|name| path(name.trim_matches(['[', ']']))).collect();
                if tables.is_empty() {
                    tables.push(Vec::new());
                }
            } else if let Some(key) =
                line.strip_prefix("| `").and_then(|rest| rest.split('`').next())
            {
                keys.extend(tables.iter().map(|table| (table.clone(), key.to_owned())));
            }
        }
        Keys(keys)
    }

    /// A key by itself, or by its whole path, in which a list's or a node's name may stand.
    pub fn has(&self, name: &str) -> bool {
        let wanted = path(name);
        self.0.iter().any(|(table, key)| {
            (wanted.len() == 1 && wanted[0] == *key) || is_at(&wanted, table, key)
        })
    }
}

/// The parts of a dotted path, without the placeholder for a name.
fn path(name: &str) -> Vec<String> {
    name.split('.').filter(|part| *part != "NAME").map(str::to_owned).collect()
}

fn is_at(wanted: &[String], table: &[String], key: &str) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return false };
    match table.split_first() {
        Some((outer, inner)) if first == outer => {
            is_at(rest, inner, key)
                || rest.split_first().is_some_and(|(_, rest)| is_at(rest, inner, key))
        }
        Some(_) => false,
        None => first == key && (rest.is_empty() || key == "options"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_themselves_and_by_their_paths() {
        let reference = "## The file itself\n| `cluster` | string |\n## `[node.NAME.fence]`\n| `options` | table |\n\
                         ## `[[service.probe]], [[probe]]`\n| `fall` | text |\n";
        let keys = Keys::read(reference);
        assert!(keys.has("cluster") && keys.has("fall") && keys.has("service.ui.probe.up.fall"));
        assert!(keys.has("probe.memory.fall") && keys.has("node.mn1.fence.options.ip"));
        assert!(
            !keys.has("service.ui.fall")
                && !keys.has("rise")
                && !keys.has("node.mn1.fence.timeout")
        );
    }
}
