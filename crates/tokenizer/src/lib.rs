//! tokenizer.
pub type TokenId = u32;
