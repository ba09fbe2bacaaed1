//! A model that is a hash of its history, and keeps that history in KV blocks like a real one.
//!
//! Logits depend on every token that stands before, read through the block table. So a sequence
//! that is given a wrong block, a block too early or a chunk twice gets other tokens, or an assert.

use std::sync::{Arc, mpsc::Receiver};

use brisk_tokenizer::{TokenId, Tokenizer, Vocabulary};

use super::{Chance, rig::ManualClock};
use crate::runner::{LogitsWanted, ModelRunner, SequenceChunk};

/// Length of a row of logits; the tokenizer knows fewer tokens, as with padded embeddings.
pub(super) const ROW_LEN: usize = 40;
/// The full stop.
pub(super) const FULL_STOP: TokenId = 30;
/// Tokens of the test vocabulary.
pub(super) const VOCAB_SIZE: usize = 32;
/// Ends a generation.
pub(super) const EOS: TokenId = 2;
/// A prompt that begins with it gets logits that are not numbers, from its third completion token on.
pub(super) const POISON: TokenId = 3;
/// A prompt that begins with it makes the model panic.
pub(super) const BOMB: TokenId = 4;

#[derive(Debug)]
pub(super) struct FakeRunner {
    pub(super) num_blocks: usize,
    pub(super) block_size: usize,
    pub(super) max_model_len: usize,
    /// Token and position in each slot.
    slots: Vec<Option<(TokenId, usize)>>,
    /// Each step waits for one message, until the sender is gone.
    pub(super) gate: Option<Receiver<()>>,
    /// Tokens computed so far.
    pub(super) num_computed: usize,
    /// What a step takes.
    pub(super) costs: Costs,
    /// Moves on with every step.
    pub(super) clock: Arc<ManualClock>,
}

/// Microseconds of a step, of each of its tokens, and of each position before each token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Costs {
    pub(super) step_us: f64,
    pub(super) token_us: f64,
    pub(super) position_us: f64,
}

impl FakeRunner {
    pub(super) fn new(num_blocks: usize, block_size: usize) -> Self {
        Self {
            num_blocks,
            block_size,
            max_model_len: 4096,
            slots: vec![None; num_blocks * block_size],
            gate: None,
            num_computed: 0,
            costs: Costs::default(),
            clock: Arc::default(),
        }
    }

    fn slot(&self, block_table: &[u32], position: usize) -> usize {
        block_table[position / self.block_size] as usize * self.block_size
            + position % self.block_size
    }
}

impl ModelRunner for FakeRunner {
    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Vec<f32>) {
        if let Some(gate) = &self.gate {
            let _ = gate.recv();
        }
        let Costs { step_us, token_us, position_us } = self.costs;
        let chunk_us = |chunk: &SequenceChunk<'_>| {
            let num_tokens = chunk.tokens.len() as f64;
            num_tokens * (token_us + position_us * (chunk.start as f64 + num_tokens / 2.0))
        };
        let us = step_us + batch.iter().map(chunk_us).sum::<f64>();
        self.clock.advance_us(us as u64);
        // All are written before any is read, as on a device that computes them together.
        for chunk in batch {
            assert!(!chunk.tokens.is_empty(), "a chunk holds a token");
            self.num_computed += chunk.tokens.len();
            for (position, &token) in (chunk.start..).zip(chunk.tokens) {
                let slot = self.slot(chunk.block_table, position);
                self.slots[slot] = Some((token, position));
            }
        }
        for chunk in batch {
            let end = chunk.start + chunk.tokens.len();
            let mut hash = Chance::new(7);
            let mut first = 0;
            for position in 0..end {
                let slot = self.slot(chunk.block_table, position);
                let (token, written_at) = self.slots[slot].expect("the slot was written");
                assert_eq!(written_at, position, "the slot holds another position");
                first = if position == 0 { token } else { first };
                hash = Chance::new(hash.next() ^ u64::from(token));
            }
            assert!(first != BOMB, "the bomb went off");
            match chunk.logits {
                LogitsWanted::None => {}
                LogitsWanted::Last => {
                    let row = logits.len();
                    logits.extend((0..ROW_LEN).map(|_| hash.unit() * 8.0 - 4.0));
                    if first == POISON && chunk.start > 0 && end > 6 {
                        logits[row + 5] = f32::NAN;
                    }
                }
                LogitsWanted::All => unreachable!("nobody drafts yet"),
            }
        }
    }

    fn max_model_len(&self) -> usize {
        self.max_model_len
    }

    fn vocab_size(&self) -> usize {
        ROW_LEN
    }

    fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    fn block_size(&self) -> usize {
        self.block_size
    }
}

/// Three control tokens, three bytes (of which two make an é), letters, a full stop and a space.
pub(super) fn tokenizer() -> Arc<Tokenizer> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "<0xE2>"]
        .iter()
        .map(|&it| it.to_owned())
        .collect();
    tokens.extend(('a'..='x').chain(['.', '▁']).map(String::from));
    assert_eq!(tokens.len(), VOCAB_SIZE);
    let mut token_types = vec![1; VOCAB_SIZE];
    token_types[..6].copy_from_slice(&[2, 3, 3, 6, 6, 6]);
    let vocabulary = Vocabulary {
        model: "llama".to_owned(),
        scores: vec![0.0; VOCAB_SIZE],
        tokens,
        token_types,
        bos: Some(1),
        eos: Some(EOS),
        unk: Some(0),
        add_bos: Some(false),
        add_space_prefix: Some(false),
        ..Vocabulary::default()
    };
    Arc::new(Tokenizer::new(vocabulary).expect("the test vocabulary is a vocabulary"))
}
