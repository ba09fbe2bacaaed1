//! Which chat template a model gets, and whether it works: tried before the first request comes.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use brisk_formats::GgufFile;
use brisk_model::{load_template, named_templates};
use brisk_tokenizer::{ChatTemplate, LocalTime, TemplateTrial, Tokenizer, TokenizerConfig};

use crate::{config::Config, loading::Opened};

/// The longest file that is read for a template. A `tokenizer_config.json` holds much beside it.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// More of a file's own are not listed, nor longer ones.
const MAX_NAMES: usize = 16;
const MAX_NAME_BYTES: usize = 32;

/// A chat template that renders, and what is to be said of it.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) template: ChatTemplate,
    /// Where it comes from, in words.
    pub(crate) origin: String,
    pub(crate) trial: TemplateTrial,
}

/// Takes the template that the settings name, else the file's, else the one that fits its control
/// tokens, and renders sample conversations with it.
pub(crate) fn choose(config: &Config, opened: &Opened, tokenizer: &Tokenizer) -> Result<Chosen> {
    let file = &opened.file;
    let given = config.chat_template.as_deref().map(|wanted| given(wanted, file)).transpose()?;
    let (source, origin) = given.map_or((None, None), |(text, from)| (Some(text), Some(from)));
    let shown_origin = origin.clone().unwrap_or_else(|| "of the model file".to_owned());
    let cannot = |error: &dyn std::error::Error| {
        anyhow!(
            "the chat template {shown_origin} cannot be used: {error}; give another one with \
             --chat-template FILE, or one of {}",
            names(file).join(", ")
        )
    };
    let template = load_template(file, tokenizer, source.as_deref()).map_err(|it| cannot(&it))?;
    let trial = template.try_out(tokenizer).map_err(|it| cannot(&it))?;
    let origin = origin.unwrap_or_else(|| own_origin(file, &template));
    Ok(Chosen { template, origin, trial })
}

/// [`choose`], and says in the log what there is to know.
pub(crate) fn load(
    config: &Config,
    opened: &Opened,
    tokenizer: &Tokenizer,
) -> Result<ChatTemplate> {
    let Chosen { template, origin, trial } = choose(config, opened, tokenizer)?;
    let num_chars = template.source().chars().count();
    let dates = shown_dates(&template);
    tracing::info!(origin, num_chars, dates, "chat template");
    for (conversation, error) in &trial.failed {
        tracing::warn!(conversation, %error, "the chat template fails on some conversations");
    }
    if !trial.missing.is_empty() {
        let missing = trial.missing.join(", ");
        tracing::warn!(
            missing,
            "the chat template names what does not exist: some conversations may fail"
        );
    }
    Ok(template)
}

/// What the template writes of today, if anything.
pub(crate) fn shown_dates(template: &ChatTemplate) -> Option<String> {
    match template.dates_at(&LocalTime::now()) {
        Some(dates) if dates.is_empty() => None,
        Some(dates) => Some(dates.replace('\0', ", ")),
        None => Some("the time of day, or a date in a computed form".to_owned()),
    }
}

/// The template that the file itself brings, or has none of.
fn own_origin(file: &GgufFile, template: &ChatTemplate) -> String {
    if file.metadata().get("tokenizer.chat_template").is_some() {
        return "of the model file".to_owned();
    }
    let is_it = |name: &&str| ChatTemplate::builtin_source(name) == Some(template.source());
    let name = ChatTemplate::builtin_names().find(is_it).unwrap_or("plain");
    format!("{name}, guessed from the control tokens: the file has none")
}

/// The names that `--chat-template` knows.
fn names(file: &GgufFile) -> Vec<&str> {
    let of_file = named_templates(file).map(|(name, _)| name);
    let mut names: Vec<&str> =
        of_file.filter(|name| name.len() <= MAX_NAME_BYTES).take(MAX_NAMES).collect();
    for name in ChatTemplate::builtin_names() {
        names.push(name);
    }
    names
}

/// The text of a template that was asked for, and where it comes from.
fn given(wanted: &str, file: &GgufFile) -> Result<(String, String)> {
    if let Some((name, source)) = named_templates(file).find(|(name, _)| *name == wanted) {
        return Ok((source.to_owned(), format!("{name} of the model file")));
    }
    if let Some(source) = ChatTemplate::builtin_source(wanted) {
        return Ok((source.to_owned(), format!("{wanted}, which is built in")));
    }
    let path = Path::new(wanted);
    if !path.exists() {
        bail!(
            "chat_template is {wanted:?}, which is neither a file nor one of {}",
            names(file).join(", ")
        );
    }
    let source = read(path).with_context(|| format!("reading the chat template {wanted}"))?;
    Ok((source, format!("in {wanted}")))
}

/// A template as such, or in a `tokenizer_config.json` or `chat_template.json`.
fn read(path: &Path) -> Result<String> {
    // Opening a pipe would wait for somebody to write.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        bail!("it is not a file");
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("it has more than {MAX_FILE_BYTES} bytes");
    }
    if path.extension().is_some_and(|it| it == "json") {
        let config = TokenizerConfig::from_json(&bytes)?;
        return config.chat_template.ok_or_else(|| anyhow!("it has no key chat_template"));
    }
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("it is not UTF-8"))?;
    if text.trim().is_empty() {
        bail!("it is empty");
    }
    // Some editors begin with a mark that is no part of the text.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::CHAT_TEMPLATE;

    #[test]
    fn the_setting_names_every_template_that_is_built_in() {
        for name in ChatTemplate::builtin_names() {
            assert!(CHAT_TEMPLATE.doc.contains(name), "{name}");
        }
    }
}
