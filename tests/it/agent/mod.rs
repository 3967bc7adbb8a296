//! Agents as processes of the daemon: their runs, the walls around them, and what they leave behind.

mod leftovers;
mod real_pi;
mod runs;
mod sandbox;
mod sandbox_leftovers;
mod walls;
