//! What a flow document means: the model that comes out, defaults, the sample
//! flows, and that no document whatsoever makes the reader panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callbot::flow::{self, Action, Flow, Loaded, PromptRef, SCHEMA, Surroundings, Variable};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SAMPLES: [&str; 3] = ["office.yaml", "screening.yaml", "mailbox.json"];

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("flows")
        .join(name)
}

fn builtins() -> Vec<&'static str> {
    callbot_media_files::all()
        .iter()
        .map(|file| file.name)
        .collect()
}

fn read(document: &str) -> Flow {
    let surroundings = Surroundings {
        builtins: &["menu"],
        probe: &|_| Ok(()),
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    match flow::parse("flow.yaml", folder, document.as_bytes(), &surroundings) {
        Ok(Loaded { flow, warnings }) if warnings.is_empty() => flow,
        Ok(Loaded { warnings, .. }) => panic!("{warnings}"),
        Err(problems) => panic!("{problems}"),
    }
}

/// The action of the first step of the first state.
fn first(document: &str) -> Action {
    read(&format!("version: 1\nstates:\n{document}")).states[0].steps[0]
        .action
        .clone()
}

fn schema() -> jsonschema::Validator {
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema compiles")
}

#[test]
fn the_sample_flows_are_without_fault_and_fit_the_schema() {
    let names = builtins();
    let surroundings = Surroundings {
        builtins: &names,
        probe: &|_| Ok(()),
    };
    let schema = schema();
    for name in SAMPLES {
        let path = sample(name);
        let loaded =
            flow::load(&path, &surroundings).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        let text = fs::read_to_string(&path).expect("a sample");
        let value: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        let errors: Vec<String> = schema
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    let in_folder = fs::read_dir(sample("")).expect("the samples").count();
    assert_eq!(in_folder, SAMPLES.len(), "every sample is tested");
}

#[test]
fn every_option_of_a_gather_arrives() {
    let Action::Gather(gather) = first(
        "
  a:
    - gather:
        prompt: [builtin:menu, 'silence:1s']
        digits: 2-6
        finish_on: '#*'
        first_digit: 7
        inter_digit: 1500ms
        tries: 4
        barge_in: false
        flush: true
        on: {'12': b, '[3-5]...': a}
        on_timeout: b
        on_invalid: c
        invalid_prompt: tone:480+620Hz 250ms -20dB
        timeout_prompt: builtin:menu
  b: [hangup]
  c: [hangup]
",
    ) else {
        panic!("a gather")
    };
    assert_eq!(
        gather.prompt,
        [
            PromptRef::Builtin("menu".to_owned()),
            PromptRef::Silence(Duration::from_secs(1))
        ]
    );
    assert_eq!((gather.min_digits, gather.max_digits), (2, 6));
    assert_eq!(gather.finish_on.to_string(), "*#");
    assert_eq!(gather.first_digit, Duration::from_secs(7));
    assert_eq!(gather.inter_digit, Duration::from_millis(1500));
    assert_eq!(
        (gather.tries, gather.barge_in, gather.flush),
        (4, false, true)
    );
    let PromptRef::Tone(tone) = &gather.invalid_prompt[0] else {
        panic!("a tone")
    };
    assert_eq!(
        (tone.frequencies.as_slice(), tone.level),
        ([480.0, 620.0].as_slice(), -20.0)
    );
    assert_eq!(tone.duration, Duration::from_millis(250));
    assert_eq!(gather.timeout_prompt.len(), 1);
    assert_ne!(gather.on_timeout, gather.on_invalid);
    assert_eq!(gather.target("12"), gather.on_timeout);
    assert!(gather.accepts("12") && gather.accepts("39") && gather.accepts("512345"));
    assert!(
        !gather.accepts("3"),
        "too few for digits: 2-6, though the pattern matches"
    );
    assert!(!gather.accepts("21"), "no pattern matches");
    assert!(!gather.accepts("3123456"), "too many");
}

#[test]
fn a_gather_takes_as_many_digits_as_its_patterns_have() {
    let range = |on: &str| {
        let Action::Gather(gather) = first(&format!("  a: [{{gather: {{on: {on}}}}}]")) else {
            panic!("a gather")
        };
        (gather.min_digits, gather.max_digits)
    };
    assert_eq!(range("{'1': a, '2': a}"), (1, 1));
    assert_eq!(range("{'0': a, '1??': a}"), (1, 3));
    assert_eq!(range("{'0...': a}"), (1, 32));
    let Action::Gather(pin) = first("  a: [{gather: {allow: '[1-9]???', on_timeout: a}}]") else {
        panic!("a gather")
    };
    assert_eq!((pin.min_digits, pin.max_digits), (4, 4));
    assert!(pin.accepts("1234") && !pin.accepts("0234"));
    assert_eq!(
        pin.on_invalid, pin.on_timeout,
        "on_invalid is as on_timeout when it is not said"
    );
}

#[test]
fn what_is_not_said_has_the_value_that_the_documentation_names() {
    let Action::Gather(gather) = first("  a: [{gather: {on: {'1': a}}}]") else {
        panic!("a gather")
    };
    assert_eq!(gather.first_digit, Duration::from_secs(5));
    assert_eq!(gather.inter_digit, Duration::from_secs(3));
    assert_eq!(
        (gather.tries, gather.barge_in, gather.flush),
        (1, true, false)
    );
    assert!(gather.finish_on.is_empty() && gather.prompt.is_empty());
    assert_eq!((gather.on_timeout, gather.on_invalid), (None, None));

    let Action::Record(record) = first("  a: [{record: '{call_id}.wav'}]") else {
        panic!("a record")
    };
    assert_eq!(record.max, Duration::from_secs(60));
    assert_eq!(record.silence, Some(Duration::from_secs(3)));
    assert_eq!(
        (
            record.finish_on.to_string().as_str(),
            record.beep,
            record.stereo
        ),
        ("#", true, false)
    );

    let Action::Play(play) = first("  a: [{play: builtin:menu}]") else {
        panic!("a play")
    };
    assert_eq!((play.repeat, play.barge_in), (Some(1), false));

    let Action::Dtmf(dtmf) = first("  a: [{dtmf: 12w#}]") else {
        panic!("dtmf")
    };
    assert_eq!(dtmf.digits, "12w#");
    assert_eq!(
        (dtmf.tone, dtmf.gap),
        (Duration::from_millis(100), Duration::from_millis(100))
    );
}

#[test]
fn what_can_be_switched_off_is_switched_off() {
    let Action::Record(record) = first(
        "  a: [{record: {file: '{call_id}.wav', silence: never, finish_on: '', beep: false, stereo: true}}]",
    ) else {
        panic!("a record")
    };
    assert_eq!(record.silence, None);
    assert!(record.finish_on.is_empty() && !record.beep && record.stereo);
    let Action::Play(play) =
        first("  a: [{play: {prompt: builtin:menu, repeat: forever, barge_in: true}}]")
    else {
        panic!("a play")
    };
    assert_eq!((play.repeat, play.barge_in), (None, true));
}

#[test]
fn a_branch_takes_the_first_pattern_that_matches() {
    let flow = read(
        "
version: 1
states:
  a:
    - branch: {value: '{from}', on: {'100': b, '+49...': c}, otherwise: d}
  b: [{reject: {status: 603, reason: 'No, thanks'}}]
  c: [{ring: 2s}, answer, hangup]
  d: [{reject: 486}]
",
    );
    let Action::Branch(branch) = &flow.states[0].steps[0].action else {
        panic!("a branch")
    };
    let leads_to = |value: &str| branch.target(value).map(|id| flow[id].name.as_str());
    assert_eq!(leads_to("100"), Some("b"));
    assert_eq!(leads_to("+4930123"), Some("c"));
    assert_eq!(leads_to("alice"), Some("d"));
    assert_eq!(
        branch.value.variables().collect::<Vec<_>>(),
        [Variable::From]
    );
    let Action::Reject(reject) = &flow.states[1].steps[0].action else {
        panic!("a reject")
    };
    assert_eq!(
        (reject.status, reject.reason.as_deref()),
        (603, Some("No, thanks"))
    );
    assert_eq!(flow.find("d").map(|id| flow[id].at.line), Some(8));
}

#[test]
fn prompts_are_found_by_name_in_the_folder_and_by_variable() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flow_prompts");
    fs::create_dir_all(folder.join("audio")).expect("a temporary folder");
    fs::write(folder.join("audio/hello.wav"), "").expect("a temporary file");
    let probed = std::cell::RefCell::new(Vec::new());
    let probe = |path: &Path| {
        probed.borrow_mut().push(path.to_owned());
        Ok(())
    };
    let surroundings = Surroundings {
        builtins: &["menu"],
        probe: &probe,
    };
    let play = |prompts: &str, steps: &str| {
        let document = format!("version: 1\nprompts: {prompts}\nstates: {{a: {steps}}}");
        let flow = flow::parse("f", &folder, document.as_bytes(), &surroundings)
            .unwrap_or_else(|problems| panic!("{problems}"))
            .flow;
        flow.states[0].steps[0]
            .action
            .prompts()
            .cloned()
            .collect::<Vec<_>>()
    };
    let file = PromptRef::File(folder.join("audio").join("hello.wav"));
    assert_eq!(
        play("audio", "[{play: hello.wav}, {play: hello.wav}]"),
        std::slice::from_ref(&file)
    );
    assert_eq!(probed.borrow().len(), 1, "a file is probed once");
    let menu = PromptRef::Builtin("menu".to_owned());
    assert_eq!(
        play(
            "{hi: [audio/hello.wav, builtin:menu]}",
            "[{play: [hi, audio/hello.wav]}]"
        ),
        [file.clone(), menu, file]
    );
    let named = play("audio", "[{play: '{from}/{digits}.wav'}]");
    let [
        PromptRef::Named {
            folder: found,
            name,
        },
    ] = named.as_slice()
    else {
        panic!("{named:?}")
    };
    assert_eq!(found, &folder.join("audio"));
    assert_eq!(name.file_name(|_| "..".to_owned()), "_./_..wav");
    assert!(matches!(
        play("audio", "[{play: 'spell:{digits}'}]").as_slice(),
        [PromptRef::Spell(_)]
    ));
}

#[test]
fn json_and_yaml_are_the_same_document() {
    let yaml = read(
        "version: 1\nname: x\nstates:\n  a:\n    - gather: {on: {1: b}, tries: 2}\n  b:\n    - play: tone:440Hz 1s\n",
    );
    let json = read(
        "{\n\t\"version\": 1, \"name\": \"x\",\n\t\"states\": {\"a\": [{\"gather\": {\"on\": {\"1\": \"b\"}, \"tries\": 2}}], \"b\": [{\"play\": \"tone:440Hz 1s\"}]}}",
    );
    let meaning = |flow: &Flow| {
        let states = flow.states.iter().map(|state| {
            (
                state.name.clone(),
                state
                    .steps
                    .iter()
                    .map(|step| step.action.clone())
                    .collect::<Vec<_>>(),
            )
        });
        (flow.name.clone(), flow.start, states.collect::<Vec<_>>())
    };
    assert_eq!(meaning(&yaml), meaning(&json));
    assert_eq!(yaml.states[1].steps[0].at.to_string(), "7:7");
}

#[test]
fn an_alias_repeats_what_its_anchor_holds() {
    let flow = read(
        "version: 1\nstates:\n  a: [{gather: &ask {on: {'1': b}, tries: 3}}]\n  b: [{gather: *ask}]\n",
    );
    assert_eq!(
        flow.states[0].steps[0].action,
        flow.states[1].steps[0].action
    );
}

#[test]
fn thousands_of_states_in_a_chain_are_walked_without_a_deep_stack() {
    let mut document = "version: 1\nstates:\n".to_owned();
    let last = 3500;
    for state in 0..last {
        document += &format!("  s{state}: [{{goto: s{}}}]\n", state + 1);
    }
    document += &format!("  s{last}: [hangup]\n");
    assert_eq!(read(&document).states.len(), last + 1);
}

/// Documents that are almost right: bytes changed, pieces dropped, doubled,
/// moved and exchanged for words of the language.
fn mutate(original: &[u8], random: &mut StdRng) -> Vec<u8> {
    const WORDS: [&str; 40] = [
        "'",
        "\"",
        "*",
        "&a ",
        "*a",
        "#",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "\n",
        "\n  ",
        "\t",
        ",",
        "!!x ",
        "|\n",
        "0",
        "-1",
        "1e9",
        "999999999999",
        "true",
        "null",
        "~",
        "''",
        "5s",
        "0s",
        "...",
        "?",
        "[1-5]",
        "{digits}",
        "{",
        "é",
        "\u{1F600}",
        "\0",
        "forever",
        "menu",
        "gather",
        "on",
    ];
    let mut bytes = original.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let from = random.random_range(0..=bytes.len());
        let to = (from + random.random_range(0..12)).min(bytes.len());
        match random.random_range(0..5) {
            0 => drop(bytes.drain(from..to)),
            1 => {
                let piece = bytes[from..to].to_vec();
                let at = random.random_range(0..=bytes.len());
                bytes.splice(at..at, piece);
            }
            2 => {
                let word = WORDS[random.random_range(0..WORDS.len())].bytes();
                bytes.splice(from..to.min(from + 3), word);
            }
            3 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = random.random();
                }
            }
            _ => {
                // A word for another word of the same document: still YAML, with another meaning.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let words: Vec<&str> = text
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .filter(|word| !word.is_empty())
                    .collect();
                if words.is_empty() {
                    continue;
                }
                let (old, new) = (
                    words[random.random_range(0..words.len())],
                    words[random.random_range(0..words.len())],
                );
                bytes = text.replacen(old, new, 1).into_bytes();
            }
        }
    }
    bytes
}

