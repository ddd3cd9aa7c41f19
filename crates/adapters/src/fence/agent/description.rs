//! What an agent says of itself (`action=metadata`): its options and actions. Only tags and attributes are read, of
//! documents that these agents print; nothing in it is executed or looked up.

use super::super::FenceError;
use roxmltree::{Document, Node, ParsingOptions};
use std::collections::{BTreeMap, BTreeSet};

/// An agent's options and actions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Description {
    parameters: Vec<Parameter>,
    actions: BTreeSet<String>,
}

/// One option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parameter {
    /// As it is told to the agent.
    pub name: String,
    /// It takes no value but yes and no.
    pub is_switch: bool,
    is_required: bool,
    is_deprecated: bool,
    has_default: bool,
    /// The older name of the same option.
    obsoletes: Option<String>,
}

impl Description {
    /// What a program says before its description, a warning of Python for one, is none of it.
    pub fn parse(text: &str) -> Description {
        let text = text.find('<').map_or(text, |start| &text[start..]);
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        let Ok(document) = Document::parse_with_options(text.trim_end(), options) else {
            return Description::default();
        };
        let named = |tag| document.descendants().filter(move |node| node.has_tag_name(tag));
        let actions = named("action").filter_map(|action| action.attribute("name"));
        Description {
            parameters: named("parameter").map(Parameter::read).collect(),
            actions: actions.map(str::to_owned).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    pub fn has_action(&self, action: &str) -> bool {
        self.actions.contains(action)
    }

    /// The option of this name.
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| same(&parameter.name, name))
    }

    /// The option that may have been meant.
    pub fn near(&self, name: &str) -> Option<String> {
        let current = self.parameters.iter().filter(|parameter| !parameter.is_deprecated);
        nearest(name, current.map(|parameter| parameter.name.as_str()))
    }

    /// Refuses if an option that the agent requires is not given, under its name or its older one.
    pub fn expect_needed(
        &self,
        agent: &str,
        options: &BTreeMap<String, String>,
        has_password: bool,
    ) -> Result<(), FenceError> {
        let given = |name: &str| {
            options.keys().any(|option| same(option, name)) || has_password && name == "password"
        };
        let missing: Vec<String> = self
            .parameters
            .iter()
            .filter(|one| one.is_required && !one.is_deprecated && !one.has_default)
            .filter(|one| !given(&one.name) && !one.obsoletes.as_deref().is_some_and(given))
            .map(|one| one.name.clone())
            .collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(FenceError::Missing { agent: agent.to_owned(), missing }),
        }
    }
}

impl Parameter {
    fn read(node: Node<'_, '_>) -> Parameter {
        let text = |name| node.attribute(name).map(str::to_owned);
        let content = node.children().find(|child| child.has_tag_name("content"));
        Parameter {
            name: text("name").unwrap_or_default(),
            is_switch: content.is_some_and(|content| content.attribute("type") == Some("boolean")),
            is_required: node.attribute("required") == Some("1"),
            is_deprecated: node.attribute("deprecated") == Some("1"),
            has_default: content.is_some_and(|content| content.has_attribute("default")),
            obsoletes: text("obsoletes"),
        }
    }
}

/// Hyphens and underscores are the same to these agents.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.replace('-', "_") == other.replace('-', "_")
}

/// The name that a mistyped one may have meant: at most a third of it differs.
pub(super) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<String> {
    let measured = among.map(|other| (strsim::levenshtein(name, other), other));
    let (far, best) = measured.min()?;
    (far * 3 <= name.len().max(3)).then(|| best.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDFISH: &str = include_str!("../../../testdata/fence_redfish-4.12.1.xml");

    #[test]
    fn the_description_of_a_real_agent_is_read() {
        let description = Description::parse(REDFISH);
        assert_eq!(description.parameters.len(), 37);
        let names: Vec<&str> = description.actions.iter().map(String::as_str).collect();
        let wanted = ["diag", "manpage", "metadata", "monitor", "off", "on", "reboot", "status"];
        assert_eq!(names[..8], wanted);
        assert!(description.has_action("validate-all"));
        let username = description.find("username").unwrap();
        assert!(username.is_required && username.obsoletes.as_deref() == Some("login"));
        assert!(description.find("ssl-insecure").unwrap().is_switch);
        assert!(!description.find("systems-uri").unwrap().is_switch);
    }

    #[test]
    fn a_mistyped_option_has_its_near_one_and_a_foreign_one_has_none() {
        let description = Description::parse(REDFISH);
        assert_eq!(description.near("usrname").as_deref(), Some("username"));
        assert_eq!(description.near("ssl-insecur").as_deref(), Some("ssl_insecure"));
        assert_eq!(description.near("lanplus"), None);
    }

    #[test]
    fn what_is_required_may_be_given_by_either_name_and_is_named_if_missing() {
        let description = Description::parse(REDFISH);
        let options = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        let check = |name: &str| description.expect_needed("fence_redfish", &options(name), true);
        assert_eq!(check("username"), Ok(()));
        assert_eq!(check("login"), Ok(()));
        let missing = check("ip").unwrap_err().to_string();
        assert_eq!(missing, "fence_redfish needs username");
    }

    #[test]
    fn a_description_is_read_behind_a_warning_and_with_what_stands_for_a_sign() {
        let text = "x.py:1: DeprecationWarning: y\n<?xml version='1.0'?>\n<resource-agent><parameters>\
            <!-- <parameter name='none'/> --><parameter name='a&amp;b'><content type='boolean'/>\
            </parameter></parameters><actions><action name='off'/></actions></resource-agent>\n";
        let description = Description::parse(text);
        assert!(description.find("a&b").unwrap().is_switch && description.has_action("off"));
        assert_eq!(description.parameters.len(), 1);
    }

    #[test]
    fn garbage_describes_nothing() {
        for text in ["", "<", "<parameter", "Traceback (most recent call last)", "<a b=\"c\"/>"] {
            assert!(Description::parse(text).actions.is_empty(), "{text}");
        }
        assert!(Description::parse("Traceback").is_empty());
    }
}
