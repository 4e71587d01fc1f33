//! Ready-made telephone bots and the callbot command.

pub mod flow;
