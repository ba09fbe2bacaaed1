//! Turns an entry into sealed bytes for the slower tiers, and back.
//!
//! ```text
//! format 1 | epoch 8 | created 8 | expires 8 | saved 8 | slot 32 | exact 32 | tenant 32
//!          | length of the label 2 | label | value | seal 32
//! ```
//!
//! Numbers are little endian, times in microseconds. The seal is a keyed BLAKE3 hash over all that
//! precedes it, and is checked before anything else is read.

use std::time::{Duration, SystemTime};

use crate::{
    clock::{from_micros, to_micros},
    entry::{Entry, Value},
    key::{Digest, Key, Tenant},
};

const FORMAT: u8 = 1;
const SEAL_BYTES: usize = 32;

/// What makes a seal: 32 bytes that only the writers of a tier know.
pub(crate) type SealKey = [u8; 32];

/// An entry as it came from a slower tier.
#[derive(Debug, PartialEq)]
pub(crate) struct Opened<V> {
    pub(crate) key: Key,
    pub(crate) epoch: u64,
    pub(crate) created: SystemTime,
    pub(crate) expires: SystemTime,
    pub(crate) saved: Duration,
    pub(crate) label: Box<str>,
    pub(crate) value: V,
}

/// Why bytes of a slower tier are not the wanted entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadSeal,
    WrongKey,
    Undecodable,
}

pub(crate) fn seal<V: Value>(entry: &Entry<V>, seal_key: &SealKey) -> Vec<u8> {
    let value = entry.value.encode();
    let mut record = Vec::with_capacity(163 + entry.label.len() + value.len());
    let saved = u64::try_from(entry.saved.as_micros()).unwrap_or(u64::MAX);
    record.push(FORMAT);
    for number in [entry.epoch, to_micros(entry.created), to_micros(entry.expires), saved] {
        record.extend_from_slice(&number.to_le_bytes());
    }
    for digest in [&entry.key.slot, &entry.key.exact, entry.key.tenant.as_bytes()] {
        record.extend_from_slice(digest);
    }
    record.extend_from_slice(&(entry.label.len() as u16).to_le_bytes());
    record.extend_from_slice(entry.label.as_bytes());
    record.extend_from_slice(&value);
    let seal = blake3::keyed_hash(seal_key, &record);
    record.extend_from_slice(seal.as_bytes());
    record
}

/// The entry in `record`, if it is sealed with this key and lies in the wanted place.
pub(crate) fn open<V: Value>(
    record: &[u8],
    seal_key: &SealKey,
    wanted: &Key,
) -> Result<Opened<V>, Refusal> {
    let (body, seal) = record.split_last_chunk::<SEAL_BYTES>().ok_or(Refusal::BadSeal)?;
    // The comparison takes the same time wherever the two differ.
    if blake3::keyed_hash(seal_key, body) != *seal {
        return Err(Refusal::BadSeal);
    }
    let opened = read(body).ok_or(Refusal::Undecodable)?;
    if opened.key.slot != wanted.slot || opened.key.tenant != wanted.tenant {
        return Err(Refusal::WrongKey);
    }
    Ok(opened)
}

fn read<V: Value>(body: &[u8]) -> Option<Opened<V>> {
    let (&[FORMAT], rest) = body.split_first_chunk::<1>()? else { return None };
    let (epoch, rest) = number(rest)?;
    let (created, rest) = number(rest)?;
    let (expires, rest) = number(rest)?;
    let (saved, rest) = number(rest)?;
    let (&slot, rest): (&Digest, _) = rest.split_first_chunk()?;
    let (&exact, rest): (&Digest, _) = rest.split_first_chunk()?;
    let (&tenant, rest) = rest.split_first_chunk()?;
    let (&label_len, rest) = rest.split_first_chunk()?;
    let (label, value) = rest.split_at_checked(u16::from_le_bytes(label_len).into())?;
    Some(Opened {
        key: Key { slot, exact, tenant: Tenant::new(tenant) },
        epoch,
        created: from_micros(created),
        expires: from_micros(expires),
        saved: Duration::from_micros(saved),
        label: str::from_utf8(label).ok()?.into(),
        value: V::decode(value)?,
    })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}
