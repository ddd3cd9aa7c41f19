//! `regent-lab`: the lab's commands, and the measuring processes that it starts of itself inside
//! namespaces.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use regent_lab::cluster::{Driver, Settings};
use regent_lab::dirs::base_dir;
use regent_lab::image::Image;
use regent_lab::lab::Lab;
use regent_lab::shared::{Choice, Shared};
use regent_lab::xcat::Db;
use regent_lab::{
    against, bench, bmc, capture, cases, client, cluster, demo, diagnose, direct, impair, matrix,
    run, say, shared, soak, sweep, watch,
};

#[derive(Parser)]
#[command(about = "Real daemons on namespace hosts: the demo, the cases, a lab to play with")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Two management nodes and a witness survive six faults, told live
    Demo {
        /// Leave the lab standing at the end and say how to enter a host
        #[arg(long)]
        keep: bool,
        /// Name of the run
        #[arg(long)]
        name: Option<String>,
    },
    /// Boot a cluster and leave it standing
    Up {
        /// Name of the run
        #[arg(long)]
        name: Option<String>,
        /// Hosts and services only: nothing of the product is installed
        #[arg(long)]
        bare: bool,
        /// Product installed and running, but not initialised
        #[arg(long)]
        fresh: bool,
        /// Two management nodes on shared data, with xCAT's stand-in on this database
        #[arg(long)]
        shared: Option<Db>,
    },
    /// A shell, or a command, on a host of a lab that stands
    Enter {
        /// Name of the run
        name: String,
        /// mn1, mn2 or w1
        host: String,
        /// What to run; a shell if nothing is given
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Break or mend a host of a lab that stands, or the network between two
    Fault {
        /// Name of the run
        name: String,
        /// mn1, mn2 or w1; or two of them, as in mn1-mn2
        host: String,
        /// off, on, cut, heal, hang or resume; between two hosts impair, counts or heal
        what: String,
        #[command(flatten)]
        options: impair::Options,
    },
    /// Redfish controllers for a lab that stands, until Ctrl-C
    Bmc {
        /// Name of the run
        name: String,
    },
    /// Remove a lab
    Down {
        /// Name of the run
        name: String,
    },
    /// Labs that stand
    List,
    /// Collect diagnostics of a lab that stands
    Diagnose {
        /// Name of the run
        name: String,
    },
    /// Run cases
    Case {
        #[command(flatten)]
        choice: cases::Choice,
        /// Say which they are, with their tiers, and run none
        #[arg(long)]
        list: bool,
    },
    /// Each key service killed, hung and with its port blocked, on the active node and the standby
    Matrix {
        /// Who puts the virtual address onto the active node
        #[arg(long, default_value = "native")]
        driver: Driver,
        /// Only cases whose name contains this, as in management-hung-active
        #[arg(long)]
        only: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Each fault of the demo several times: medians against the bars
    Moves {
        /// How often
        #[arg(long, default_value_t = 5)]
        runs: u32,
        /// Name of the run
        #[arg(long)]
        name: Option<String>,
        /// Compare switchover, database kill and power-off with this older `regent`, in turn; fails if the one built
        /// here is worse than the older one's own spread
        #[arg(long)]
        against: Option<std::path::PathBuf>,
    },
    /// Every so often one of the things that happen to a real site, at random, under a bank's books: what came of each
    Soak {
        /// For how long, in minutes
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Which things, in which order
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// From one to the next, in seconds, if the cluster is well again by then
        #[arg(long, default_value_t = 60)]
        every: u64,
        /// Only these, by their names
        #[arg(long)]
        only: Vec<String>,
    },
    /// Make the images of the hosts
    Image,
    /// Say what this machine lacks to run the lab; silent if nothing
    Check,
    /// The clients, inside a namespace
    #[command(hide = true)]
    Client {
        /// The virtual address
        vip: Ipv4Addr,
    },
    /// The clerks of the bank, inside a namespace
    #[command(hide = true)]
    Bank {
        /// The virtual address
        vip: Ipv4Addr,
    },
    /// The prober of one database, inside a namespace
    #[command(hide = true)]
    Direct {
        /// The node's name
        node: String,
        /// Its own address
        address: Ipv4Addr,
    },
    /// The watcher of the nodes' services, inside a namespace
    #[command(hide = true)]
    Watch {
        /// Each NODE=ADDRESS
        targets: Vec<String>,
    },
    /// The forwarder between two hosts, inside the bridge's namespace
    #[command(hide = true)]
    Impair {
        /// What it is to do
        plan: std::path::PathBuf,
    },
    /// The capture, inside the bridge's namespace
    #[command(hide = true)]
    Capture {
        /// The virtual address
        vip: Ipv4Addr,
    },
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            say::plain(&format!("failed: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command) -> Result<bool> {
    let is_measuring = matches!(
        command,
        Command::Client { .. }
            | Command::Bank { .. }
            | Command::Direct { .. }
            | Command::Capture { .. }
            | Command::Watch { .. }
    );
    if !is_measuring {
        run::catch_interrupts()?;
    }
    match command {
        Command::Demo { keep, name } => demo::run(keep, name),
        Command::Up { name, bare: true, shared: Some(_), fresh: _ } => up_hosts(name),
        Command::Up { name, fresh, shared: Some(db), bare: false } => up_shared(name, fresh, db),
        Command::Up { name, bare, fresh, shared: None } => up(name, bare, fresh),
        Command::Enter { name, host, command } => enter(&name, &host, &command),
        Command::Fault { name, host, what, options } if host.contains('-') => {
            impair::fault(&Lab::attach(&name)?, &host, &what, &options).map(|()| true)
        }
        Command::Fault { name, host, what, options: _ } => fault(&name, &host, &what),
        Command::Bmc { name } => bmc::main(&name).map(|()| true),
        Command::Down { name } => sweep::remove(&name).map(|()| true),
        Command::List => {
            sweep::runs()?.iter().for_each(|name| say::plain(name));
            Ok(true)
        }
        Command::Diagnose { name } => Ok(diagnose::collect(&Lab::attach(&name)?).is_some()),
        Command::Case { choice, list: true } => {
            choice.cases()?.iter().for_each(|case| {
                say::plain(&format!("{}: {} [{}]", case.name, case.about, case.tier.name()));
            });
            Ok(true)
        }
        Command::Case { choice, list: false } => cases::run(&choice),
        Command::Matrix { driver, only, json } => {
            matrix::run(&Settings { driver, ..Settings::brisk() }, only.as_deref(), json)
        }
        Command::Moves { runs, name, against: None } => bench::moves(runs, name),
        Command::Moves { runs, name, against: Some(old) } => against::moves(runs, name, &old),
        Command::Image => {
            let image = Image::ensure(&base_dir()?, &mut |text| say::progress(text))?;
            say::plain(&image.root.display().to_string());
            let image = Image::ensure_xcat(&base_dir()?, &mut |text| say::progress(text))?;
            say::plain(&image.root.display().to_string());
            Ok(true)
        }
        Command::Check => {
            let lacking = cluster::lacking();
            lacking.iter().for_each(|what| say::plain(what));
            Ok(lacking.is_empty())
        }
        Command::Soak { minutes, seed, every, only } => {
            soak::run(&soak::Plan::minutes(minutes, every, seed, only)?)
        }
        Command::Bank { vip } => soak::bank::main(vip).map(|()| true),
        Command::Client { vip } => client::main(vip).map(|()| true),
        Command::Direct { node, address } => direct::main(node, address).map(|()| true),
        Command::Watch { targets } => watch::main(&targets).map(|()| true),
        Command::Capture { vip } => capture::main(vip).map(|()| true),
        Command::Impair { plan } => impair::main(&plan).map(|()| true),
    }
}

fn up(name: Option<String>, bare: bool, fresh: bool) -> Result<bool> {
    sweep::sweep()?;
    let image = Image::ensure(&base_dir()?, &mut |text| say::progress(text))?;
    let name = name.unwrap_or_else(regent_lab::lab::fresh_name);
    if bare {
        let mut lab = cluster::bare(&name, &image)?;
        lab.keep()?;
    } else {
        let product = cluster::Product::beside()?;
        let mut cluster = cluster::Cluster::boot(&name, &image, &product, &Settings::default())?;
        cluster.lab.keep()?;
        if !fresh {
            cluster.initialise()?;
        }
    }
    say::plain(&cluster::how_to_enter(&name));
    Ok(true)
}

fn up_hosts(name: Option<String>) -> Result<bool> {
    sweep::sweep()?;
    let name = name.unwrap_or_else(regent_lab::lab::fresh_name);
    let mut lab = shared::hosts(&name, &Choice::by_hand(Db::Sqlite))?;
    lab.keep()?;
    lab.boot_all()?;
    say::plain(&cluster::how_to_enter(&name));
    Ok(true)
}

fn up_shared(name: Option<String>, fresh: bool, db: Db) -> Result<bool> {
    sweep::sweep()?;
    let name = name.unwrap_or_else(regent_lab::lab::fresh_name);
    let mut shared = Shared::boot(&name, Choice::by_hand(db))?;
    shared.lab.keep()?;
    if !fresh {
        shared.initialise()?;
    }
    say::plain(&cluster::how_to_enter(&name));
    Ok(true)
}

fn enter(name: &str, host: &str, command: &[String]) -> Result<bool> {
    let lab = Lab::attach(name)?;
    let argv: Vec<&str> = match command {
        [] => vec!["/bin/bash", "-l"],
        given => given.iter().map(String::as_str).collect(),
    };
    let status = lab.host(host)?.command(&argv)?.status()?;
    Ok(status.success())
}

fn fault(name: &str, host: &str, what: &str) -> Result<bool> {
    let mut lab = Lab::attach(name)?;
    let host = lab.host_mut(host)?;
    match what {
        "off" => host.power_off()?,
        "on" => host.boot()?,
        "cut" => host.cut()?,
        "heal" => host.heal()?,
        "hang" => host.hang()?,
        "resume" => host.resume()?,
        other => bail!("{other}: not off, on, cut, heal, hang or resume"),
    }
    Ok(true)
}
