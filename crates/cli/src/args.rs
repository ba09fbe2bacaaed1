//! The command line: which command, its own arguments, and the settings that flags set.

use std::path::PathBuf;

use brisk_kernels::WeightType;
use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser, value_parser};

use crate::{
    commands::DEFAULT_MAX_TOKENS,
    config::settings::{self, DefaultValue, Group, Kind, Setting},
    output::{message, shortened},
};

/// A parsed command line.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) task: Task,
    /// What the flags set, by setting name.
    pub(crate) flags: Vec<(&'static str, Vec<String>)>,
    /// `--config FILE`.
    pub(crate) config_file: Option<PathBuf>,
}

/// What to do, with the arguments that are no settings.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Serve,
    Chat(Sampling),
    Run { prompt: String, sampling: Sampling },
    Bench(BenchArgs),
    Tokenize { text: TextFrom, ids: bool, special: bool },
    Logits { tokens: TextFrom, output: PathBuf },
    Inspect { file: Option<PathBuf> },
    Config { markdown: bool },
}

/// How `chat` and `run` choose tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sampling {
    pub(crate) system: Option<String>,
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) seed: Option<u64>,
    pub(crate) max_tokens: Option<usize>,
}

/// What `bench` measures.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BenchArgs {
    pub(crate) prompt_tokens: usize,
    pub(crate) gen_tokens: usize,
    pub(crate) sequences: usize,
    /// How many runs, where it is not the default of what is measured.
    pub(crate) repeat: Option<usize>,
    /// Measure the machine and the matmul kernels of these types instead of a model.
    pub(crate) kernels: Option<Vec<WeightType>>,
    pub(crate) json: bool,
}

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextFrom {
    Argument(String),
    File(PathBuf),
}

/// Longest message about wrong usage that is shown as clap writes it, and lines of a longer one.
const MAX_USAGE_BYTES: usize = 2000;
const MAX_USAGE_LINES: usize = 20;

/// Reads the process's arguments; prints help or what is wrong and ends the process where that is
/// all there is to do (exit status 2 for wrong usage).
pub(crate) fn parse() -> Invocation {
    let matches = command().try_get_matches().unwrap_or_else(|error| {
        // Clap repeats what it does not understand, whatever its length.
        let lines = error.to_string();
        if !error.use_stderr() || lines.len() <= MAX_USAGE_BYTES {
            error.exit();
        }
        let lines: Vec<_> = lines.trim_end().lines().take(MAX_USAGE_LINES).map(message).collect();
        eprintln!("{}", lines.join("\n"));
        #[expect(clippy::exit, reason = "as clap does")]
        std::process::exit(error.exit_code())
    });
    invocation(&matches)
}

fn invocation(matches: &ArgMatches) -> Invocation {
    // Without a command, the top level takes the flags of `serve`.
    let (name, matches) = matches.subcommand().unwrap_or(("serve", matches));
    let flags = settings::ALL.into_iter().filter_map(|setting| {
        let given = matches.try_get_many::<String>(setting.name).ok().flatten()?;
        Some((setting.name, given.cloned().collect()))
    });
    Invocation {
        task: task(name, matches),
        flags: flags.collect(),
        config_file: matches.get_one("config").cloned(),
    }
}

fn task(name: &str, matches: &ArgMatches) -> Task {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let size = |name: &str| matches.get_one::<usize>(name).copied();
    let is_set = |name: &str| matches.get_flag(name);
    // Clap requires one of the two.
    let text_or_file = |argument: &str, file: &str| match path(file) {
        Some(path) => TextFrom::File(path),
        None => TextFrom::Argument(text(argument).unwrap_or_default()),
    };
    let sampling = || Sampling {
        system: text("system"),
        temperature: matches.get_one("temperature").copied(),
        top_p: matches.get_one("top_p").copied(),
        seed: matches.get_one("seed").copied(),
        max_tokens: size("max_tokens"),
    };
    match name {
        "chat" => Task::Chat(sampling()),
        "run" => Task::Run { prompt: text("prompt").unwrap_or_default(), sampling: sampling() },
        "bench" => Task::Bench(BenchArgs {
            prompt_tokens: size("prompt_tokens").unwrap_or(512),
            gen_tokens: size("gen_tokens").unwrap_or(64),
            sequences: size("sequences").unwrap_or(1),
            repeat: size("repeat"),
            kernels: matches.get_one::<Vec<WeightType>>("kernels").cloned(),
            json: is_set("json"),
        }),
        "tokenize" => Task::Tokenize {
            text: text_or_file("text", "file"),
            ids: is_set("ids"),
            special: is_set("special"),
        },
        "logits" => Task::Logits {
            tokens: text_or_file("tokens", "tokens_file"),
            output: path("output").unwrap_or_default(),
        },
        "inspect" => Task::Inspect { file: path("file") },
        "config" => Task::Config { markdown: is_set("markdown") },
        _ => Task::Serve,
    }
}

