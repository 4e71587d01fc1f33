//! The command `callbot`: ready-made telephone bots for testers and operators.

mod command;

fn main() -> std::process::ExitCode {
    command::main()
}
