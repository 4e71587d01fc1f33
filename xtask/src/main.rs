//! The project's own tasks.
mod prompt_list;
mod prompts;

fn main() -> anyhow::Result<()> {
    prompts::run(std::path::Path::new("media-files"))
}
