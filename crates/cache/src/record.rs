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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Text(String);

    impl Value for Text {
        fn num_bytes(&self) -> usize {
            self.0.len()
        }

        fn encode(&self) -> Vec<u8> {
            self.0.as_bytes().to_vec()
        }

        fn decode(bytes: &[u8]) -> Option<Self> {
            String::from_utf8(bytes.to_vec()).ok().map(Self)
        }
    }

    const SEAL_KEY: SealKey = [7; 32];

    fn key() -> Key {
        Key { slot: [1; 32], exact: [2; 32], tenant: Tenant::new([3; 32]) }
    }

    fn entry(value: &str, label: &str, micros: u64) -> Entry<Text> {
        Entry {
            key: key(),
            value: Text(value.to_owned()),
            created: from_micros(micros),
            expires: from_micros(micros / 2),
            label: label.into(),
            saved: Duration::from_micros(micros),
            epoch: micros,
            arrived: Duration::ZERO,
            age_on_arrival: Duration::ZERO,
            deadline: Duration::ZERO,
            num_hits: AtomicU64::new(0),
            is_shared: AtomicBool::new(false),
        }
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        [body, blake3::keyed_hash(&SEAL_KEY, body).as_bytes()].concat()
    }

    #[test]
    fn a_record_opens_in_its_own_place_alone() {
        let record = seal(&entry("value", "label", 9), &SEAL_KEY);
        let open = |wanted| open::<Text>(&record, &SEAL_KEY, &wanted).err();
        assert_eq!(open(key()), None);
        assert_eq!(open(Key { exact: [0; 32], ..key() }), None, "another spelling");
        assert_eq!(open(Key { slot: [0; 32], ..key() }), Some(Refusal::WrongKey));
        assert_eq!(open(Key { tenant: Tenant::LOCAL, ..key() }), Some(Refusal::WrongKey));
        let other = super::open::<Text>(&record, &[8; 32], &key()).err();
        assert_eq!(other, Some(Refusal::BadSeal));
        // Sealed by ourselves, but of a format that we do not know, or with a value that we do not.
        let body = &record[..record.len() - SEAL_BYTES];
        for (place, byte) in [(0, 2), (163 - SEAL_BYTES, 0xff), (body.len() - 1, 0xff)] {
            let mut body = body.to_vec();
            body[place] = byte;
            let opened = super::open::<Text>(&sealed(&body), &SEAL_KEY, &key());
            assert_eq!(opened.err(), Some(Refusal::Undecodable), "{place}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_comes_back(value: String, label in ".{0,30}", micros in 0..u64::MAX / 2) {
            let entry = entry(&value, &label, micros);
            let opened = open::<Text>(&seal(&entry, &SEAL_KEY), &SEAL_KEY, &key()).unwrap();
            prop_assert_eq!(opened, Opened {
                key: entry.key,
                epoch: entry.epoch,
                created: entry.created,
                expires: entry.expires,
                saved: entry.saved,
                label: entry.label,
                value: entry.value,
            });
        }

        #[test]
        fn no_changed_record_opens(value: String, place: prop::sample::Index, bit in 0..8_u32, cut: bool) {
            let mut record = seal(&entry(&value, "label", 1), &SEAL_KEY);
            let place = place.index(record.len());
            if cut {
                record.truncate(place);
            } else {
                record[place] ^= 1_u8 << bit;
            }
            prop_assert_eq!(open::<Text>(&record, &SEAL_KEY, &key()).err(), Some(Refusal::BadSeal));
        }

        #[test]
        fn no_sealed_bytes_are_more_than_refused(body: Vec<u8>) {
            let opened = open::<Text>(&sealed(&body), &SEAL_KEY, &key());
            prop_assert_eq!(opened.err(), Some(Refusal::Undecodable));
        }
    }
}
