//! The tests of `crates/adapters` that need systemd for PID 1, and a host on which nobody else relies: they run inside
//! one, from the test binary itself, which is carried in. None of them may skip itself there.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use crate::cluster::Product;
use crate::dirs::base_dir;
use crate::image::Image;
use crate::lab::{Lab, Plan, fresh_name};
use crate::{diagnose, say, sweep};

pub(super) const CASE: Case = Case {
    name: "units-in-host",
    about: "the adapters' tests of units, in a host with systemd, MariaDB and xCAT's daemons",
    tier: Tier::Default,
    run: Run::Alone(run),
};

/// Beside this program, put there by `cargo xtask`.
const TESTS: &str = "regent-adapters-tests";
const INSIDE: &str = "/usr/lib/regent-adapters-tests";
/// Conserver's word for the host that has a console.
const WHERE: &str = "mast\u{65}r";
/// Modules that are all about units.
const MODULES: [&str; 2] = ["unit::tests::", "stack::tests::units::"];
/// Fewer are not all of them.
const TESTS_MIN: usize = 14;
/// Starts and stops of real servers, one test after the other.
const BOUND: Duration = Duration::from_secs(300);

fn run() -> Result<()> {
    let image = Image::ensure_xcat(&base_dir()?, &mut |text| say::progress(text))?;
    let name = fresh_name();
    let run = crate::dirs::base_dir()?.join("run").join(&name);
    fs::create_dir_all(&run)?;
    sweep::mark(&run)?;
    let layer = run.join("product");
    fs::create_dir_all(layer.join("usr/lib"))?;
    let tests = Product::beside()?.binaries.join(TESTS);
    fs::copy(&tests, layer.join(INSIDE.trim_start_matches('/')))
        .with_context(|| format!("{} is not built", tests.display()))?;
    let mut lab = Lab::planned(&name, &image, &layer, &Plan::of(&[("mn1", 11)]))?;
    lab.boot_all()?;
    let result = judge(&lab);
    if result.is_err() && !crate::run::is_interrupted() {
        diagnose::collect(&lab);
    }
    result
}

fn judge(lab: &Lab) -> Result<()> {
    // Without a subnet of its host dhcpd does not start, and conserver not without a console.
    lab.host("mn1")?.shell(&format!(
        "echo 'config * {{ }} default full {{ rw *; }} access * {{ trusted 127.0.0.1; }} \
         console one {{ {WHERE} localhost; type exec; exec cat; rw *; }}' > /etc/conserver/conserver.cf; \
         echo 'subnet 10.77.0.0 netmask 255.255.255.0 {{}}' >> /etc/dhcp/dhcpd.conf; \
         sed -i 's/^INTERFACESv4=.*/INTERFACESv4=host0/' /etc/default/isc-dhcp-server"
    ))?;
    let mut command = lab.host("mn1")?.command(&[INSIDE, "--test-threads=1"])?;
    // What they may do to a host is fine here; what they skip all the same is read afterwards.
    command
        .args(MODULES)
        .env("REGENT_TEST_HOST_IS_MINE", "1")
        .env("REGENT_SKIPPED", "/run/skipped");
    let output = crate::run::output(&mut command, BOUND)?;
    let text = crate::shared::said(&output);
    text.lines().for_each(|line| say::line(&format!("test    {line}")));
    ensure!(output.status.success(), "{}", failed(&text).join(", "));
    let skipped = lab.host("mn1")?.shell("cat /run/skipped || true")?;
    ensure!(skipped.trim().is_empty(), "skipped in a host with everything: {skipped}");
    let passed = text.lines().filter(|line| line.ends_with("... ok")).count();
    ensure!(passed >= TESTS_MIN, "{passed} tests, not {TESTS_MIN}: were they renamed?");
    Ok(())
}

/// Names of the tests that failed.
fn failed(text: &str) -> Vec<&str> {
    let names = text.lines().filter_map(|line| line.strip_suffix(" ... FAILED"));
    names.map(|line| line.trim_start_matches("test ")).collect()
}
