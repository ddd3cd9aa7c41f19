//! An agent without a core: one that waits for a cluster, and a witness.

use super::common::{Common, begin, configured, end_register, ready, serve_questions, watched};
use super::coreless_api::{CorelessApi, Scarce};
use super::life::{Born, Ending, Life, LifeError};
use crate::clocks::Clocks;
use crate::heartbeat::Heartbeat;
use crate::init::Founding;
use crate::peer::Peers;
use crate::room::{self, Vital};
use crate::serve::Answerer;
use crate::transport::Lane;
use regent_adapters::notify::Notify;
use regent_config::settings::Member;
use regent_core::id::ClusterId;
use regent_store::cell::NodeId as StoreNode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// An agent without a cluster, and a witness with or without one.
pub(super) async fn wait_or_witness(
    life: &Life,
    me: &Member,
    born: &Born,
    cluster: Option<ClusterId>,
    links: &tokio::runtime::Handle,
) -> Result<Ending, LifeError> {
    let common = begin(life, me, born, cluster, None, links)?;
    let Common { transport, incoming, register, bridge, heard, reports, events, clocks, .. } =
        common;
    let founding = Arc::new(Founding {
        settings: life.settings.clone(),
        me: me.id,
        boot: born.boot,
        run: born.run,
        place: life.place.clone(),
        register: Arc::clone(&register),
        bridge: Arc::clone(&bridge),
        transport: transport.clone(),
        offer: born.offer,
    });
    if let Some(host) = &life.host {
        let (inputs, _) = crate::inputs::queue();
        host.begin(None, inputs, transport.clone(), events.clone());
    }
    let scarce = Arc::<Scarce>::default();
    let room = {
        let (scarce, events) = (Arc::clone(&scarce), events.clone());
        room::watch(&life.place, Vital::Register, move |room| scarce.take(&room, &events))
    };
    let _room = watched(room);
    let configured = configured(life, me, &transport, &events);
    let api = Arc::new(CorelessApi {
        configured,
        founding,
        host: life.host.clone(),
        heard: Arc::clone(&heard),
        reports,
        scarce,
        events,
        bridge: Arc::clone(&bridge),
        belongs: cluster.is_some(),
        founded: Arc::default(),
        is_founded: AtomicBool::new(false),
        busy: tokio::sync::Mutex::new(()),
    });
    let answerer: Answerer = {
        let api = Arc::clone(&api);
        Arc::new(move |ask, progress| {
            let api = Arc::clone(&api);
            Box::pin(async move { api.reply(ask, progress).await })
        })
    };
    let peers = Arc::clone(&api) as Arc<dyn Peers>;
    serve_questions(life, answerer, peers, incoming, heard)?;
    ready(life, if api.belongs { "votes" } else { "waits for regent init" });

    let ending = until_another_life(life, &api, &clocks).await;
    api.events.settle();
    drop((api, bridge));
    end_register(register).await;
    Ok(ending)
}

/// Says that this agent lives, as often as a node reports, until the process shall end or be something else.
async fn until_another_life(life: &Life, api: &CorelessApi, clocks: &Clocks) -> Ending {
    let Founding { me, run, transport, .. } = api.founding.as_ref();
    let mut stop = life.stop.clone();
    let mut latest = api.bridge.latest();
    // As often as a node reports: peers judge both by the same suspicion.
    let every = Duration::from_nanos(life.settings.pace.report.0);
    let mut alive = tokio::time::interval(every);
    let feeding = life.owns_process.then(Notify::from_environment);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ending::Stop,
            _ = alive.tick() => {
                if let Ok(heartbeat) = serde_json::to_vec(&Heartbeat::new(*run, clocks, None)) {
                    transport.send_to_all(Lane::Report, &heartbeat);
                }
                if let Some(notify) = &feeding {
                    notify.watchdog();
                }
            }
            () = api.founded.notified() => return Ending::Again,
            () = api.configured.again.notified() => return Ending::Again,
            Ok(()) = latest.changed() => {
                let seated = latest
                    .borrow_and_update()
                    .as_ref()
                    .is_some_and(|v| v.seat_of(StoreNode(me.0)).is_some());
                if seated && !api.belongs {
                    return Ending::Again;
                }
            }
        }
    }
}
