//! A configuration is read as it is meant, and every mistake in one is told with its place and the cure.
//!
//! The cases stand in `config_errors.txt`; the JSON Schema is asked as well,
//! with the document as the crate toml reads it, which knows nothing of the model.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::{Path, PathBuf};

use callbot::config::{self, BotTable, SCHEMA};
use callbot::flow::Problems;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config_errors.txt");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/callbot.toml");

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("broken.wav"), "no sound").unwrap();
    fs::write(
        folder.join("broken.yaml"),
        "version: 1\nstates: {a: [hangp]}\n",
    )
    .unwrap();
    folder
}

fn variables(name: &str) -> Option<String> {
    (name == "PW").then(|| "s3cret$".to_owned())
}

fn parse(folder: &Path, text: &str) -> Result<config::Loaded, Problems> {
    config::parse("callbot.toml", folder, text, &variables)
}

struct Case<'a> {
    title: &'a str,
    kind: &'a str,
    document: &'a str,
    expected: &'a str,
}

fn cases(text: &str) -> (&str, Vec<Case<'_>>) {
    let mut parts = text.split("\n=== ");
    let head = parts.next().unwrap();
    let cases = parts.map(|part| {
        let (title, rest) = part.split_once('\n').unwrap();
        let (document, expected) = rest.split_once(">>>").unwrap();
        Case {
            title,
            kind: title.rsplit_once('(').unwrap().1.trim_end_matches(')'),
            document,
            expected: expected.trim(),
        }
    });
    (head, cases.collect())
}

#[test]
fn every_mistake_is_told_as_the_list_says() {
    let folder = folder("config_errors");
    let text = fs::read_to_string(CASES).unwrap();
    let (head, cases) = cases(&text);
    let mut rewritten = head.to_owned();
    let mut wrong = Vec::new();
    for case in &cases {
        let problems = parse(&folder, case.document).expect_err(case.title);
        for problem in &problems.list {
            assert!(problem.location.is_some(), "{}: a place", case.title);
            assert!(
                !problem.text.contains("48151623"),
                "{}: a secret",
                case.title
            );
        }
        let told = problems.to_string();
        let told = told.replace(&folder.display().to_string(), "FOLDER");
        if told != case.expected {
            let expected = case.expected;
            wrong.push(format!(
                "=== {}\nexpected:\n{expected}\ntold:\n{told}\n",
                case.title
            ));
        }
        rewritten += &format!("\n=== {}\n{}>>>\n{told}\n", case.title, case.document);
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(CASES, rewritten).unwrap();
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn as_json(text: &str) -> serde_json::Value {
    let table: toml::Table = toml::from_str(text).unwrap();
    serde_json::to_value(table).unwrap()
}

#[test]
fn the_schema_refuses_the_same_shapes() {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let text = fs::read_to_string(CASES).unwrap();
    for case in cases(&text).1 {
        match case.kind {
            "syntax" => {}
            "shape" => assert!(
                !schema.is_valid(&as_json(case.document)),
                "the schema takes: {}",
                case.title
            ),
            "meaning" => assert!(
                schema.is_valid(&as_json(case.document)),
                "the schema refuses: {}",
                case.title
            ),
            other => panic!("{}: no kind {other}", case.title),
        }
    }
    let example = as_json(&fs::read_to_string(EXAMPLE).unwrap());
    let errors: Vec<String> = schema
        .iter_errors(&example)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The example is what the documentation shows: it holds without a warning, and names every key.
#[test]
fn the_example_holds_and_shows_every_key() {
    let text = fs::read_to_string(EXAMPLE).unwrap();
    let folder = Path::new(EXAMPLE).parent().unwrap();
    let loaded = config::parse("callbot.toml", folder, &text, &|_| None)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings.to_string(), "");
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    for (table, definition) in schema["$defs"].as_object().unwrap() {
        let keys = definition["properties"].as_object().into_iter().flatten();
        for (key, _) in keys {
            let shown = text.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} = "))
                    || line.contains(&format!("or: {key} = "))
                    || line.contains(&format!("# or: {key}"))
            });
            assert!(shown, "the example does not show `{key}` of {table}");
        }
    }
}

#[test]
fn values_mean_what_they_say() {
    let folder = folder("config_values");
    let loaded = parse(
        &folder,
        r#"
listen = []
drain = 1.5
[limits]
calls = "${CALLS:-7}"
[[account]]
address = "sip:600@pbx"
password = "${PW}$$"
[[route]]
number = "600"
header = ["X-A: b", "X-C:d"]
bot = "answer"
ring = "1500ms"
[[route]]
prefix = ["00", "+"]
bot = "gateway"
to = "sip:{user}@trunk"
"#,
    )
    .unwrap();
    assert_eq!(loaded.warnings.to_string(), "");
    let config = loaded.config;
    assert_eq!(config.general.drain.unwrap().0.as_millis(), 1500);
    assert_eq!(config.limits.calls.unwrap().0, 7);
    assert_eq!(config.accounts[0].password.as_ref().unwrap().0, "s3cret$$");
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(config::listeners(&config).is_empty());
    assert_eq!(config.routes[0].when.header.0[1].0.name, "X-C");
    let BotTable::Answer(answer) = &config.routes[0].bot else {
        panic!("{:?}", config.routes[0].bot)
    };
    assert_eq!(answer.ring.unwrap().0.as_millis(), 1500);
    assert_eq!(config.routes[1].when.prefix.0, ["00", "+"]);
}

#[test]
fn what_can_hardly_be_meant_is_a_warning() {
    let folder = folder("config_warnings");
    let told = parse(&folder, "").unwrap().warnings.to_string();
    assert!(
        told.contains("callbot.toml:1:1: warning: there is no [[route]]"),
        "{told}"
    );
    let twice = "[[route]]\nbot = \"echo\"\n[[route]]\nnumber = \"1\"\nbot = \"echo\"\n";
    let told = parse(&folder, twice).unwrap().warnings.to_string();
    assert!(
        told.contains("callbot.toml:3:1: warning: this route takes no call"),
        "{told}"
    );
}

/// Whatever stands in a file, it is told and not a panic: each byte of the example left out, doubled, or replaced.
#[test]
fn no_damage_to_a_file_is_a_panic() {
    let text = fs::read_to_string(EXAMPLE).unwrap();
    let folder = folder("config_damage");
    for at in (0..text.len())
        .filter(|at| text.is_char_boundary(*at))
        .step_by(3)
    {
        let (before, after) = text.split_at(at);
        let rest: String = after.chars().skip(1).collect();
        for damaged in [
            format!("{before}{rest}"),
            format!("{before}\"{rest}"),
            format!("{before}[{after}"),
            format!("{before}${{{after}"),
        ] {
            if let Err(problems) = parse(&folder, &damaged) {
                assert!(!problems.is_empty());
            }
        }
    }
}
