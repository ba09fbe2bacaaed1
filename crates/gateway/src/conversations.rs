//! Keeps conversations for clients that send one message at a time: a list of messages for each
//! tenant and user, in SQLite.
//!
//! One thread owns the database; callers hold a [`ConversationStore`] and wait on a bounded queue. A
//! whole turn is one transaction, so a conversation never holds a question without its reply. After a
//! crash of the program every turn that was appended is there; after a loss of power the latest may
//! be missing. A disk that is full takes no turns, but deletes them.

mod database;
mod error;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use brisk_storage::{Health, RESERVE_BYTES};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::request::{Message, Role};
use database::{ConversationId, Database};
pub use error::ConversationError;

/// Longest user id.
const MAX_USER_ID_BYTES: usize = 256;
/// Most entries that one call of [`ConversationStore::list`] or [`ConversationStore::read`] returns.
const MAX_PAGE: usize = 1000;

/// Bounds of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationConfig {
    /// Messages of a conversation; the oldest turns go first. At least 2, a whole turn.
    pub max_messages: usize,
    /// Conversations of a tenant; the one that was longest without a new turn goes first.
    pub max_conversations: usize,
    /// Bytes of one message.
    pub max_message_bytes: usize,
    /// Bytes of messages that one call returns at most, the newest.
    pub max_loaded_bytes: usize,
    /// Bytes of the database file; a store that is full takes no more turns.
    pub max_file_bytes: u64,
    /// Bytes beside the file that deletions may use when the disk is full.
    pub reserve_bytes: u64,
    /// Calls that may wait for the database.
    pub max_queued_calls: usize,
    /// How long a call waits while another program holds the file's lock.
    pub busy_timeout: Duration,
}

impl Default for ConversationConfig {
    fn default() -> Self {
        Self {
            max_messages: 1000,
            max_conversations: 100_000,
            max_message_bytes: 1 << 20,
            max_loaded_bytes: 8 << 20,
            max_file_bytes: 8 << 30,
            reserve_bytes: RESERVE_BYTES,
            max_queued_calls: 1024,
            busy_timeout: Duration::from_secs(2),
        }
    }
}

/// A conversation among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationInfo {
    /// Whose it is.
    pub user_id: String,
    /// Messages that are kept.
    pub num_messages: usize,
    /// When its first turn was appended.
    pub created: SystemTime,
    /// When its latest turn was appended.
    pub updated: SystemTime,
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number in the conversation, from 1 and growing.
    pub number: u64,
    /// The message.
    pub message: Message,
    /// When its turn was appended.
    pub at: SystemTime,
}

/// What a turn continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// `None` where the turn is to be the first one.
    pub(crate) id: Option<ConversationId>,
    /// The messages before it.
    pub(crate) messages: Vec<Message>,
}

type Call = Box<dyn FnOnce(&mut Database) + Send>;

/// What the thread is asked to do.
enum Job {
    Call(Call),
    Close(oneshot::Sender<()>),
}

/// The conversations of all tenants. Dropping it finishes the calls that wait and closes the file.
#[derive(Debug)]
pub(crate) struct ConversationStore {
    config: ConversationConfig,
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Whether turns are kept.
    health: Health,
}

impl ConversationStore {
    /// Opens the store in the file at `path`, or in memory; a file that does not exist is created,
    /// for its owner's eyes only. Blocks while it does so.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the file, its folder or its contents.
    pub(crate) fn open(
        path: Option<&Path>,
        mut config: ConversationConfig,
    ) -> Result<Self, ConversationError> {
        // Whole turns.
        config.max_messages = (config.max_messages & !1).max(2);
        let mut database = Database::open(path, &config)?;
        let (jobs, mut inbox) = mpsc::channel(config.max_queued_calls.max(1));
        let thread = std::thread::Builder::new().name("conversations".to_owned());
        let thread = thread.spawn(move || {
            let mut closed = None;
            while let Some(job) = inbox.blocking_recv() {
                match job {
                    Job::Call(call) => call(&mut database),
                    Job::Close(reply) => {
                        closed = Some(reply);
                        break;
                    }
                }
            }
            database.close();
            // Whoever does not wait any more needs no answer.
            closed.map(|reply| reply.send(()));
        });
        let thread =
            thread.map_err(|error| ConversationError::NoThread { reason: error.to_string() })?;
        let health = Health::new("turns of conversations are not kept");
        Ok(Self { config, jobs: Some(jobs), thread: Some(thread), health })
    }

    /// Whether the last turn could not be kept.
    pub(crate) fn is_degraded(&self) -> bool {
        self.health.is_degraded()
    }

