//! Rows of sources, and the value and origin, or the refusal, that must come of them.

use std::ffi::OsString;

use brisk_kernels::KvType;

use super::{
    Config, ConfigError, RawConfig, Sources, dot_env,
    settings::{self, DefaultValue, Setting},
};

/// Sources from words: `flag NAME=VALUE`, `env NAME=VALUE`, `dotenv LINE`, `file LINE`.
fn sources(rows: &[&str]) -> Result<Sources, ConfigError> {
    let mut sources = Sources::default();
    let mut dot_env = String::new();
    for row in rows {
        let (place, text) = row.split_once(' ').unwrap();
        let pair = || text.split_once('=').unwrap();
        match place {
            "flag" => {
                let (name, value) = pair();
                let setting = settings::ALL.into_iter().find(|it| it.name == name).unwrap();
                sources.flags.push((setting.name, vec![value.to_owned()]));
            }
            "env" => {
                let (name, value) = pair();
                sources.environment.insert(name.to_owned(), value.to_owned());
            }
            "dotenv" => {
                dot_env = format!("{dot_env}{text}\n");
            }
            "file" => {
                let (_, lines) =
                    sources.file.get_or_insert_with(|| ("brisk.toml".to_owned(), String::new()));
                *lines = format!("{lines}{text}\n");
            }
            other => panic!("no place is called {other}"),
        }
    }
    sources.dot_env = dot_env::read(&dot_env)?;
    Ok(sources)
}

fn config(rows: &[&str]) -> Result<(RawConfig, Config), ConfigError> {
    let raw = RawConfig::collect(&sources(rows)?)?;
    let config = Config::check(&raw)?;
    config.check_exposure()?;
    Ok((raw, config))
}

/// `setting` has this value and comes from there.
fn check(rows: &[&str], setting: &Setting, value: &str, origin: &str) {
    let (raw, _) = config(rows).unwrap_or_else(|it| panic!("{rows:?}: {it}"));
    let found = match raw.get(setting) {
        Some(given) => (given.texts.join(","), given.origin.to_string()),
        None => match setting.default {
            DefaultValue::Is(text) | DefaultValue::None(text) => {
                (text.to_owned(), "default".to_owned())
            }
        },
    };
    assert_eq!(found, (value.to_owned(), origin.to_owned()), "{rows:?}");
}

fn refused(rows: &[&str], expected: &str) {
    let error = config(rows).map(drop).expect_err(expected).to_string();
    assert!(error.contains(expected), "{rows:?}: {error:?} does not contain {expected:?}");
}

#[test]
fn flags_beat_the_environment_beats_the_file_beats_defaults() {
    let port = &settings::PORT;
    let all = ["flag port=1", "env BRISK_PORT=2", "dotenv BRISK_PORT=3", "file port = 4"];
    check(&all, port, "1", "flag --port");
    check(&all[1..], port, "2", "environment BRISK_PORT");
    check(&all[2..], port, "3", "BRISK_PORT in .env, line 1");
    check(&all[3..], port, "4", "brisk.toml, line 1");
    check(&[], port, "8080", "default");
}

#[test]
fn other_names_of_a_setting_work_after_its_own() {
    let len = &settings::MAX_MODEL_LEN;
    check(&["env CTX_SIZE=2048"], len, "2048", "environment CTX_SIZE");
    check(
        &["env CTX_SIZE=2048", "env BRISK_MAX_MODEL_LEN=512"],
        len,
        "512",
        "environment BRISK_MAX_MODEL_LEN",
    );
    check(&["dotenv export CTX_SIZE='1024' # old"], len, "1024", "CTX_SIZE in .env, line 1");
    check(&["file ctx_size = 64"], len, "64", "brisk.toml, line 1");
    let batch = &settings::MAX_NUM_BATCHED_TOKENS;
    check(&["dotenv N_BATCH=256"], batch, "256", "N_BATCH in .env, line 1");
    check(&["env BRISK_API_KEY=a, b"], &settings::API_KEYS, "a,b", "environment BRISK_API_KEY");
}

