//! The two ways through the world: every state of a small one, and random walks in a large one.

use super::table::Map;
use super::world::{Action, Bounds, NODES_MAX, State, World};
use regent_store::splitmix::SplitMix;

/// How far an exhaustive search went.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    pub steps: u64,
    pub broken: Option<String>,
}

/// Visits every state within the bounds, or stops at the first invariant that breaks.
pub fn exhaust(bounds: Bounds) -> Explored {
    let (mut world, start) = World::new(bounds);
    let mut seen: Map<u128, ()> = Map::default();
    seen.insert(start.print(), ());
    let mut stack = vec![start];
    let mut actions = Vec::new();
    let mut steps = 0;
    while let Some(state) = stack.pop() {
        if steps > 30_000_000 {
            eprintln!("cut: stack {}", stack.len());
            break;
        }
        world.actions(&state, &mut actions);
        for action in &actions {
            let mut next = state.clone();
            steps += 1;
            match world.act(&mut next, *action) {
                Ok(true) => {
                    if seen.insert(next.print(), ()).is_none() {
                        stack.push(next);
                    }
                }
                Ok(false) => {}
                Err(why) => {
                    let broken = Some(format!("{why}, by {}", world.describe(&state, *action)));
                    return Explored { states: seen.len(), steps, broken };
                }
            }
        }
    }
    Explored { states: seen.len(), steps, broken: None }
}

/// What random walks met.
#[derive(Debug, Default)]
pub struct Walked {
    pub walks: u64,
    pub steps: u64,
    pub decided: u64,
    pub changes: u64,
    pub most_changes: usize,
    pub broken: Option<Broken>,
}

/// An invariant that broke, and the way to it.
#[derive(Debug)]
pub struct Broken {
    pub seed: u64,
    pub why: String,
    pub trace: Vec<String>,
}

/// Messages on the way at one time; beyond it one is lost.
const NET_MAX: usize = 60;

/// Walks at random until something breaks, or the steps are used up. Each walk has its own
/// habits, so that some hardly ever give up or lose a message, and others do little else; and for
/// a while some machines hear little.
pub fn walk(bounds: &Bounds, first_seed: u64, steps_max: u64, length: u32) -> Walked {
    let mut walked = Walked::default();
    let (mut world, mut start) = World::new(bounds.clone());
    for seed in first_seed.. {
        if walked.steps >= steps_max {
            break;
        }
        if world.size() > 200_000 {
            (world, start) = World::new(bounds.clone());
        }
        walked.walks += 1;
        let mut state = start.clone();
        let result = walk_once(&mut world, &mut state, seed, length, &mut walked.steps, None);
        walked.decided += state.ghost.decided.len() as u64 - 1;
        walked.changes += state.changed_seats() as u64;
        walked.most_changes = walked.most_changes.max(state.changed_seats());
        if let Err(why) = result {
            let mut trace = Vec::new();
            let mut state = start.clone();
            let again = walk_once(&mut world, &mut state, seed, length, &mut 0, Some(&mut trace));
            assert_eq!(again, Err(why.clone()), "a walk depends on its seed alone");
            walked.broken = Some(Broken { seed, why, trace });
            break;
        }
    }
    walked
}

fn walk_once(
    world: &mut World,
    state: &mut State,
    seed: u64,
    length: u32,
    steps: &mut u64,
    mut trace: Option<&mut Vec<String>>,
) -> Result<(), String> {
    let mut random = Random::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let habits = Habits::draw(&mut random);
    let mut own = Vec::new();
    let mut slow = [1; 2 + NODES_MAX];
    for step in 0..length {
        if habits.uneven && step % 64 == 0 {
            slow = std::array::from_fn(|_| [1, 1, 1, 1, 6, 40][random.below(6)]);
        }
        let acts = state.net.is_empty() || random.below(habits.patience) == 0;
        let action = if acts {
            world.own_actions(state, &mut own);
            let Some(action) = habits.choose(&own, &mut random) else { continue };
            action
        } else {
            let index = random.below(state.net.len());
            if random.below(slow[world.place(state, index)]) != 0 {
                continue;
            }
            Action::Deliver(index)
        };
        if let Some(trace) = &mut trace {
            trace.push(world.describe(state, action));
        }
        *steps += 1;
        let is_within = world.act(state, action)?;
        if !is_within {
            break;
        }
        if let Action::Deliver(index) = action
            && random.below(habits.doubles) != 0
        {
            world.drop_packet(state, index);
        }
        while state.net.len() > NET_MAX
            || (!state.net.is_empty() && random.below(habits.losses) == 0)
        {
            world.drop_packet(state, random.below(state.net.len()));
        }
    }
    Ok(())
}

/// What is likely in one walk.
struct Habits {
    /// How many messages are delivered for each thing that a node does of its own.
    patience: usize,
    /// One delivery in so many leaves its message on the way.
    doubles: usize,
    /// After one step in so many a message is lost.
    losses: usize,
    /// Some machines hear little for a while.
    uneven: bool,
    swap: [u64; 2],
    read: u64,
    give_up: u64,
    tick: u64,
    restart: u64,
    empty: u64,
    admit: u64,
}

impl Habits {
    fn draw(random: &mut Random) -> Self {
        let mut of = |choices: &[usize]| choices[random.below(choices.len())];
        Habits {
            patience: of(&[2, 5, 10, 20]),
            doubles: of(&[2, 4, 20]),
            losses: of(&[6, 20, 100]),
            uneven: of(&[0, 1]) == 1,
            swap: [of(&[1, 4, 8]) as u64, of(&[1, 4, 8]) as u64],
            read: of(&[0, 0, 1]) as u64,
            give_up: of(&[0, 1, 4]) as u64,
            tick: of(&[1, 4, 8]) as u64,
            restart: of(&[0, 0, 1, 2]) as u64,
            empty: of(&[0, 1, 4]) as u64,
            admit: of(&[0, 1, 2, 4]) as u64,
        }
    }

    fn choose(&self, actions: &[Action], random: &mut Random) -> Option<Action> {
        let weight = |action: &Action| match action {
            Action::Swap(by) => self.swap[*by],
            Action::Read(_) => self.read,
            Action::GiveUp(_) => self.give_up,
            Action::Tick(_) => self.tick,
            Action::Restart(_) => self.restart,
            Action::Empty(_) => self.empty,
            Action::Admit { .. } => self.admit,
            Action::Deliver(_) => 0,
        };
        let total: u64 = actions.iter().map(weight).sum();
        if total == 0 {
            return None;
        }
        let mut mark = random.next() % total;
        actions.iter().copied().find(|action| {
            let weight = weight(action);
            let is_it = mark < weight;
            mark = mark.saturating_sub(weight);
            is_it
        })
    }
}

/// [`SplitMix`] with bounds.
pub struct Random(SplitMix);

impl Random {
    pub fn seeded(seed: u64) -> Random {
        Random(SplitMix(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.draw()
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
