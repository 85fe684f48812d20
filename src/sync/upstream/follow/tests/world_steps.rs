//! What may happen to the state machine and its server, in any order, and what is true after it.

use proptest::prelude::*;

use crate::protocol::to_relay::MessageKind;

use super::super::FailureKind;
use super::world::{Dialled, Message, World};

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Change(u8, u8),
    Remove(u8, u8),
    AddEnvironment(u8),
    RemoveEnvironment(u8),
    AddSecret(u8, u8),
    RemoveSecret(u8, u8),
    End(bool),
    Dials(Vec<u8>),
    Delay(u64),
    Break,
    BrokenPush(bool),
    Resync,
    UnknownSecret,
    ForeignData,
    PushesLost,
    NoFit,
    /// Something changes, and the server pushes it in a message that the agent does not know.
    Unknown(u8, u8),
    NewKey,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..100).prop_map(Step::Wait),
        3 => (0u64..90_000).prop_map(Step::Wait),
        1 => (0u64..900_000).prop_map(Step::Wait),
        10 => (1u8..5, 0u8..4).prop_map(|(environment, item)| Step::Change(environment, item)),
        1 => (1u8..5, 1u8..4).prop_map(|(environment, item)| Step::Remove(environment, item)),
        2 => (1u8..5).prop_map(Step::AddEnvironment),
        1 => (2u8..5).prop_map(Step::RemoveEnvironment),
        2 => (1u8..5, 0u8..3).prop_map(|(environment, secret)| Step::AddSecret(environment, secret)),
        1 => (1u8..5, 1u8..3).prop_map(|(environment, secret)| Step::RemoveSecret(environment, secret)),
        3 => any::<bool>().prop_map(Step::End),
        2 => prop::collection::vec(0u8..4, 1..5).prop_map(Step::Dials),
        3 => (0u64..70_000).prop_map(Step::Delay),
        1 => Just(Step::Break),
        2 => any::<bool>().prop_map(Step::BrokenPush),
        1 => Just(Step::Resync),
        2 => Just(Step::UnknownSecret),
        1 => Just(Step::ForeignData),
        1 => Just(Step::PushesLost),
        1 => Just(Step::NoFit),
        2 => (1u8..5, 0u8..4).prop_map(|(environment, item)| Step::Unknown(environment, item)),
        1 => Just(Step::NewKey),
    ]
}

/// Environments come and go while connections do.
fn scope_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..100).prop_map(Step::Wait),
        2 => (0u64..90_000).prop_map(Step::Wait),
        2 => (1u8..5, 0u8..4).prop_map(|(environment, item)| Step::Change(environment, item)),
        4 => (2u8..5).prop_map(Step::AddEnvironment),
        4 => (2u8..5).prop_map(Step::RemoveEnvironment),
        3 => any::<bool>().prop_map(Step::End),
        3 => (0u64..50_000).prop_map(Step::Delay),
        2 => Just(Step::Resync),
    ]
}

impl World {
    fn step(&mut self, step: &Step) {
        let now_ms = self.now_ms;
        match step {
            Step::Wait(for_ms) => return self.run(*for_ms),
            Step::Change(environment, item) => self.server.change(now_ms, *environment, *item),
            Step::Remove(environment, item) => {
                // Archived first, which is pushed; deleted in silence, and only when the news is through.
                self.server.change(now_ms, *environment, *item);
                self.run(200_000);
                if let Some(items) = self.server.held.get_mut(environment) {
                    items.remove(item);
                }
                self.highest.remove(&(*environment, *item));
            }
            Step::AddEnvironment(environment) => {
                self.server.held.entry(*environment).or_default();
                self.server.secrets.insert((*environment, 0));
                self.server.change(now_ms, *environment, 0);
            }
            Step::RemoveEnvironment(environment) => {
                self.server.held.remove(environment);
                self.server.secrets.retain(|(other, _)| other != environment);
            }
            Step::AddSecret(environment, secret) => {
                if self.server.held.contains_key(environment) {
                    self.server.secrets.insert((*environment, *secret));
                }
            }
            Step::RemoveSecret(environment, secret) => {
                self.server.secrets.remove(&(*environment, *secret));
            }
            Step::End(refused) => {
                let fault = if *refused { FailureKind::Refused } else { FailureKind::Failed };
                if let Some(session) = self.server.sessions.keys().next_back().copied() {
                    self.server.send(session, now_ms, Message::Close(fault));
                }
            }
            Step::Dials(kinds) => self.server.dials.extend(kinds.iter().map(|kind| match kind {
                0 => Dialled::Fails(20),
                1 => Dialled::Refused(20),
                2 => Dialled::Hangs,
                _ => Dialled::Opens(16_000),
            })),
            Step::Delay(delay_ms) => self.server.delays.push_back(*delay_ms),
            Step::Break => self.server.broken += 1,
            Step::BrokenPush(readable) => {
                if let Some(session) = self.server.sessions.keys().next_back().copied() {
                    let kind = readable.then_some(MessageKind::Change);
                    self.server.send(session, now_ms, Message::Broken(kind));
                }
            }
            Step::Resync => self.follow.full_sync_requested(),
            Step::UnknownSecret => self.follow.unknown_secret(),
            Step::ForeignData => self.follow.foreign_data(),
            Step::PushesLost => self.follow.pushes_lost(),
            Step::NoFit => self.agent.fits = !self.agent.fits,
            Step::Unknown(environment, item) => {
                self.server.version += 1;
                let version = self.server.version;
                if let Some(items) = self.server.held.get_mut(environment) {
                    items.insert(*item, version);
                }
                let sessions: Vec<_> = self.server.sessions.keys().copied().collect();
                sessions.into_iter().for_each(|session| self.server.send(session, now_ms, Message::Unknown));
            }
            Step::NewKey => self.follow.key_changed(now_ms),
        }
        self.run(0);
    }
}