/// The whole command line.
fn command() -> Command {
    let serve_groups =
        [Group::Model, Group::Compute, Group::Engine, Group::Server, Group::Assistant, Group::Kept];
    let generate_groups = [Group::Model, Group::Compute, Group::Engine];
    let compute_groups = [Group::Model, Group::Compute];
    let top = Command::new("brisk")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Answers chat, fast, on the hardware you have")
        .long_about(
            "Answers chat, fast, on the hardware you have: an inference engine and a server that \
             speaks the OpenAI API, in one program. Without a command it serves.",
        )
        .after_help(
            "Examples:\n  \
             brisk                                   serve the built-in model on http://127.0.0.1:8080\n  \
             brisk serve --model my-model.gguf       serve a model of your own\n  \
             brisk run \"Why is the sky blue?\"        answer once and end\n  \
             brisk chat                              talk in the terminal\n\n\
             Every flag is also a key of brisk.toml and a variable BRISK_*: see `brisk config`.",
        )
        .args_conflicts_with_subcommands(true);
    with_settings(top, &serve_groups)
        .subcommand(with_settings(
            Command::new("serve")
                .about("Serve the OpenAI API and a web page")
                .after_help(
                    "Examples:\n  \
                     brisk serve --model my-model.gguf\n  \
                     brisk serve --host 0.0.0.0 --api-key \"$(openssl rand -hex 32)\"\n  \
                     curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\\n    \
                     -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'",
                ),
            &serve_groups,
        ))
        .subcommand(with_sampling(with_settings(
            Command::new("chat").about("Talk with the model in the terminal").after_help(
                "Ctrl-C stops a reply; at an empty prompt, Ctrl-C or Ctrl-D ends the program.\n\n\
                 Examples:\n  \
                 brisk chat --model my-model.gguf\n  \
                 brisk chat --system \"Answer in one sentence.\" --temperature 0.2",
            ),
            &generate_groups,
        )))
        .subcommand(with_sampling(with_settings(
            Command::new("run")
                .about("Answer one prompt and end")
                .arg(
                    Arg::new("prompt")
                        .required(true)
                        .help("What to ask; \"-\" reads it from standard input"),
                )
                .after_help(
                    "Examples:\n  \
                     brisk run \"Why is the sky blue?\"\n  \
                     brisk run - < letter.txt\n  \
                     brisk run \"Tell a story\" --seed 7 --max-tokens 200",
                ),
            &generate_groups,
        )))
        .subcommand(with_settings(bench(), &compute_groups))
        .subcommand(with_settings(tokenize(), &[Group::Model]))
        .subcommand(with_settings(logits(), &compute_groups))
        .subcommand(with_settings(
            Command::new("inspect")
                .about("Show what is in a model file and what it needs here")
                .arg(
                    Arg::new("file")
                        .value_parser(value_parser!(PathBuf))
                        .value_name("FILE")
                        .help("A GGUF file"),
                )
                .after_help("Example:\n  brisk inspect my-model.gguf --ctx-size 4096"),
            &generate_groups,
        ))
        .subcommand(with_settings(
            Command::new("config")
                .about("Show every setting, its value and where it came from")
                .arg(
                    Arg::new("markdown")
                        .long("markdown")
                        .action(ArgAction::SetTrue)
                        .help("Print the reference page of all settings instead"),
                )
                .after_help(
                    "Flags count first, then BRISK_* in the environment, then .env, then \
                     brisk.toml, then defaults.\n\nExample:\n  brisk config --port 9000",
                ),
            &serve_groups,
        ))
}

fn bench() -> Command {
    Command::new("bench")
        .about("Measure prefill and decode speed of a model on this machine")
        .arg(count("prompt_tokens", 1 << 20).default_value("512").help("Tokens of each prompt"))
        .arg(count("gen_tokens", 1 << 20).default_value("64").help("Tokens to generate after it"))
        .arg(count("sequences", 1024).default_value("1").help("Sequences that run side by side"))
        .arg(count("repeat", 1000).help(
            "Runs; the median counts, and of kernels the fastest [default: 3, with --kernels 40]",
        ))
        .arg(
            Arg::new("kernels")
                .long("kernels")
                .value_name("TYPES")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("all")
                .value_parser(weight_types)
                .conflicts_with_all(["model", "prompt_tokens", "gen_tokens", "sequences"])
                .help(
                    "Measure the machine and the kernels of these weight types, separated by \
                     commas, instead of a model; \"none\" leaves the machine alone [default: all]",
                ),
        )
        .arg(flag("json").help("Print one JSON object instead of a table"))
        .after_help(
            "Examples:\n  \
             brisk bench --model my-model.gguf\n  \
             brisk bench --model my-model.gguf --prompt-tokens 2048 --gen-tokens 128 --json\n  \
             brisk bench --kernels=Q4_K,Q6_K",
        )
}

