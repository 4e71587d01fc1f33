//! Every mistake in a flow document is told with its place and what would be right.
//!
//! The cases stand in `flow_errors.txt`. For each, the JSON Schema is asked as
//! well: what the case calls a mistake of shape it must refuse, what it calls
//! one of meaning it must let pass. The document is read for the schema by
//! serde-saphyr, which is not the reader under test.

use std::fs;
use std::path::{Path, PathBuf};

use callbot::flow::{self, SCHEMA, Severity, Surroundings};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/flow_errors.txt");

/// A folder with prompts in it, one of which cannot be played.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.join("prompts/sub")).expect("a temporary folder");
    for file in ["welcome.wav", "menu.wav", "broken.wav"] {
        fs::write(folder.join("prompts").join(file), file).expect("a temporary file");
    }
    fs::write(folder.join("menu.wav"), "menu.wav").expect("a temporary file");
    folder
}

fn probe(path: &Path) -> Result<(), String> {
    if path.ends_with("broken.wav") {
        Err("it is not\naudio".to_owned())
    } else {
        Ok(())
    }
}

fn surroundings() -> Surroundings<'static> {
    Surroundings {
        builtins: &["welcome", "menu", "goodbye"],
        probe: &probe,
    }
}

fn told(document: &[u8], folder: &Path) -> String {
    let problems = match flow::parse("ivr.yaml", folder, document, &surroundings()) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(problems) => problems.to_string(),
    };
    problems.replace(&folder.display().to_string(), "FOLDER")
}

struct Case<'a> {
    title: &'a str,
    kind: &'a str,
    document: &'a str,
    expected: &'a str,
}

fn cases(text: &str) -> (&str, Vec<Case<'_>>) {
    let mut parts = text.split("\n=== ");
    let head = parts.next().expect("a head");
    let cases = parts
        .map(|part| {
            let (title, rest) = part.split_once('\n').expect("a title line");
            let (document, expected) = rest.split_once(">>>").expect("`>>>` in every case");
            let kind = title
                .rsplit_once('(')
                .expect("a kind")
                .1
                .trim_end_matches(')');
            Case {
                title,
                kind,
                document,
                expected: expected.trim(),
            }
        })
        .collect();
    (head, cases)
}

