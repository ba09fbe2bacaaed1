//! Which patterns cut the text of each model family, by GGUF's `tokenizer.ggml.pre`.
//!
//! The patterns are facts of the models: each family was trained on text cut this way. They are taken
//! from the families' own `tokenizer.json` files and from the names GGUF gives them.

use crate::Error;
use crate::split::{Rule, Splitter};

/// How a family of byte-level BPE treats text.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) splitter: Splitter,
    /// A word that is a piece is that token, whatever its merges say.
    pub(crate) ignore_merges: bool,
    /// Prompts begin with BOS when the file does not say.
    pub(crate) add_bos: bool,
}

// The letters that end an English contraction, in any case.
macro_rules! contraction {
    () => {
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    };
}
macro_rules! spaces {
    () => {
        r"\s*[\r\n]+|\s+(?!\S)|\s+"
    };
}
// A word in o200k's way: a change from lower to upper case begins a new one.
macro_rules! cased {
    ($suffix:expr) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $suffix,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $suffix
        )
    };
}

pub(crate) const GPT_2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|",
    spaces!()
);
const QWEN_2: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|",
    spaces!()
);
const QWEN_3_5: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|",
    spaces!()
);
const GPT_4O: &str = concat!(
    cased!("(?i:'s|'t|'re|'ve|'m|'ll|'d)?"),
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|",
    spaces!()
);
const TEKKEN: &str = concat!(cased!(""), r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|", spaces!());
const BAILING: &str = concat!(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
);
const SEED_CODER: &str =
    concat!(contraction!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|", spaces!());
// Letters of scripts with two cases; the family lists their ranges.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[",
    r"A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}",
    r"\u{295}-\u{2AF}\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}",
    r"\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}",
    r"\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}",
    r"\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}",
    r"\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}",
    r"\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}",
    r"\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}",
    r"\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}",
    r"\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}",
    r"\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}",
    r"\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}",
    r"\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}",
    r"\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}",
    r"\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}",
    r"\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}",
    r"]+"
);
const DEEPSEEK_PUNCTUATION: &str =
    r"\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+";
const DEEPSEEK_CJK: &str = r"[\u{800}-\u{9FA5}\u{AC00}-\u{D7FF}]+";
const DEEPSEEK_3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|",
    spaces!()
);
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const DIGIT: &str = r"\p{N}";

/// The family that `pre` names; `None` is a file from before the key, read as GGUF's `default`.
pub(crate) fn family(pre: Option<&str>) -> Result<Family, Error> {
    let patterns: &[&str] = match pre.unwrap_or("default") {
        "default" => &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"],
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling"
        | "exaone4" | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert" | "gpt-neox"
        | "jina-es" | "jina-de" | "jina-v1-en" | "jina-v2-es" | "jina-v2-de" | "jina-v2-code"
        | "roberta-bpe" => &[GPT_2],
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" | "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => &[LLAMA_3],
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "hunyuan" | "megrez" | "kormo" | "grok-2"
        | "solar-open" => &[QWEN_2],
        "qwen35" => &[QWEN_3_5],
        "gpt-4o" | "llama4" | "kanana2" | "minimax-m2" => &[GPT_4O],
        "tekken" => &[TEKKEN],
        "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone" | "minerva-7b" => {
            &[DIGIT, GPT_2]
        }
        "falcon" => &[r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, "[0-9][0-9][0-9]"],
        "deepseek-llm" => {
            &[r"[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, r"\s+$", DEEPSEEK_CJK, r"\p{N}+"]
        }
        "deepseek-coder" => &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, DIGIT],
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => {
            &[r"\p{N}{1,3}", r"[\u{4E00}-\u{9FA5}\u{3040}-\u{30FF}]+", DEEPSEEK_3]
        }
        "bailingmoe" | "bailingmoe2" | "llada-moe" => &[BAILING],
        "seed-coder" => &[SEED_CODER],
        "poro-chat" | "bloom" | "gpt3-finnish" => &[BLOOM],
        "viking" => &[BLOOM, DIGIT],
        name => return Err(Error::UnknownPreTokenizer { name: crate::error::shortened(name) }),
    };
    let rules = patterns.iter().map(|pattern| Rule::isolated(pattern)).collect::<Result<_, _>>()?;
    let is_llama_3 = matches!(
        pre,
        Some(
            "llama3"
                | "llama-v3"
                | "llama-bpe"
                | "falcon3"
                | "falcon-h1"
                | "pixtral"
                | "midm-2.0"
                | "lfm2"
        )
    );
    let is_tekken = pre == Some("tekken");
    Ok(Family {
        splitter: Splitter { rules },
        ignore_merges: is_llama_3 || is_tekken,
        add_bos: is_llama_3 || is_tekken,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pre: &str, text: &str, want: &str) {
        let mut words = Vec::new();
        family(Some(pre)).unwrap().splitter.split(text, |word| words.push(word));
        assert_eq!(words.join("|"), want, "{pre} on {text:?}");
    }

    #[test]
    fn each_family_cuts_in_its_own_way() {
        let text = "I'LL pay  $12345,\n\nOK fooBar";
        check("gpt-2", text, "I|'|LL| pay| | $|12345|,|\n|\n|OK| fooBar");
        check("llama-bpe", text, "I|'LL| pay| | $|123|45|,\n\n|OK| fooBar");
        check("qwen2", text, "I|'LL| pay| | $|1|2|3|4|5|,\n\n|OK| fooBar");
        check("gpt-4o", text, "I'LL| pay| | $|123|45|,\n\n|OK| foo|Bar");
        check("tekken", text, "I|'LL| pay| | $|1|2|3|4|5|,\n\n|OK| foo|Bar");
        check("smollm", text, "I|'|LL| pay| | $|1|2|3|4|5|,|\n|\n|OK| fooBar");
        check("falcon", text, "I|'|LL| pay|  |$|123|45|,|\n|\n|OK| fooBar");
        check("deepseek-llm", text, "I|'|LL| pay| | $|12345|,|\n|\n|OK| fooBar");
        check("deepseek-coder", text, "I|'|LL| pay|  $|1|2|3|4|5|,|\n|\n|OK| fooBar");
        check("deepseek-v3", text, "I|'LL| pay| | $|123|45|,\n\n|OK| fooBar");
        check("bailingmoe", text, "I|'LL| pay| | $|1|2|3|4|5|,\n\n|OK| fooBar");
    }

    #[test]
    fn an_unknown_family_is_refused_by_name() {
        let error = family(Some("next-year")).unwrap_err().to_string();
        assert_eq!(error, "pre-tokenizer \"next-year\" is not supported");
    }
}