#[test]
fn no_document_makes_the_reader_panic_and_what_it_takes_the_schema_takes() {
    let names = builtins();
    let surroundings = Surroundings {
        builtins: &names,
        probe: &|_| Ok(()),
    };
    let schema = schema();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut random = StdRng::seed_from_u64(0x1f0e);
    let originals: Vec<Vec<u8>> = SAMPLES
        .iter()
        .map(|name| fs::read(sample(name)).expect("a sample"))
        .collect();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let original = &originals[random.random_range(0..originals.len())];
        let document = mutate(original, &mut random);
        match flow::parse("m.yaml", folder, &document, &surroundings) {
            Err(problems) => {
                refused += 1;
                assert!(problems.errors() > 0, "refused without an error");
                assert!(
                    problems.to_string().lines().count() == problems.list.len(),
                    "one line each: {problems}"
                );
            }
            Ok(_) => {
                taken += 1;
                let text = std::str::from_utf8(&document).expect("what was taken is UTF-8");
                // The oracle is stricter in a few things (control characters) that are no matter of shape.
                let Ok(value) = serde_saphyr::from_str::<serde_json::Value>(text) else {
                    continue;
                };
                let errors: Vec<String> = schema
                    .iter_errors(&value)
                    .map(|error| error.to_string())
                    .collect();
                assert!(
                    errors.is_empty(),
                    "the reader takes what the schema refuses: {errors:?}\n{text}"
                );
            }
        }
    }
    assert!(
        taken > 500 && refused > 5000,
        "both kinds occur: {taken} taken, {refused} refused"
    );
}

#[test]
fn large_documents_full_of_mistakes_are_read_to_the_end() {
    let unknown: String = (0..3000)
        .map(|n| format!("  s{n}: [{{goto: t{n}}}]\n"))
        .collect();
    let missing: String = (0..6000).map(|n| format!("  - play: p{n}.wav\n")).collect();
    let patterns: String = (0..5000).map(|n| format!("'{n:05}': a, ")).collect();
    for (document, count) in [
        (format!("version: 1\nstates:\n{unknown}"), 3000),
        (format!("version: 1\nstates:\n a:\n{missing}"), 6000),
        (
            format!("version: 1\nstates: {{a: [{{gather: {{digits: 1, on: {{{patterns}}}}}}}]}}"),
            5000,
        ),
    ] {
        let surroundings = Surroundings {
            builtins: &[],
            probe: &|_| Ok(()),
        };
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let problems =
            flow::parse("f", folder, document.as_bytes(), &surroundings).expect_err("mistakes");
        assert_eq!(problems.list.len(), count);
    }
}
