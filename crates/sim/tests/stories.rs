//! Every story under `scenarios/` still goes as it is told.

use std::path::Path;
use std::process::Command;

#[test]
fn every_story_goes_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .arg("run")
        .arg(&folder)
        .output()
        .expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.lines().count() >= 10, "stories are missing: {text}");
}
