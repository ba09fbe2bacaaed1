//! Runs one generation for all equal requests that are in flight.

use std::sync::{Arc, atomic::AtomicBool};

use brisk_cache::Leader;

use crate::{
    error::GatewayError,
    event::{ReplyEvent, ReplySummary},
    job::Job,
    recording::Recording,
    replay::Replay,
    replies::{Replies, Storing},
};

/// Events that wait for the foremost reader; beyond, the generation pauses.
const MAX_UNREAD_EVENTS: usize = 64;

/// What the readers of a shared generation see.
#[derive(Debug)]
pub(crate) enum FlightEvent {
    /// The prompt is accepted; events follow.
    Started { num_prompt_tokens: usize },
    /// All but the last one.
    Reply(ReplyEvent),
    /// The last event of a reply that is whole.
    Done { summary: ReplySummary, is_counted: AtomicBool },
    /// The last event of one that broke.
    Failed(GatewayError),
}

impl FlightEvent {
    fn of(event: ReplyEvent) -> Self {
        match event {
            ReplyEvent::Done(summary) => {
                Self::Done { summary, is_counted: AtomicBool::new(!summary.is_counted) }
            }
            event @ (ReplyEvent::Delta(_) | ReplyEvent::Finished { .. }) => Self::Reply(event),
        }
    }
}

/// Generates for everyone who reads from `leader`, and keeps the reply.
///
/// It ends when nobody reads any more. An error goes to the one who asked first, and the generation
/// is begun a second time for those who joined: what failed may have been the first request's turn,
/// such as a full queue. The second run gives the same events, of which the first are known already.
pub(crate) async fn fly(
    replies: Arc<Replies>,
    leader: Leader<Arc<FlightEvent>>,
    job: Job,
    storing: Option<Storing>,
) {
    let mut log = Vec::new();
    let mut is_promoted = false;
    loop {
        let error = tokio::select! {
            biased;
            () = leader.abandoned() => return,
            result = generate(&leader, &job, &mut log) => match result {
                Ok(()) => break,
                Err(error) => error,
            },
        };
        if is_promoted {
            leader.publish(Arc::new(FlightEvent::Failed(error)));
            leader.finish();
            return;
        }
        is_promoted = true;
        leader.fail_first_reader(Arc::new(FlightEvent::Failed(error)));
        if leader.num_readers() > 0 {
            tracing::info!("a shared generation failed and begins again for the next in line");
        }
    }
    if let Some(storing) = storing
        && let Some(recording) = Recording::of(&log)
    {
        // Before the flight ends: whoever comes between finds one or the other.
        replies.insert(storing, recording);
    }
    leader.finish();
}

/// One run. Events that `log` holds already are not published again.
async fn generate(
    leader: &Leader<Arc<FlightEvent>>,
    job: &Job,
    log: &mut Vec<Arc<FlightEvent>>,
) -> Result<(), GatewayError> {
    let mut num_seen = 0;
    let mut publish = |event| {
        num_seen += 1;
        if num_seen <= log.len() {
            return;
        }
        let event = Arc::new(event);
        log.push(Arc::clone(&event));
        leader.publish(event);
    };
    let mut generation = job.begin().await?;
    publish(FlightEvent::Started { num_prompt_tokens: generation.num_prompt_tokens() });
    while let Some(event) = generation.next().await {
        let event = FlightEvent::of(event?);
        let is_last = matches!(event, FlightEvent::Done { .. });
        publish(event);
        // The end waits for nobody: what is whole is kept, even if its last reader leaves now.
        if !is_last {
            leader.has_room(MAX_UNREAD_EVENTS).await;
        }
    }
    Ok(())
}

/// Serves those who joined a flight whose reply turned out to be kept already.
pub(crate) fn land(leader: Leader<Arc<FlightEvent>>, replay: Replay) {
    let num_prompt_tokens = replay.num_prompt_tokens();
    leader.publish(Arc::new(FlightEvent::Started { num_prompt_tokens }));
    for event in replay.events() {
        leader.publish(Arc::new(FlightEvent::of(event)));
    }
    leader.finish();
}