#[test]
fn every_mistake_is_told_as_the_list_says() {
    let folder = folder("flow_errors");
    let text = fs::read_to_string(CASES).expect("the list of cases");
    let (head, cases) = cases(&text);
    assert!(cases.len() >= 50);
    let mut rewritten = head.to_owned();
    let mut wrong = Vec::new();
    for case in &cases {
        let told = told(case.document.as_bytes(), &folder);
        if told != case.expected {
            wrong.push(format!(
                "=== {}\nexpected:\n{}\ntold:\n{told}\n",
                case.title, case.expected
            ));
        }
        rewritten += &format!("\n=== {}\n{}>>>\n{told}", case.title, case.document);
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(CASES, rewritten + "\n").expect("the list can be written");
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn every_case_is_an_error_and_every_line_has_a_place() {
    let folder = folder("flow_places");
    let text = fs::read_to_string(CASES).expect("the list of cases");
    for case in cases(&text).1 {
        let bytes = case.document.as_bytes();
        let problems =
            flow::parse("ivr.yaml", &folder, bytes, &surroundings()).expect_err(case.title);
        let lines = case.document.lines().count().max(1) + 1;
        for problem in &problems.list {
            let at = problem.location.expect("a place");
            assert!(
                at.line as usize <= lines && at.column >= 1,
                "{}: {at}",
                case.title
            );
            assert!(
                !problem.text.contains('\n'),
                "{}: one line each",
                case.title
            );
        }
    }
}

#[test]
fn the_schema_refuses_the_same_shapes() {
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a schema");
    let schema = jsonschema::validator_for(&schema).expect("the schema compiles");
    let text = fs::read_to_string(CASES).expect("the list of cases");
    for case in cases(&text).1 {
        let refused = || {
            let value: serde_json::Value = serde_saphyr::from_str(case.document)
                .unwrap_or_else(|error| panic!("{}: {error}", case.title));
            !schema.is_valid(&value)
        };
        match case.kind {
            "syntax" => {}
            "shape" => assert!(refused(), "the schema takes: {}", case.title),
            "meaning" => assert!(!refused(), "the schema refuses: {}", case.title),
            other => panic!("{}: unknown kind {other}", case.title),
        }
    }
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let folder = folder("flow_bytes");
    let told = |bytes: &[u8]| told(bytes, &folder);
    assert_eq!(
        told(b"version: 1\nname: B\xfcro\n"),
        "ivr.yaml:2:8: byte 0xfc is not UTF-8; save the file as UTF-8"
    );
    assert_eq!(
        told(
            "\u{fc}\u{fc}"
                .as_bytes()
                .iter()
                .copied()
                .chain([0xff])
                .collect::<Vec<_>>()
                .as_slice()
        ),
        "ivr.yaml:1:3: byte 0xff is not UTF-8; save the file as UTF-8"
    );
    assert_eq!(
        told(b"\xff\xfev\0"),
        "ivr.yaml:1:1: the file is UTF-16; save it as UTF-8"
    );
    let large = format!("# {}\n", "x".repeat(300 * 1024));
    assert_eq!(
        told(large.as_bytes()),
        "ivr.yaml:1:1: the file is larger than 256 KB; split it into several flows"
    );
}

#[test]
fn a_document_that_swells_or_nests_is_refused_before_it_costs_anything() {
    let folder = folder("flow_bombs");
    let mut laughs = "version: 1\nl0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for level in 1..20 {
        let line = format!("*l{},", level - 1).repeat(10);
        laughs += &format!("l{level}: &l{level} [{line}]\n");
    }
    assert_eq!(
        told(laughs.as_bytes(), &folder),
        "ivr.yaml:6:10: the document has more than 20000 values, aliases written out; split it"
    );
    let deep = format!("version: 1\nstates: {}", "[".repeat(200_000));
    assert_eq!(
        told(deep.as_bytes(), &folder),
        "ivr.yaml:2:33: lists and maps stand more than 24 deep inside one another; a flow needs no more than 8"
    );
    let wide = format!("version: 1\nstates: [{}]", "a,".repeat(100_000));
    assert!(told(wide.as_bytes(), &folder).contains("more than 20000 values"));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem_without_a_place() {
    let missing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-such-flow.yaml");
    let problems = flow::load(&missing, &surroundings()).expect_err("there is no such file");
    assert_eq!(problems.list.len(), 1);
    assert_eq!(problems.list[0].location, None);
    let text = problems
        .to_string()
        .replace(&missing.display().to_string(), "FLOW");
    assert!(
        text.starts_with("FLOW: the flow cannot be read: "),
        "{text}"
    );
}

#[test]
fn what_is_only_odd_is_a_warning_and_the_flow_can_be_used() {
    let folder = folder("flow_warnings");
    let document = "\
version: 1
states:
  menu:
    - record: rec/last.wav
    - hangup
    - play: prompts/menu.wav
  lost: [{goto: menu}]
";
    let loaded =
        flow::parse("ivr.yaml", &folder, document.as_bytes(), &surroundings()).expect("no error");
    assert!(
        loaded
            .warnings
            .list
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    );
    assert_eq!(loaded.warnings.errors(), 0);
    assert_eq!(
        loaded.warnings.to_string(),
        "\
ivr.yaml:4:15: warning: every call writes the same file `rec/last.wav`; add {call_id} to the name
ivr.yaml:6:7: warning: this step is never reached: the `hangup` before it never goes on to the next step
ivr.yaml:7:3: warning: nothing leads to the state `lost`; go to it from somewhere, or take it out"
    );
}
