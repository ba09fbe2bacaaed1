//! Kept replies and generations in flight: how a request is answered without generating.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use brisk_cache::{Flights, Hit, Joined, Key, Lookup, NewEntry, ResponseCache};

use crate::{
    error::GatewayError,
    flight::{FlightEvent, fly, land},
    generation::ms_since,
    job::{Input, Job},
    key::{Partition, key},
    recording::Recording,
    replay::Replay,
    reply::{CacheReport, CacheStatus, Origin, Reply},
    request::{CacheUse, Prompt, Role},
};

/// Readers of one generation beside the first; more generate for themselves.
const MAX_FOLLOWERS: usize = 4096;
/// Bytes of a question that a list of entries shows.
const MAX_LABEL_BYTES: usize = 120;

/// The response cache, and the generations that equal requests share.
#[derive(Debug)]
pub(crate) struct Replies {
    pub(crate) store: ResponseCache<Recording>,
    flights: Flights<Arc<FlightEvent>>,
    num_private_flights: AtomicU64,
}

/// How a reply is kept once it is whole.
#[derive(Debug)]
pub(crate) struct Storing {
    key: Key,
    label: String,
    ttl: Option<Duration>,
    started: Instant,
}

impl Replies {
    pub(crate) fn new(store: ResponseCache<Recording>) -> Self {
        let num_private_flights = AtomicU64::new(0);
        Self { store, flights: Flights::new(MAX_FOLLOWERS), num_private_flights }
    }

    /// Answers from the cache, along with an equal request, or by a generation of its own, whichever
    /// is possible first.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        mut job: Job,
        partition: Partition<'_>,
        cache: CacheUse,
        started: Instant,
    ) -> Result<Reply, GatewayError> {
        let key = key(&job, partition);
        let lookup = Lookup { max_age: cache.max_age, exact_only: cache.exact };
        let looked_up = Instant::now();
        if cache.read
            && let Some(hit) = self.store.get(&key, lookup).await
        {
            return Ok(replay(hit, &job, &cache, started, looked_up));
        }
        let mut report = CacheReport {
            status: CacheStatus::Miss,
            key: Some(key.slot),
            lookup_ms: ms_since(looked_up),
            ..CacheReport::default()
        };
        let engine = job.workshop.engine.clone();
        let (num_choices, deadline) = (job.num_choices_in_all(), job.deadline.take());
        // Who has wishes about what is kept shares with nobody, for a shared reply is kept or not for all.
        let may_share = cache.read && cache.write && cache.ttl.is_none();
        let joined = self.flights.join(if may_share { key } else { self.private(key) });
        let reader = match joined {
            Joined::Follow(reader) => {
                report.status = CacheStatus::Coalesced;
                reader
            }
            Joined::Lead(leader, reader) => {
                // The flight before may have landed since the lookup.
                if cache.read
                    && let Some(hit) = self.store.look_again(&key, lookup)
                {
                    land(leader, Replay::new(Arc::clone(&hit.entry), None));
                    return Ok(replay(hit, &job, &cache, started, looked_up));
                }
                let storing = cache.write.then(|| Storing {
                    key,
                    label: label(&job.input),
                    ttl: cache.ttl,
                    started: Instant::now(),
                });
                // A second run must give the same tokens.
                job.params.seed.get_or_insert_with(random_seed);
                tokio::spawn(fly(Arc::clone(self), leader, job, storing));
                reader
            }
            Joined::Full => {
                job.deadline = deadline;
                let origin = Origin::Generation(job.begin().await?);
                report = CacheReport { status: CacheStatus::Bypass, ..report };
                return Ok(Reply::new(engine, origin, num_choices, started, report));
            }
        };
        let origin = Origin::Flight(reader);
        let mut reply = Reply::new(engine, origin, num_choices, started, report);
        if let Some(deadline) = deadline {
            reply.set_deadline(deadline);
        }
        reply.has_begun().await?;
        Ok(reply)
    }

    /// Keeps a reply that is whole.
    pub(crate) fn insert(&self, storing: Storing, value: Recording) {
        let Storing { key, label, ttl, started } = storing;
        let saved = started.elapsed();
        self.store.insert(NewEntry { key, value, label, saved, ttl });
    }

    /// A key for a flight that nobody else joins.
    fn private(&self, key: Key) -> Key {
        let number = self.num_private_flights.fetch_add(1, Ordering::Relaxed);
        let mut exact = [0; 32];
        exact[..8].copy_from_slice(&number.to_le_bytes());
        Key { exact, ..key }
    }
}

fn replay(
    hit: Hit<Recording>,
    job: &Job,
    cache: &CacheUse,
    started: Instant,
    looked_up: Instant,
) -> Reply {
    let report = CacheReport {
        status: if hit.is_exact { CacheStatus::Hit } else { CacheStatus::HitNormalized },
        key: Some(hit.entry.key.slot),
        age: Some(hit.age()),
        tier: Some(hit.tier),
        saved: hit.entry.saved,
        lookup_ms: ms_since(looked_up),
    };
    let origin = Origin::Replay(Replay::new(hit.entry, cache.replay_pace));
    Reply::new(job.workshop.engine.clone(), origin, job.num_choices_in_all(), started, report)
}

/// The beginning of the question, for lists of entries.
fn label(input: &Input) -> String {
    let text = match input {
        Input::Chat { messages, .. } => {
            let question = messages.iter().rev().find(|message| message.role == Role::User);
            question.map_or("", |message| &message.content)
        }
        Input::Raw { prompts, .. } => match prompts.first() {
            Some(Prompt::Text(text)) => text,
            _ => "",
        },
    };
    text[..text.floor_char_boundary(MAX_LABEL_BYTES)].to_owned()
}

/// Good enough to choose among replies; not a secret.
fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}