fn tokenize() -> Command {
    Command::new("tokenize")
        .about("Show the tokens of a text")
        .arg(
            Arg::new("text")
                .long("text")
                .value_name("TEXT")
                .allow_hyphen_values(true)
                .required_unless_present("file")
                .conflicts_with("file")
                .help("The text"),
        )
        .arg(file("file").help("A file that holds the text"))
        .arg(flag("ids").help("Print only the ids, on one line"))
        .arg(flag("special").help(
            "Read control tokens in the text as such, and begin with the model's own if it wants one",
        ))
        .after_help(
            "Examples:\n  \
             brisk tokenize --model my-model.gguf --text \"Hello, world\"\n  \
             brisk tokenize --model my-model.gguf --file letter.txt --ids",
        )
}

fn logits() -> Command {
    Command::new("logits")
        .about("Write the logits after every token of a sequence")
        .arg(
            Arg::new("tokens")
                .long("tokens")
                .value_name("IDS")
                .required_unless_present("tokens_file")
                .conflicts_with("tokens_file")
                .help("Token ids, separated by commas or blanks"),
        )
        .arg(file("tokens_file").help("A file that holds the token ids"))
        .arg(
            file("output")
                .required(true)
                .help("Safetensors file to write: \"logits\", f32, [tokens, vocabulary]"),
        )
        .after_help(
            "Example:\n  brisk logits --model my-model.gguf --tokens 1,15043,3186 --output out.safetensors",
        )
}

fn with_sampling(command: Command) -> Command {
    command
        .arg(
            Arg::new("system")
                .long("system")
                .value_name("TEXT")
                .help("Instructions that stand before the conversation"),
        )
        .arg(
            number("temperature", value_parser!(f32))
                .help("Randomness: 0 always takes the likeliest token [default: 0.7]"),
        )
        .arg(
            number("top_p", value_parser!(f32))
                .help("Choose among the likeliest tokens that together reach this [default: 0.95]"),
        )
        .arg(number("seed", value_parser!(u64)).help("Same seed, same reply"))
        .arg(count("max_tokens", 1 << 28).help(format!(
            "Longest reply in tokens; one that is cut off says so on stderr [default: \
             {DEFAULT_MAX_TOKENS}, or what the context leaves]"
        )))
}

/// The settings of `groups` as flags, and those that every command has.
fn with_settings(command: Command, groups: &[Group]) -> Command {
    let shown = |it: &&Setting| groups.contains(&it.group) || it.group == Group::Log;
    let command = settings::ALL.into_iter().filter(shown).map(setting).fold(command, Command::arg);
    command.arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help_heading("Settings")
            .help("Configuration file [env: BRISK_CONFIG] [default: brisk.toml, if it is there]"),
    )
}

fn setting(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        DefaultValue::Is(text) => format!("[default: {text}]"),
        DefaultValue::None(words) => format!("[default: {words}]"),
    };
    let doc = setting.doc.trim_end_matches('.');
    let help = match setting.kind {
        Kind::Choice(words) => {
            format!("{doc} [env: {}] [one of: {}] {default}", setting.env(), words.join(", "))
        }
        _ => format!("{doc} [env: {}] {default}", setting.env()),
    };
    let arg = Arg::new(setting.name)
        .long(setting.flag())
        .aliases(setting.flag_aliases())
        .value_name(setting.kind.placeholder())
        .allow_hyphen_values(matches!(setting.kind, Kind::Number { .. }))
        .help_heading(match setting.group {
            Group::Assistant => "Assistant endpoints",
            Group::Kept => "Kept replies and conversations",
            _ => "Settings",
        })
        .help(help);
    let arg = if setting.name == "model" { arg.short('m') } else { arg };
    match setting.kind {
        Kind::List(_) => arg.action(ArgAction::Append),
        Kind::Choice(words) => {
            arg.value_parser(PossibleValuesParser::new(words)).hide_possible_values(true)
        }
        _ => arg,
    }
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name.replace('_', "-")).action(ArgAction::SetTrue)
}

fn file(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name.replace('_', "-"))
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
}

fn number(
    name: &'static str,
    parser: impl clap::builder::IntoResettable<clap::builder::ValueParser>,
) -> Arg {
    Arg::new(name)
        .long(name.replace('_', "-"))
        .value_name("N")
        .value_parser(parser)
        .allow_negative_numbers(true)
}

