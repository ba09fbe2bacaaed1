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
const SEED_CODER: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|",
    spaces!()
);
// Letters with two cases; the family listed them one by one.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⲳⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_PUNCTUATION: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";
const DEEPSEEK_CJK: &str = "[一-龥ࠀ-一가-퟿]+";
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
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4"
        | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert" | "gpt-neox" | "jina-es" | "jina-de"
        | "jina-v1-en" | "jina-v2-es" | "jina-v2-de" | "jina-v2-code" | "roberta-bpe" => &[GPT_2],
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
        "deepseek-llm" => &[
            r"[\r\n]",
            DEEPSEEK_LETTERS,
            DEEPSEEK_PUNCTUATION,
            r"\s+$",
            DEEPSEEK_CJK,
            r"\p{N}+",
        ],
        "deepseek-coder" => &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, DIGIT],
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => {
            &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_3]
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
        Some("llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2")
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
