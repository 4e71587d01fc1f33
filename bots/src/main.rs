//! The command `callbot`: ready-made telephone bots for testers and operators.

mod command;
mod demo;

fn main() -> std::process::ExitCode {
    command::main()
}