    /// Finishes the calls that wait and closes the file: all is in it then, and a copy of it alone is
    /// whole. Later calls fail.
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if let Ok(jobs) = self.jobs()
            && jobs.send(Job::Close(reply)).await.is_ok()
        {
            closed.await.ok();
        }
    }

    /// Whether a turn that begins with this message could be appended: ask before work goes into the
    /// reply.
    ///
    /// # Errors
    ///
    /// The user id or the message is out of bounds.
    pub(crate) fn check(&self, user_id: &str, message: &str) -> Result<(), ConversationError> {
        check_user_id(user_id)?;
        self.check_message(message)
    }

    /// The newest messages of a conversation, oldest first, beginning with a user's: at most
    /// `max_messages`, and no more bytes than `max_loaded_bytes`. None of a conversation that does
    /// not exist.
    ///
    /// # Errors
    ///
    /// The user id is out of bounds, or the store has a problem.
    pub(crate) async fn load(
        &self,
        tenant: [u8; 32],
        user_id: &str,
        max_messages: usize,
    ) -> Result<Loaded, ConversationError> {
        let user_id = check_user_id(user_id)?;
        let limit = max_messages.min(self.config.max_messages);
        let newest = self.call(move |it| it.newest(&tenant, &user_id, limit, None)).await?;
        let Some((id, messages)) = newest else { return Ok(Loaded::default()) };
        let messages = messages.into_iter().map(|it| it.message);
        let messages = messages.skip_while(|it| it.role != Role::User).collect();
        Ok(Loaded { id: Some(id), messages })
    }

    /// Appends a whole turn, or nothing. Waits for a place in the queue where others are refused,
    /// because the work for the reply is done. Where the turn `continued` a conversation that was
    /// deleted since, nothing is appended: what a user deletes does not come back. Whether it was.
    ///
    /// # Errors
    ///
    /// The user id or a message is out of bounds, or the store has a problem.
    pub(crate) async fn append(
        &self,
        tenant: [u8; 32],
        user_id: &str,
        continued: Option<ConversationId>,
        user: &str,
        assistant: &str,
        at: SystemTime,
    ) -> Result<bool, ConversationError> {
        let user_id = check_user_id(user_id)?;
        self.check_message(user)?;
        self.check_message(assistant)?;
        let turn = [(Role::User, user.to_owned()), (Role::Assistant, assistant.to_owned())];
        let (call, result) = call(move |it| it.append(&tenant, &user_id, continued, &turn, at));
        self.jobs()?.send(call).await.map_err(|_| ConversationError::Stopped)?;
        let appended = result.await.map_err(|_| ConversationError::Stopped)?;
        match &appended {
            Ok(_) => self.health.worked(),
            Err(error) => self.health.failed(error),
        }
        appended
    }

    /// A tenant's conversations in the order of their user ids, from the one behind `after` on: at
    /// most `limit`, and never more than 1,000.
    ///
    /// # Errors
    ///
    /// The store has a problem.
    pub(crate) async fn list(
        &self,
        tenant: [u8; 32],
        limit: usize,
        after: Option<&str>,
    ) -> Result<Vec<ConversationInfo>, ConversationError> {
        let after = after.unwrap_or_default().to_owned();
        self.call(move |it| it.list(&tenant, limit.min(MAX_PAGE), &after)).await
    }

    /// The newest messages of a conversation with a number below `before`, oldest first: at most
    /// `limit`, never more than 1,000, and no more bytes than `max_loaded_bytes`. `None` if there is
    /// no such conversation.
    ///
    /// # Errors
    ///
    /// The user id is out of bounds, or the store has a problem.
    pub(crate) async fn read(
        &self,
        tenant: [u8; 32],
        user_id: &str,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Option<Vec<StoredMessage>>, ConversationError> {
        let user_id = check_user_id(user_id)?;
        let limit = limit.min(MAX_PAGE);
        let newest = self.call(move |it| it.newest(&tenant, &user_id, limit, before)).await?;
        Ok(newest.map(|(_, messages)| messages))
    }

    /// Deletes a conversation, its bytes in the file too; false if there is none.
    ///
    /// # Errors
    ///
    /// The user id is out of bounds, or the store has a problem.
    pub(crate) async fn delete(
        &self,
        tenant: [u8; 32],
        user_id: &str,
    ) -> Result<bool, ConversationError> {
        let user_id = check_user_id(user_id)?;
        self.call(move |it| it.delete(&tenant, &user_id)).await
    }

    fn check_message(&self, message: &str) -> Result<(), ConversationError> {
        let (num_bytes, max_bytes) = (message.len(), self.config.max_message_bytes);
        if num_bytes > max_bytes {
            return Err(ConversationError::MessageTooLong { num_bytes, max_bytes });
        }
        Ok(())
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, ConversationError> + Send + 'static,
    ) -> Result<T, ConversationError> {
        let (call, result) = call(work);
        self.jobs()?.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => {
                let max_queued_calls = self.config.max_queued_calls;
                ConversationError::QueueFull { max_queued_calls }
            }
            TrySendError::Closed(_) => ConversationError::Stopped,
        })?;
        result.await.map_err(|_| ConversationError::Stopped)?
    }

    fn jobs(&self) -> Result<&mpsc::Sender<Job>, ConversationError> {
        self.jobs.as_ref().ok_or(ConversationError::Stopped)
    }
}

type Outcome<T> = Result<T, ConversationError>;

/// Work for the thread, and where its result comes.
fn call<T: Send + 'static>(
    work: impl FnOnce(&mut Database) -> Outcome<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Outcome<T>>) {
    let (reply, result) = oneshot::channel();
    let call: Call = Box::new(move |database: &mut Database| {
        // A caller that has gone away needs no reply.
        let _ = reply.send(work(database));
    });
    (Job::Call(call), result)
}

impl Drop for ConversationStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if self.thread.take().is_some_and(|it| it.join().is_err()) {
            tracing::error!("the thread of the conversations panicked");
        }
    }
}

/// A user id that is in bounds.
fn check_user_id(user_id: &str) -> Result<String, ConversationError> {
    let num_bytes = user_id.len();
    if num_bytes == 0 || num_bytes > MAX_USER_ID_BYTES {
        return Err(ConversationError::UserIdLength { num_bytes, max_bytes: MAX_USER_ID_BYTES });
    }
    if let Some(position) = user_id.find(char::is_control) {
        return Err(ConversationError::UserIdControl { position });
    }
    Ok(user_id.to_owned())
}
