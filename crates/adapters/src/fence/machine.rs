//! What this host is: a machine of its own, or a guest that somebody else can freeze. A guest's clocks stand still
//! while
//! it is paused, migrated or put back to a snapshot, and its watchdog's with them (protocol section 6, clear (c)).
//!
//! Only what says so beyond doubt is taken for a machine of its own.

use crate::run::{Program, RunError};
use std::fs;
use std::time::Duration;

/// systemd's own detection: virtual machines by CPUID and DMI, containers by what their manager says.
const DETECT: &str = "systemd-detect-virt";

/// It reads some files.
const DETECT_MAX: Duration = Duration::from_secs(2);

/// What the firmware of a guest says of its maker, as in systemd's table.
const MAKERS: [&str; 20] = [
    "KVM",
    "OpenStack",
    "KubeVirt",
    "Amazon EC2",
    "QEMU",
    "VMware",
    "VMW",
    "innotek GmbH",
    "VirtualBox",
    "Xen",
    "Bochs",
    "Parallels",
    "BHYVE",
    "Hyper-V",
    "Virtual Machine",
    "Apple Virtualization",
    "Google Compute Engine",
    "Alibaba Cloud ECS",
    "Hetzner vServer",
    "Nutanix AHV",
];

/// What this host is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Machine {
    /// A machine of its own: nothing can stop its clocks but its power.
    Real,
    /// A virtual machine or a container, of this kind.
    Guest(String),
    /// It could not be found out.
    Unknown(String),
}

/// Finds out. Starts a program and reads files, so it may take its time.
pub fn find() -> Machine {
    let detect = Program { path: DETECT.into(), ..Program::default() };
    let said = detect.run(DETECT_MAX).map(|ended| (ended.code, ended.out));
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let firmware = ["sys_vendor", "product_name", "board_vendor", "bios_vendor"]
        .map(|name| read(&format!("/sys/class/dmi/id/{name}")));
    judge(said, &read("/proc/cpuinfo"), &firmware)
}

fn judge(
    said: Result<(Option<i32>, String), RunError>,
    processors: &str,
    firmware: &[String],
) -> Machine {
    let word = match &said {
        Ok((_, out)) => out.trim(),
        Err(_) => "",
    };
    if !word.is_empty() && word != "none" {
        return Machine::Guest(word.to_owned());
    }
    let maker = firmware.iter().find_map(|text| MAKERS.iter().find(|maker| text.contains(*maker)));
    if let Some(maker) = maker {
        return Machine::Guest((*maker).to_owned());
    }
    let is_flag = |line: &str| {
        line.starts_with("flags") && line.split_whitespace().any(|w| w == "hypervisor")
    };
    if processors.lines().any(is_flag) {
        return Machine::Guest("its processors tell of a hypervisor".to_owned());
    }
    match said {
        // It answers "none" with exit code 1.
        Ok((Some(_), _)) if word == "none" => Machine::Real,
        Ok((code, _)) => Machine::Unknown(format!("{DETECT} ended with {code:?} and said nothing")),
        Err(error) => Machine::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "processor : 0\nflags\t\t: fpu vme sse2\n";

    fn none() -> Result<(Option<i32>, String), RunError> {
        Ok((Some(1), "none\n".to_owned()))
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_machine_of_its_own_is_one_that_nothing_contradicts() {
        let board = texts(&["Dell Inc.\n", "PowerEdge R650\n", "Dell Inc.\n", "Dell Inc.\n"]);
        assert_eq!(judge(none(), PLAIN, &board), Machine::Real);
    }

    #[test]
    fn a_guest_is_told_by_systemd_by_its_firmware_or_by_its_processors() {
        let guest = |text: &str| Machine::Guest(text.to_owned());
        let kvm = Ok((Some(0), "kvm\n".to_owned()));
        assert_eq!(judge(kvm, PLAIN, &[]), guest("kvm"));
        let container = Ok((Some(0), "systemd-nspawn\n".to_owned()));
        assert_eq!(judge(container, PLAIN, &[]), guest("systemd-nspawn"));
        let board = texts(&["QEMU\n", "Standard PC (Q35 + ICH9, 2009)\n"]);
        assert_eq!(judge(none(), PLAIN, &board), guest("QEMU"));
        let flags = "processor : 0\nflags\t\t: fpu hypervisor sse2\n";
        assert!(matches!(judge(none(), flags, &[]), Machine::Guest(_)));
    }

    #[test]
    fn what_cannot_be_found_out_is_not_taken_for_a_machine_of_its_own() {
        let source = std::io::ErrorKind::NotFound.into();
        let missing = Err(RunError::NotStarted { program: DETECT.into(), source });
        assert!(matches!(judge(missing, PLAIN, &[]), Machine::Unknown(_)));
        assert!(matches!(judge(Ok((None, String::new())), PLAIN, &[]), Machine::Unknown(_)));
        // Without systemd's word the firmware's still counts.
        let source = std::io::ErrorKind::NotFound.into();
        let missing = Err(RunError::NotStarted { program: DETECT.into(), source });
        let board = texts(&["VMware, Inc.\n"]);
        assert_eq!(judge(missing, PLAIN, &board), Machine::Guest("VMware".to_owned()));
    }

    #[test]
    fn this_host_is_found_out_in_time() {
        println!("{:?}", find());
    }
}
