//! The model of the tests: after `a` comes `b`, after `z` the end.

use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicBool, Ordering},
};

use brisk_engine::{LogitsWanted, ModelRunner, SequenceChunk};
use brisk_tokenizer::{Tokenizer, Vocabulary};

/// One token for each byte, then the end of text, BOS, and a marker of turns.
pub const EOS: u32 = 256;
pub const BOS: u32 = 257;
const VOCAB_SIZE: usize = 259;

/// After this byte come logits that are not numbers.
pub const POISON: u8 = b'!';
/// After this byte comes the poison: a reply that breaks after its first token.
pub const BAIT: u8 = b'~';
/// After this byte come euro signs, byte by byte and without end.
pub const COIN: u8 = b'%';
/// A chunk with this byte makes the model panic.
pub const BOMB: u8 = b'^';

#[derive(Debug)]
pub struct Alphabet {
    pub gate: Arc<Gate>,
}

/// Steps wait while it is closed.
#[derive(Debug, Default)]
pub struct Gate {
    is_closed: Mutex<bool>,
    changed: Condvar,
    is_held: AtomicBool,
}

impl Gate {
    pub fn close(&self) {
        *self.is_closed.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.is_closed.lock().unwrap() = false;
        self.changed.notify_all();
    }

    /// Whether a step stands before it.
    pub fn is_held(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }

    fn pass(&self) {
        let is_closed = self.is_closed.lock().unwrap();
        self.is_held.store(*is_closed, Ordering::SeqCst);
        drop(self.changed.wait_while(is_closed, |is_closed| *is_closed).unwrap());
        self.is_held.store(false, Ordering::SeqCst);
    }
}

impl ModelRunner for Alphabet {
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Vec<f32>) {
        self.gate.pass();
        for chunk in batch {
            assert!(!chunk.tokens.contains(&u32::from(BOMB)), "the bomb went off");
            let rows = match chunk.logits {
                LogitsWanted::None => &[],
                LogitsWanted::Last => &chunk.tokens[chunk.tokens.len() - 1..],
                LogitsWanted::All => chunk.tokens,
            };
            for &token in rows {
                logits.extend_from_slice(&row(token));
            }
        }
    }

    fn max_model_len(&self) -> usize {
        100_000
    }

    fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }

    fn num_blocks(&self) -> usize {
        8192
    }

    fn block_size(&self) -> usize {
        32
    }
}

/// Almost surely the next letter, and if not, the one after it.
fn row(token: u32) -> [f32; VOCAB_SIZE] {
    let mut row = [0.0; VOCAB_SIZE];
    let next = after(token);
    row[next as usize] = 30.0;
    row[after(next) as usize] = 20.0;
    if token == u32::from(POISON) {
        row[0] = f32::NAN;
    }
    row
}

fn after(token: u32) -> u32 {
    match u8::try_from(token) {
        Ok(b'z') => EOS,
        Ok(BAIT) => u32::from(POISON),
        Ok(COIN | 0xac) => 0xe2,
        Ok(0xe2) => 0x82,
        Ok(0x82) => 0xac,
        Ok(letter @ b'a'..=b'y') => u32::from(letter) + 1,
        _ => u32::from(b'a'),
    }
}

pub fn tokenizer() -> Arc<Tokenizer> {
    let mut tokens: Vec<String> = (0..=255).map(|byte| spelling(byte).to_string()).collect();
    tokens.extend(["<|end|>", "<|begin|>", "<|turn|>"].map(str::to_owned));
    let vocabulary = Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        token_types: (0..VOCAB_SIZE).map(|id| if id < 256 { 1 } else { 3 }).collect(),
        tokens,
        bos: Some(BOS),
        eos: Some(EOS),
        add_bos: Some(false),
        ..Vocabulary::default()
    };
    Arc::new(Tokenizer::new(vocabulary).expect("the test vocabulary is a vocabulary"))
}

/// GPT-2's spelling of a byte: printable ones stand for themselves, the others follow from U+0100.
fn spelling(byte: u8) -> char {
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if prints(byte) {
        return char::from(byte);
    }
    let place = (0..byte).filter(|&other| !prints(other)).count();
    char::from_u32(0x100 + place as u32).unwrap()
}