#[test]
fn files_may_have_comments_quotes_and_blank_lines() {
    let rows =
        ["file # serving", "file ", "file host = \"::1\"", "file api_keys = [\"k1\", \"k2\"]"];
    check(&rows, &settings::HOST, "::1", "brisk.toml, line 3");
    check(&rows, &settings::API_KEYS, "k1,k2", "brisk.toml, line 4");
    let rows =
        ["dotenv # ours", "dotenv ", "dotenv OTHER=thing", "dotenv BRISK_HOST=\"localhost\""];
    check(&rows, &settings::HOST, "localhost", "BRISK_HOST in .env, line 4");
    check(
        &["dotenv BRISK_PORT=1", "dotenv BRISK_PORT=2"],
        &settings::PORT,
        "2",
        "BRISK_PORT in .env, line 2",
    );
    check(&["file "], &settings::PORT, "8080", "default");
    check(
        &["file kv_cache_bytes = \"2 GiB\""],
        &settings::KV_CACHE_BYTES,
        "2 GiB",
        "brisk.toml, line 1",
    );
    check(
        &["file kv_cache_bytes = 0x100000"],
        &settings::KV_CACHE_BYTES,
        "1048576",
        "brisk.toml, line 1",
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_what_was_meant() {
    refused(
        &["file port = 1", "file max_model_length = 4"],
        "brisk.toml, line 2: unknown key \"max_model_length\", did you mean \"max_model_len\"?",
    );
    refused(&["file prot = 1"], "line 1: unknown key \"prot\", did you mean \"port\"?");
    refused(&["file zzz = 1"], "brisk.toml, line 1: unknown key \"zzz\"");
    refused(
        &["file ", "file [server]", "file port = 1"],
        "brisk.toml, line 2: unknown key \"server\"",
    );
    refused(
        &["dotenv A=1", "dotenv BRISK_PROT=1"],
        ".env, line 2: unknown key \"BRISK_PROT\", did you mean \"BRISK_PORT\"?",
    );
}

#[test]
fn a_broken_file_is_refused_with_its_line() {
    refused(&["file port = 1", "file host: x"], "brisk.toml, line 2: ");
    refused(&["file port = 1", "file port = 2"], "brisk.toml, line 2: ");
    refused(
        &["file ctx_size = 64", "file max_model_len = 64"],
        "max_model_len is set twice (brisk.toml, line",
    );
    refused(
        &["file port = \"8080\""],
        "port is string (brisk.toml, line 1), it must be an integer",
    );
    refused(&["file host = 1"], "host is integer (brisk.toml, line 1), it must be a string");
    refused(&["file api_keys = [1]"], "it must be an array of strings");
    refused(
        &["dotenv BRISK_PORT 1"],
        ".env, line 1: this looks like BRISK_PORT: a line is NAME=VALUE",
    );
}

#[test]
fn a_value_outside_its_range_is_refused_with_its_origin() {
    refused(
        &["flag port=70000"],
        "port is \"70000\" (flag --port), it must be a whole number from 0 to 65535",
    );
    refused(&["env BRISK_PORT=-1"], "(environment BRISK_PORT), it must be a whole number");
    refused(&["file port = -1"], "(brisk.toml, line 1), it must be a whole number from 0 to 65535");
    refused(&["flag threads=0"], "it must be a whole number from 1 to 1024");
    refused(&["flag max_queued_requests=9223372036854775808"], "from 1 to 65536");
    refused(&["flag max_queued_requests=-1"], "from 1 to 65536");
    refused(&["flag cpu=sse"], "one of auto, reference, neon, avx2, avx512");
    refused(&["flag body_timeout=0"], "a time from 1ms to 24h");
    refused(&["flag max_body_bytes=lots"], "a number of bytes from 1 KiB to 1 GiB");
    refused(
        &["flag host=example.org"],
        "host is \"example.org\" (flag --host), it must be an IP address or localhost",
    );
    refused(&["flag model="], "model is \"\" (flag --model), it must be a text that is not empty");
}

#[test]
fn an_address_for_everyone_needs_a_key_and_an_empty_key_is_none() {
    for host in ["0.0.0.0", "::", "192.168.1.5", "[::]"] {
        refused(&[&format!("flag host={host}")], "no API key is set: add --api-key KEY");
        let (_, config) = config(&[&format!("flag host={host}"), "flag api_keys=k"]).unwrap();
        assert_eq!(config.api_keys, ["k"]);
    }
    for host in ["127.0.0.1", "127.8.8.8", "::1", "localhost", "[::1]", "::ffff:127.0.0.1"] {
        assert!(config(&[&format!("flag host={host}")]).is_ok(), "{host}");
    }
    for key in ["", " ", "k,", "a b"] {
        refused(
            &[&format!("env BRISK_API_KEYS={key}")],
            "api_keys is not usable (environment BRISK_API_KEYS)",
        );
    }
    refused(&["file api_keys = []"], "api_keys is not usable");
    refused(&["file api_keys = [\"\"]"], "api_keys is not usable");
    refused(&["file api_key = \"\""], "api_keys is not usable");
}

#[test]
fn the_table_and_the_server_have_the_same_defaults() {
    let (_, config) = config(&[]).unwrap();
    assert_eq!(config.assistant, brisk_server::AssistantDefaults::default());
    let kept = (config.response_cache, config.cache_max_bytes, config.cache_max_entries);
    assert_eq!(kept, (true, 64 << 20, 10_000));
    assert_eq!(config.cache_ttl.as_secs(), 24 * 60 * 60);
    assert_eq!((config.cache_file, config.conversations_file), (None, None));
    assert_eq!((config.cache_redis_url, config.cache_secret), (None, None));
}

#[test]
fn what_the_assistant_and_the_stores_do_can_be_set() {
    let rows = [
        "env DEFAULT_MAX_NEW_TOKENS=128",
        "file assistant_temperature = 0.5",
        "file assistant_top_p = 1",
        "flag assistant_top_k=0",
        "env BRISK_GREEDY_BELOW=0",
        "flag response_cache=off",
        "flag cache_file=/data/replies.db",
        "flag cache_redis_url=redis://u:p@host:1/2",
        "flag conversation_max_messages=2",
    ];
    let (_, config) = config(&rows).unwrap();
    let assistant = brisk_server::AssistantDefaults {
        max_new_tokens: 128,
        temperature: 0.5,
        top_p: 1.0,
        top_k: 0,
        greedy_below: 0.0,
        ..brisk_server::AssistantDefaults::default()
    };
    assert_eq!(config.assistant, assistant);
    assert_eq!((config.response_cache, config.conversation_max_messages), (false, 2));
    assert_eq!(config.cache_file.unwrap().to_str(), Some("/data/replies.db"));
    assert_eq!(config.cache_redis_url.as_deref(), Some("redis://u:p@host:1/2"));
    refused(&["flag assistant_temperature=2.5"], "it must be a number from 0 to 2");
    refused(&["file assistant_temperature = \"0.5\""], "it must be a number");
    refused(&["flag response_cache=yes"], "one of on, off");
    refused(&["flag cache_ttl=0"], "a time from 1s to 168h");
    refused(&["flag cache_max_bytes=1"], "a number of bytes from 64 KiB");
    refused(&["flag conversation_max_messages=1"], "from 2 to");
    refused(&["flag default_max_new_tokens=0"], "from 1 to");
}

#[test]
fn a_refused_secret_is_never_repeated() {
    for row in ["cache_secret=hunter2", "cache_redis_url=http://u:hunter2@host"] {
        let error = config(&[&format!("flag {row}")]).map(drop).unwrap_err().to_string();
        assert!(error.contains("is not usable") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_refused_key_is_never_repeated() {
    let error = config(&["env BRISK_API_KEYS=secret words"]).map(drop).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_called_brisk_do_no_harm() {
    let rows = [
        "env BRISK_PORT=tcp://10.0.0.1:8080",
        "env BRISK_SERVICE_HOST=10.0.0.1",
        "env BRISK_PORT_8080_TCP=tcp://10.0.0.1:8080",
        "env BRISK_PROT=1",
        "env PATH=/bin",
    ];
    check(&rows, &settings::PORT, "8080", "default");
    let (raw, _) = config(&rows).unwrap();
    assert_eq!(raw.strange_variables, ["BRISK_PORT", "BRISK_PROT (did you mean BRISK_PORT?)"]);
}

#[test]
fn a_variable_that_is_ours_but_for_its_looks_is_refused() {
    for name in [
        "brisk_api_key",
        "Brisk_Api_Key",
        " BRISK_API_KEY",
        "BRISK_API_KEY ",
        "\u{feff}BRISK_API_KEY",
        "\"BRISK_API_KEY",
        "BRISK_API\u{200b}_KEY",
        "BRISK-API-KEY",
        "BR\u{406}SK_API_KEY",
    ] {
        let error = config(&[&format!("env {name}=secret")]).map(drop).expect_err(name).to_string();
        let is_good = error.starts_with("the environment variable \"")
            && error.ends_with("\" sets nothing: its name must be BRISK_API_KEY")
            && !error.contains("secret");
        assert!(is_good, "{name:?}: {error}");
    }
    let (raw, _) = config(&["env brisk_prot=1", "env MY_BRISK_API_KEY=k"]).unwrap();
    assert_eq!(raw.strange_variables, ["brisk_prot (did you mean BRISK_PORT?)"]);
}

#[test]
fn a_value_of_the_environment_that_kept_its_quotes_is_refused() {
    for value in ["\"secret\"", "'secret'", "secret\"", "“secret”", "secret\n", "${KEY}", " secret"]
    {
        refused(&[&format!("env BRISK_API_KEY={value}")], "api_keys is not usable (environment");
    }
    refused(&["env BRISK_MODEL=\"/m.gguf\""], "a text that is not empty, without quotation marks");
    refused(&["env BRISK_PORT=\"1\""], "port is \"\\\"1\\\"\"");
    check(&["env BRISK_API_KEYS=a , b"], &settings::API_KEYS, "a,b", "environment BRISK_API_KEYS");
}

#[cfg(unix)]
#[test]
fn a_setting_that_is_not_unicode_is_refused_and_other_variables_are_not() {
    use std::os::unix::ffi::OsStringExt;
    let pair = |name: &[u8], value: &[u8]| {
        (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()))
    };
    let other = pair(b"OTHER", b"\xff");
    assert!(super::environment([other.clone()].into_iter()).unwrap().is_empty());
    for wrong in [pair(b"BRISK_API_KEY", b"\xff"), pair(b"BRISK_\xffAPI_KEY", b"k")] {
        let environment = super::environment([other.clone(), wrong].into_iter());
        let raw = environment.and_then(|environment| {
            RawConfig::collect(&Sources { environment, ..Sources::default() })
        });
        let error = raw.expect_err("it is refused").to_string();
        assert!(error.contains("BRISK_API_KEY"), "{error}");
    }
}

#[test]
fn what_a_refusal_repeats_is_bounded() {
    let long = "k".repeat(84_000);
    for rows in [
        &[format!("file {long} = 1")][..],
        &[format!("file \"{}\" = 1", "\\u0001".repeat(20_000))],
        &[format!("dotenv BRISK_{long}=1")],
        &[format!("env BRISK_PORT={long}")],
        &[format!("flag host={long}")],
        &[format!("flag model={long}\u{7}")],
        &[format!("flag cpu={long}")],
        &[format!("file host = {long}")],
        &[format!("env \u{feff}BRISK_PORT{}=1", "\u{200b}".repeat(84_000))],
    ] {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let error = config(&rows).map(drop).unwrap_err().to_string();
        assert!(error.len() < 500, "{} bytes: {error:.200}", error.len());
    }
}

#[test]
fn pages_of_other_origins_are_named_or_need_a_key() {
    let origins = &settings::CORS_ORIGINS;
    check(
        &["file cors_origins = [\"https://a.example\", \"http://localhost:3000\"]"],
        origins,
        "https://a.example,http://localhost:3000",
        "brisk.toml, line 1",
    );
    check(&["flag cors_origins=*", "flag api_keys=k"], origins, "*", "flag --cors-origin");
    refused(&["flag cors_origins=*"], "cors_origins is * and no API key is set");
    for origin in ["https://a.example/", "a.example", "null", "", "https://a.example:443"] {
        refused(&[&format!("env BRISK_CORS_ORIGINS={origin}")], "origins as browsers send them");
    }
    refused(&["env BRISK_CORS_ORIGINS=*,https://a.example", "flag api_keys=k"], "or * alone");
    refused(&["env BRISK_ALLOWED_HOSTS=http://a.example"], "host names, without a scheme");
}

#[test]
fn every_type_of_keys_and_values_can_be_set() {
    let settings::Kind::Choice(words) = settings::KV_CACHE_TYPE.kind else { panic!("no choice") };
    assert_eq!(words, KvType::ALL.map(|it| it.to_string()));
    for kv_type in KvType::ALL {
        let (_, config) = config(&[&format!("env BRISK_KV_CACHE_TYPE={kv_type}")]).unwrap();
        assert_eq!(config.kv_cache_type, kv_type);
    }
    refused(
        &["file kv_cache_type = \"q4_0\""],
        "kv_cache_type is \"q4_0\" (brisk.toml, line 1), it must be one of f16, q8_0",
    );
}

#[test]
fn every_default_is_a_value_that_its_own_check_accepts() {
    let (raw, config) = config(&[]).unwrap();
    for setting in settings::ALL {
        raw.value(setting).unwrap();
    }
    assert_eq!(config.address.to_string(), "127.0.0.1:8080");
    assert_eq!((config.max_num_seqs, config.max_queued_requests), (8, 64));
    assert_eq!((config.max_num_batched_tokens, config.max_body_bytes), (512, 8 << 20));
    assert_eq!((config.model, config.threads, config.cpu), (None, None, None));
}
