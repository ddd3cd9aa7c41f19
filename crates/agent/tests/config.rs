//! The configuration: what is accepted, and how each mistake is told.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use regent_agent::config::{self, settings::PORT};
use regent_core::id::NodeId;
use regent_core::time::Span;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

#[test]
fn a_short_file_is_enough() {
    let settings = config::parse("good.toml", &text("good.toml")).unwrap();
    let names: Vec<&str> = settings.members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["mn1", "mn2", "w1"]);
    assert_eq!(settings.members[0].address, format!("10.77.0.11:{PORT}").parse().unwrap());
    assert_eq!(settings.timing.ttl, Span::millis(700));
    assert_eq!(settings.timing.margin, Span::millis(90));
    assert_eq!(settings.spec().nodes, [(NodeId(1), "mn1".into()), (NodeId(2), "mn2".into())]);
    let spec = settings.spec();
    let services: Vec<&str> = spec.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(services, ["management", "ui"]);
}

#[test]
fn every_timing_preset_keeps_its_sums() {
    for preset in ["default", "cautious", "fast"] {
        let file = format!("{}[timing]\npreset = \"{preset}\"\n", text("good.toml"));
        let settings = config::parse(preset, &file).unwrap();
        assert_eq!(settings.preset, preset);
    }
}

#[test]
fn a_timing_of_its_own_overrides_the_preset() {
    let file = format!("{}[timing]\nttl = \"1.2s\"\nmargin = \"130ms\"\n", text("good.toml"));
    let settings = config::parse("own", &file).unwrap();
    assert_eq!(settings.timing.ttl, Span::millis(1200));
    assert_eq!(settings.pace.renewal, Span::millis(150));
}

#[test]
fn a_node_may_have_a_port_and_an_interface_of_its_own() {
    let file =
        text("good.toml").replace("\"10.77.0.12\"", "\"10.77.0.12:5000\"\ninterface = \"eth7\"");
    let settings = config::parse("own", &file).unwrap();
    assert_eq!(settings.members[1].address.port(), 5000);
    let interfaces: Vec<&str> = settings.members.iter().map(|m| m.interface.as_str()).collect();
    assert_eq!(interfaces, ["host0", "eth7", "host0"]);
}

#[test]
fn every_mistake_is_told_with_place_and_remedy() {
    let mut seen = 0;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder().join("mistakes")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "toml")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let written = std::fs::read_to_string(file).unwrap();
        let problems = config::parse(name, &written).expect_err(name).to_string();
        let golden = file.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &problems).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(problems, expected, "{name}");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} files of mistakes were found");
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let error = config::load(&folder().join("none.toml")).unwrap_err().to_string();
    assert!(error.contains("failed to read the file: No such file"), "{error}");
}