/// Whatever happened before, one full sync later every environment is told of.
fn every_environment_is_told_of(seed: u64, fits: bool, steps: &[Step]) {
    let mut world = World::without_resync(seed, fits);
    for step in steps {
        world.step(step);
    }
    world.server.delays.clear();
    world.step(&Step::Resync);
    world.run(300_000);
    // By pushes alone, if requests can tell what a connection is told of; otherwise by the next full syncs.
    let environments: Vec<u8> = world.server.secrets.iter().map(|(environment, _)| *environment).collect();
    for environment in environments {
        world.server.change(world.now_ms, environment, 3);
    }
    world.run(100);
    if fits {
        world.check_settled();
    }
}

/// What went wrong: the connection that was opened for it does not have it, and no other was opened when it was back.
#[test]
fn an_environment_that_was_away_while_its_connection_was_opened_is_told_of_when_it_is_back() {
    let away = [
        Step::Wait(5),
        Step::AddEnvironment(3),
        Step::Resync,
        Step::RemoveEnvironment(3),
        Step::Wait(5),
        Step::AddEnvironment(3),
    ];
    every_environment_is_told_of(0, true, &away);
    // It is back before a full sync shows that it was away.
    let back_in_time = [
        Step::Wait(5),
        Step::AddEnvironment(3),
        Step::Resync,
        Step::RemoveEnvironment(3),
        Step::Delay(10),
        Step::Wait(5),
        Step::AddEnvironment(3),
        Step::Wait(30),
    ];
    every_environment_is_told_of(0, true, &back_in_time);
    // Its connection did have it; the next one was opened while it was away.
    let away_later = [
        Step::Wait(5),
        Step::AddEnvironment(4),
        Step::AddEnvironment(3),
        Step::Resync,
        Step::RemoveEnvironment(4),
        Step::Wait(5),
        Step::End(false),
        Step::RemoveEnvironment(3),
        Step::Wait(1_000),
        Step::AddEnvironment(3),
    ];
    every_environment_is_told_of(0, true, &away_later);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_all_is_as_at_the_server_and_nothing_went_back(
        seed in any::<u64>(),
        fits in any::<bool>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new(seed, fits);
        for step in &steps {
            world.step(step);
        }
        world.server.dials.clear();
        world.server.delays.clear();
        world.server.broken = 0;
        // Longer than two full syncs are apart, and than any delay before an attempt.
        world.run(1_800_000);
        world.check_settled();
    }

    #[test]
    fn without_full_syncs_by_time_every_push_arrives(
        seed in any::<u64>(),
        changes in prop::collection::vec((1u8..3, 0u8..4, 0u64..3_000, any::<bool>()), 1..40),
    ) {
        let mut world = World::without_resync(seed, true);
        world.run(1_000);
        for (environment, item, wait_ms, end) in changes {
            world.server.change(world.now_ms, environment, item);
            if end {
                world.step(&Step::End(false));
            }
            world.run(wait_ms);
        }
        world.run(300_000);
        world.check_settled();
    }

    #[test]
    fn without_full_syncs_by_time_what_is_not_understood_arrives(
        seed in any::<u64>(),
        changes in prop::collection::vec((1u8..3, 0u8..4, 0u64..30_000, any::<bool>()), 1..20),
    ) {
        let mut world = World::without_resync(seed, true);
        world.run(1_000);
        for (environment, item, wait_ms, unknown) in changes {
            let step = if unknown { Step::Unknown(environment, item) } else { Step::Change(environment, item) };
            world.step(&step);
            world.run(wait_ms);
        }
        // The longest pause before the next full sync that is asked for because of one.
        world.run(600_000);
        world.check_settled();
    }

    #[test]
    fn every_environment_is_told_of_however_it_came(
        seed in any::<u64>(),
        fits in any::<bool>(),
        steps in prop::collection::vec(scope_step(), 1..30),
    ) {
        every_environment_is_told_of(seed, fits, &steps);
    }
}
