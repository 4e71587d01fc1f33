//! The README's table of commands: each flag that it names is one that the command has, and each file is there.

use std::path::Path;
use std::process::Command;

#[test]
fn the_commands_of_the_readme_exist() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    let mut seen = 0;
    for line in readme.lines() {
        let Some(command) = line.strip_prefix("| `callbot ") else {
            continue;
        };
        let command = command.split('`').next().unwrap_or_default();
        let mut words = command.split_whitespace();
        let Some(name) = words.next() else { continue };
        let output = Command::new(env!("CARGO_BIN_EXE_callbot"))
            .args([name, "--help"])
            .output()?;
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "there is no `callbot {name}`");
        for word in words {
            if word.starts_with("--") {
                assert!(
                    help.contains(&format!("{word} ")) || help.contains(&format!("{word}\n")),
                    "`callbot {name}` has no {word}"
                );
            } else if word.starts_with("bots/") {
                assert!(root.join(word).is_file(), "there is no {word}");
            }
        }
        seen += 1;
    }
    assert!(seen >= 7, "the table is gone: {seen} commands");
    Ok(())
}

#[test]
fn the_files_that_the_documents_link_to_exist() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    ] {
        let text = std::fs::read_to_string(root.join(document))?;
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            let elsewhere = target.is_empty() || target.starts_with("http");
            assert!(
                elsewhere || root.join(target).exists(),
                "{document} links to {target}"
            );
        }
    }
    Ok(())
}
