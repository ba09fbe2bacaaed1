//! Names a request: who asks, and two digests over everything that can change the reply.

use std::{fmt, sync::LazyLock};

/// A full BLAKE3 digest. It is never truncated: a shortened key lets two requests meet.
pub type Digest = [u8; 32];

/// Whose entries these are. Entries of two tenants never meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tenant([u8; 32]);

impl Tenant {
    /// The one tenant of a server that has no keys configured.
    pub const LOCAL: Self = Self([0; 32]);

    /// A tenant by an identifier that no client chooses, such as a keyed hash of its API key.
    pub const fn new(id: [u8; 32]) -> Self {
        Self(id)
    }

    /// The identifier.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Tenant {
    /// The first four bytes, enough to tell tenants apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({})", hex(&self.0[..4]))
    }
}

/// What a reply is kept under.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Where the entry lies: a digest over the request in its normalised form.
    pub slot: Digest,
    /// An independent digest over the request as it came. An entry with the same `exact` is an
    /// exact hit; one with another `exact` in the same slot is a normalised hit.
    pub exact: Digest,
    /// Who asks. It is hashed into both digests as well.
    pub tenant: Tenant,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slot, exact) = (hex(&self.slot[..4]), hex(&self.exact[..4]));
        write!(f, "Key({slot}/{exact}, {:?})", self.tenant)
    }
}

/// Hashes a request field by field into a [`Key`].
///
/// Every name and value is preceded by its length, so no two lists of fields give the same bytes.
/// The order of the fields counts; callers feed them in one fixed order.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    exact: FieldHasher,
    /// The normalised form, from the first field on that has one of its own.
    normalized: Option<FieldHasher>,
    tenant: Tenant,
}

impl KeyHasher {
    /// Starts a key. `schema_version` changes whenever the meaning of a field or of a stored value
    /// does; old entries are then never found again.
    pub fn new(tenant: Tenant, schema_version: u32) -> Self {
        static START: LazyLock<blake3::Hasher> =
            LazyLock::new(|| blake3::Hasher::new_derive_key("brisk response cache 2026"));
        let mut hasher = Self { exact: FieldHasher::new(&START), normalized: None, tenant };
        hasher.field("tenant", tenant.as_bytes());
        hasher.field("schema_version", &schema_version.to_le_bytes());
        hasher
    }

    /// Adds a field that counts as it is.
    pub fn field(&mut self, name: &'static str, value: &[u8]) {
        self.exact.field(name, value);
        if let Some(normalized) = &mut self.normalized {
            normalized.field(name, value);
        }
    }

    /// Adds a field whose spelling does not decide where the entry lies: the slot takes
    /// `normalized`, the exact digest takes `exact`. The later it comes, the less is hashed twice.
    pub fn normalized_field(&mut self, name: &'static str, exact: &[u8], normalized: &[u8]) {
        self.normalized.get_or_insert_with(|| self.exact.clone()).field(name, normalized);
        self.exact.field(name, exact);
    }

    /// The key of all fields so far.
    pub fn finish(self) -> Key {
        // The two halves of BLAKE3's longer output are as independent as two hashes.
        let [slot, exact] = self.exact.finish();
        let slot = self.normalized.map_or(slot, |normalized| normalized.finish()[0]);
        Key { slot, exact, tenant: self.tenant }
    }
}

/// Bytes that are gathered before they are hashed: many short updates take longer than the hashing.
const BUFFER_BYTES: usize = 1024;

#[derive(Clone, Debug)]
struct FieldHasher {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl FieldHasher {
    fn new(start: &blake3::Hasher) -> Self {
        Self { hasher: start.clone(), buffer: Vec::with_capacity(BUFFER_BYTES) }
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.update(&(part.len() as u64).to_le_bytes());
            self.update(part);
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
        if bytes.len() > BUFFER_BYTES {
            self.hasher.update(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The first 64 bytes of the output, in halves.
    fn finish(mut self) -> [Digest; 2] {
        self.hasher.update(&self.buffer);
        let mut output = self.hasher.finalize_xof();
        let mut halves = [Digest::default(); 2];
        halves.iter_mut().for_each(|half| output.fill(half));
        halves
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
