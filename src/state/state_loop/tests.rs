//! What the loop does with queues that nobody reads.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};

use super::Outputs;
use crate::agent::AgentControl;
use crate::channels::ChannelCommand;
use crate::channels::message::Route;
use crate::limits::{
    AGENT_CONTROL_INBOX, AGENT_PROCESSES_MAX, CHANNEL_INBOX, CHANNEL_RESERVE, FORGOTTEN_AT_ONCE_MAX,
};
use crate::net::outbound;
use crate::protocol::call::{Channel, RunId};
use crate::state::Effect;

/// The ways out of a state thread behind which nobody takes anything.
fn outputs() -> (Outputs, Receiver<AgentControl>, Receiver<Box<ChannelCommand>>) {
    let (to_agent_control, agent_control) = bounded(AGENT_CONTROL_INBOX);
    let (to_channels, channels) = bounded(CHANNEL_INBOX + CHANNEL_RESERVE);
    let outputs = Outputs {
        outbound: outbound::queue().0,
        store: bounded(0).0,
        agent: bounded(0).0,
        agent_control: to_agent_control,
        channels: to_channels,
        fanout_us: Arc::default(),
    };
    (outputs, agent_control, channels)
}

fn new_conversation(number: usize) -> Effect {
    let session_key = number.to_string();
    Effect::AgentControl(AgentControl::EndSession { session_key, delete: false })
}

#[test]
fn any_number_of_new_conversations_leaves_room_for_what_the_agent_thread_must_be_told() {
    let (outputs, agent_control, _channels) = outputs();
    let mut effects: Vec<Effect> = (0..5_000).map(new_conversation).collect();
    let deletion = |number: usize| {
        let session_key = number.to_string();
        Effect::AgentControl(AgentControl::EndSession { session_key, delete: true })
    };
    let cancel = |number: usize| Effect::AgentControl(AgentControl::Cancel(RunId::from(number.to_string())));
    effects.extend((0..FORGOTTEN_AT_ONCE_MAX).map(deletion));
    effects.extend((0..2 * AGENT_PROCESSES_MAX).map(cancel));
    effects.push(Effect::AgentControl(AgentControl::Shutdown));
    outputs.execute(&mut effects);
    let told: Vec<AgentControl> = agent_control.try_iter().collect();
    let dropped = |control: &&AgentControl| matches!(control, AgentControl::EndSession { delete: false, .. });
    let must = told.len() - told.iter().filter(dropped).count();
    assert_eq!(must, FORGOTTEN_AT_ONCE_MAX + 2 * AGENT_PROCESSES_MAX + 1);
    outputs.execute(&mut vec![new_conversation(1)]);
    assert_eq!(agent_control.len(), 1, "where there is room it is told");
}

#[test]
fn what_the_channels_may_miss_leaves_room_for_what_they_must_be_told() {
    let (outputs, _agent_control, channels) = outputs();
    let route = Route { channel: Channel::Telegram, chat: "1".into(), topic: None };
    let typing = || Effect::Channel(ChannelCommand::Typing { route: route.clone(), is_typing: true });
    let taken =
        || Effect::Channel(ChannelCommand::Acknowledge { channel: Channel::Telegram, result: Ok(()) });
    let mut effects: Vec<Effect> = (0..5_000).map(|_| typing()).collect();
    effects.extend((0..CHANNEL_INBOX).map(|_| taken()));
    outputs.execute(&mut effects);
    let told = channels.try_iter().filter(|command| matches!(**command, ChannelCommand::Acknowledge { .. }));
    assert_eq!(told.count(), CHANNEL_INBOX);
    outputs.execute(&mut vec![typing()]);
    assert_eq!(channels.len(), 1, "where there is room they are told");
}