/// Names of weight types separated by commas, `all` or `none`.
fn weight_types(text: &str) -> Result<Vec<WeightType>, String> {
    match text {
        "all" => return Ok(WeightType::ALL.to_vec()),
        "none" => return Ok(Vec::new()),
        _ => {}
    }
    let weight_type = |name: &str| {
        WeightType::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| {
            let known = WeightType::ALL.map(WeightType::name).join(", ");
            format!("no weight type is called {:?}, known are all, none, {known}", shortened(name))
        })
    };
    text.split(',').map(weight_type).collect()
}

/// A whole number from 1 to `max`.
fn count(name: &'static str, max: usize) -> Arg {
    let parser = move |text: &str| match text.parse::<usize>() {
        Ok(value) if (1..=max).contains(&value) => Ok(value),
        _ => Err(format!("a whole number from 1 to {max} is needed")),
    };
    Arg::new(name).long(name.replace('_', "-")).value_name("N").value_parser(parser)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, String> {
        let words = line.split('|').map(str::to_owned);
        command().try_get_matches_from(words).map(|it| invocation(&it)).map_err(|it| it.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_line_becomes_a_task_and_flags() {
        let check = |line: &str, task: Task, flags: &[(&str, &str)]| {
            let found = parse(line).unwrap_or_else(|it| panic!("{line}: {it}"));
            assert_eq!(found.task, task, "{line}");
            let found: Vec<_> = found.flags.iter().map(|it| (it.0, it.1.join(","))).collect();
            let flags: Vec<_> = flags.iter().map(|it| (it.0, it.1.to_owned())).collect();
            assert_eq!(found, flags, "{line}");
        };
        check("brisk", Task::Serve, &[]);
        check("brisk|--port|0", Task::Serve, &[("port", "0")]);
        check(
            "brisk|serve|--model|m.gguf|--api-key|a|--api-key|b",
            Task::Serve,
            &[("model", "m.gguf"), ("api_keys", "a,b")],
        );
        check(
            "brisk|serve|--ctx-size|64|--port|-1",
            Task::Serve,
            &[("max_model_len", "64"), ("port", "-1")],
        );
        let sampling = Sampling { seed: Some(7), temperature: Some(0.0), ..Sampling::default() };
        check(
            "brisk|run|Hello there|--seed|7|--temperature|0",
            Task::Run { prompt: "Hello there".into(), sampling },
            &[],
        );
        check("brisk|chat|--cpu|avx2", Task::Chat(Sampling::default()), &[("cpu", "avx2")]);
        let args = BenchArgs {
            prompt_tokens: 512,
            gen_tokens: 64,
            sequences: 4,
            repeat: None,
            kernels: None,
            json: true,
        };
        check(
            "brisk|bench|-m|m.gguf|--sequences|4|--json",
            Task::Bench(args.clone()),
            &[("model", "m.gguf")],
        );
        let kernels = |types: &[WeightType]| {
            Task::Bench(BenchArgs { sequences: 1, kernels: Some(types.to_vec()), ..args.clone() })
        };
        check("brisk|bench|--kernels|--json", kernels(&WeightType::ALL), &[]);
        check("brisk|bench|--kernels=none|--json", kernels(&[]), &[]);
        let two = kernels(&[WeightType::Q8_0, WeightType::BF16]);
        check("brisk|bench|--kernels=Q8_0,BF16|--json|--cpu|avx2", two, &[("cpu", "avx2")]);
        let text = TextFrom::Argument("--x y".into());
        check(
            "brisk|tokenize|--text|--x y|--ids",
            Task::Tokenize { text, ids: true, special: false },
            &[],
        );
        let tokens = TextFrom::File("t".into());
        check(
            "brisk|logits|--tokens-file|t|--output|o",
            Task::Logits { tokens, output: "o".into() },
            &[],
        );
        check("brisk|inspect|m.gguf", Task::Inspect { file: Some("m.gguf".into()) }, &[]);
        check("brisk|config|--port|1", Task::Config { markdown: false }, &[("port", "1")]);
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "brisk|frobnicate",
            "brisk|serve|extra",
            "brisk|run",
            "brisk|bench|--gen-tokens|0",
            "brisk|bench|--sequences|-1",
            "brisk|bench|--kernels=Q9",
            "brisk|bench|--kernels|--model|m.gguf",
            "brisk|bench|--kernels|--gen-tokens|8",
            "brisk|tokenize",
            "brisk|tokenize|--text|a|--file|b",
            "brisk|logits|--tokens|1",
            "brisk|chat|--temperature|warm",
            "brisk|serve|--cpu|sse",
            "brisk|tokenize|--port|1|--text|a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
