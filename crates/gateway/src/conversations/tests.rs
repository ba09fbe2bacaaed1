//! What is kept, and for whom.

mod files;
mod full;

use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;

const ANN: [u8; 32] = [1; 32];
const BEN: [u8; 32] = [2; 32];

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn memory(config: ConversationConfig) -> ConversationStore {
    ConversationStore::open(None, config).unwrap()
}

/// A configuration that waits for nobody.
fn impatient() -> ConversationConfig {
    ConversationConfig { busy_timeout: Duration::ZERO, ..ConversationConfig::default() }
}

async fn append(store: &ConversationStore, tenant: [u8; 32], user_id: &str, turn: usize) {
    let (user, assistant) = (format!("q{turn}"), format!("a{turn}"));
    store.append(tenant, user_id, None, &user, &assistant, at(turn as u64)).await.unwrap();
}

/// The contents that are loaded, `q1 a1 q2 a2`.
async fn loaded(
    store: &ConversationStore,
    tenant: [u8; 32],
    user_id: &str,
    max_messages: usize,
) -> String {
    let messages = store.load(tenant, user_id, max_messages).await.unwrap().messages;
    for (i, message) in messages.iter().enumerate() {
        let role = if i % 2 == 0 { Role::User } else { Role::Assistant };
        assert_eq!(message.role, role, "whole turns");
    }
    let contents: Vec<String> = messages.into_iter().map(|it| it.content).collect();
    contents.join(" ")
}

/// A tenant's conversations, `user:num_messages:created-updated`.
async fn listed(
    store: &ConversationStore,
    tenant: [u8; 32],
    limit: usize,
    after: Option<&str>,
) -> String {
    let seconds = |it: SystemTime| it.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let infos = store.list(tenant, limit, after).await.unwrap();
    let words: Vec<String> = infos
        .into_iter()
        .map(|it| {
            let ConversationInfo { user_id, num_messages, created, updated } = it;
            format!("{user_id}:{num_messages}:{}-{}", seconds(created), seconds(updated))
        })
        .collect();
    words.join(" ")
}

/// The numbers of the messages that are read, or `none`.
async fn read(
    store: &ConversationStore,
    user_id: &str,
    limit: usize,
    before: Option<u64>,
) -> String {
    let Some(messages) = store.read(ANN, user_id, limit, before).await.unwrap() else {
        return "none".to_owned();
    };
    let words: Vec<String> =
        messages.iter().map(|it| format!("{}:{}", it.number, it.message.content)).collect();
    words.join(" ")
}

#[tokio::test]
async fn a_conversation_is_its_users_and_its_tenants() {
    let store = memory(ConversationConfig::default());
    assert_eq!(loaded(&store, ANN, "u", 10).await, "");
    append(&store, ANN, "u", 1).await;
    append(&store, ANN, "u", 2).await;
    append(&store, ANN, "v", 3).await;
    append(&store, BEN, "u", 4).await;
    assert_eq!(loaded(&store, ANN, "u", usize::MAX).await, "q1 a1 q2 a2");
    assert_eq!(loaded(&store, ANN, "v", 10).await, "q3 a3");
    assert_eq!(loaded(&store, BEN, "u", 10).await, "q4 a4");
    assert_eq!(loaded(&store, BEN, "v", 10).await, "");
    assert_eq!(listed(&store, ANN, 10, None).await, "u:4:1-2 v:2:3-3");
    assert_eq!(listed(&store, BEN, 10, None).await, "u:2:4-4");
    // What one tenant deletes is the other's no less.
    assert!(store.delete(ANN, "u").await.unwrap());
    assert!(!store.delete(ANN, "u").await.unwrap());
    assert!(!store.delete(BEN, "v").await.unwrap());
    assert_eq!(loaded(&store, ANN, "u", 10).await, "");
    assert_eq!(loaded(&store, BEN, "u", 10).await, "q4 a4");
    assert_eq!(read(&store, "u", 10, None).await, "none");
}

#[tokio::test]
async fn a_turn_does_not_bring_a_deleted_conversation_back() {
    // While a turn that was loaded after `q1 a1` runs, the conversation is deleted or not, and another
    // turn is appended or not.
    for (is_deleted, is_continued, expected) in [
        (false, false, "q1 a1 q a"),
        (false, true, "q1 a1 q2 a2 q a"),
        (true, false, ""),
        (true, true, "q2 a2"),
    ] {
        let store = memory(ConversationConfig::default());
        append(&store, ANN, "u", 1).await;
        let Loaded { id, .. } = store.load(ANN, "u", 10).await.unwrap();
        assert!(id.is_some());
        if is_deleted {
            assert!(store.delete(ANN, "u").await.unwrap());
        }
        if is_continued {
            append(&store, ANN, "u", 2).await;
        }
        store.append(ANN, "u", id, "q", "a", at(3)).await.unwrap();
        assert_eq!(loaded(&store, ANN, "u", 10).await, expected);
        let num = store.list(ANN, 10, None).await.unwrap().len();
        assert_eq!(num, usize::from(!expected.is_empty()), "{expected}");
    }
    // Of two first turns at the same time both are kept.
    let store = memory(ConversationConfig::default());
    let Loaded { id, .. } = store.load(ANN, "u", 10).await.unwrap();
    append(&store, ANN, "u", 1).await;
    store.append(ANN, "u", id, "q", "a", at(2)).await.unwrap();
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q1 a1 q a");
}

#[tokio::test]
async fn only_whole_turns_are_loaded() {
    let store = memory(ConversationConfig::default());
    for turn in 1..=3 {
        append(&store, ANN, "u", turn).await;
    }
    for (max_messages, expected) in
        [(0, ""), (1, ""), (2, "q3 a3"), (3, "q3 a3"), (4, "q2 a2 q3 a3"), (7, "q1 a1 q2 a2 q3 a3")]
    {
        assert_eq!(loaded(&store, ANN, "u", max_messages).await, expected, "{max_messages}");
    }
}

#[tokio::test]
async fn messages_are_read_page_by_page() {
    let store = memory(ConversationConfig { max_messages: 4, ..Default::default() });
    for turn in 1..=3 {
        append(&store, ANN, "u", turn).await;
    }
    assert_eq!(read(&store, "u", 10, None).await, "3:q2 4:a2 5:q3 6:a3");
    assert_eq!(read(&store, "u", 3, None).await, "4:a2 5:q3 6:a3");
    assert_eq!(read(&store, "u", 3, Some(4)).await, "3:q2");
    assert_eq!(read(&store, "u", 3, Some(3)).await, "");
    assert_eq!(read(&store, "u", 3, Some(u64::MAX)).await, "4:a2 5:q3 6:a3");
    assert_eq!(read(&store, "v", 3, None).await, "none");
    let messages = store.read(ANN, "u", 1, None).await.unwrap().unwrap();
    assert_eq!(messages[0].at, at(3));
}

#[tokio::test]
async fn conversations_are_listed_page_by_page() {
    let store = memory(ConversationConfig::default());
    for (turn, user_id) in ["b", "a", "c", "B"].into_iter().enumerate() {
        append(&store, ANN, user_id, turn).await;
    }
    assert_eq!(listed(&store, ANN, 2, None).await, "B:2:3-3 a:2:1-1");
    assert_eq!(listed(&store, ANN, 2, Some("a")).await, "b:2:0-0 c:2:2-2");
    assert_eq!(listed(&store, ANN, 2, Some("c")).await, "");
    assert_eq!(listed(&store, ANN, 0, None).await, "");
    assert_eq!(listed(&store, ANN, usize::MAX, Some("bb")).await, "c:2:2-2");
}

#[tokio::test]
async fn the_oldest_turns_of_a_long_conversation_go() {
    for (max_messages, expected) in [(4, "q8 a8 q9 a9"), (5, "q8 a8 q9 a9"), (1, "q9 a9")] {
        let store = memory(ConversationConfig { max_messages, ..Default::default() });
        for turn in 1..=9 {
            append(&store, ANN, "u", turn).await;
        }
        assert_eq!(loaded(&store, ANN, "u", 100).await, expected.to_owned(), "{max_messages}");
    }
}

#[tokio::test]
async fn the_conversation_that_waited_longest_goes() {
    let store = memory(ConversationConfig { max_conversations: 3, ..Default::default() });
    for (turn, user_id) in ["a", "b", "c", "a", "d", "e"].into_iter().enumerate() {
        append(&store, ANN, user_id, turn).await;
        append(&store, BEN, "u", turn).await;
    }
    assert_eq!(listed(&store, ANN, 10, None).await, "a:4:0-3 d:2:4-4 e:2:5-5");
    assert_eq!(listed(&store, BEN, 10, None).await, "u:12:0-5");
    // Also after the bound was lowered, and with a clock that went back.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("it");
    for (max_conversations, expected) in [(5, "a b c d e"), (2, "e z")] {
        let config = ConversationConfig { max_conversations, ..impatient() };
        let store = ConversationStore::open(Some(&path), config).unwrap();
        let users = if max_conversations == 5 { "abcde" } else { "z" };
        for (turn, user_id) in users.char_indices() {
            append(&store, ANN, &user_id.to_string(), turn).await;
        }
        let infos = store.list(ANN, 10, None).await.unwrap();
        let users: Vec<String> = infos.into_iter().map(|it| it.user_id).collect();
        assert_eq!(users.join(" "), expected);
    }
}

#[tokio::test]
async fn a_user_id_may_be_anything_that_can_be_printed() {
    let store = memory(ConversationConfig::default());
    let longest = "é".repeat(128);
    let user_ids = [
        "'; DROP TABLE conversations; --",
        "\" OR \"\"=\"",
        "%",
        "_",
        "*",
        "?1",
        ":user_id",
        "../../etc/passwd",
        "C:\\Users\\ann",
        "a/b",
        "👩‍👩‍👧‍👦",
        "Zoë",
        "Zoe\u{308}",
        "用户",
        " ",
        " a",
        "a",
        "A",
        "null",
        "0",
        "00",
        "0x00",
        "1e3",
        "\u{202e}right to left",
        "\u{feff}a",
        &longest,
    ];
    for (turn, user_id) in user_ids.iter().enumerate() {
        append(&store, ANN, user_id, turn).await;
    }
    for (turn, user_id) in user_ids.iter().enumerate() {
        let expected = format!("q{turn} a{turn}");
        assert_eq!(loaded(&store, ANN, user_id, 10).await, expected, "{user_id}");
    }
    let infos = store.list(ANN, 100, None).await.unwrap();
    let mut listed: Vec<&str> = infos.iter().map(|it| &*it.user_id).collect();
    let mut expected = user_ids.to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected, "in the order of their bytes");
    listed.dedup();
    assert_eq!(listed.len(), user_ids.len());
    for user_id in user_ids {
        assert!(store.delete(ANN, user_id).await.unwrap(), "{user_id}");
    }
    assert!(store.list(ANN, 100, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused() {
    let store = memory(ConversationConfig { max_message_bytes: 4, ..Default::default() });
    for (user_id, message, expected) in [
        ("", "", "user_id has 0 bytes, it must have from 1 to 256"),
        (&*"x".repeat(257), "", "user_id has 257 bytes, it must have from 1 to 256"),
        ("a\0", "", "user_id holds a control character at byte 1"),
        ("\n", "", "user_id holds a control character at byte 0"),
        ("é\x1b[0m", "", "user_id holds a control character at byte 2"),
        ("\u{9b}", "", "user_id holds a control character at byte 0"),
        ("u", "12345", "the message has 5 bytes, a kept conversation takes 4"),
    ] {
        let refused = Some(expected.to_owned());
        let said = |it: Result<(), ConversationError>| it.err().map(|it| it.to_string());
        assert_eq!(said(store.check(user_id, message)), refused);
        for (user, assistant) in [(message, "a"), ("q", message)] {
            let appended = store.append(ANN, user_id, None, user, assistant, at(0)).await;
            assert_eq!(said(appended.map(drop)), refused);
        }
        if message.is_empty() {
            assert_eq!(said(store.load(ANN, user_id, 1).await.map(drop)), refused);
            assert_eq!(said(store.read(ANN, user_id, 1, None).await.map(drop)), refused);
            assert_eq!(said(store.delete(ANN, user_id).await.map(drop)), refused);
        }
    }
    store.check("u", "1234").unwrap();
    assert_eq!(listed(&store, ANN, 10, None).await, "", "nothing was kept");
}

#[tokio::test]
async fn messages_come_back_as_they_were() {
    let store = memory(ConversationConfig::default());
    let contents =
        ["", "\0", "a\0b", "\x1b[0m\r\n", "'\"`;--", "\u{feff}é\u{10ffff}", "NULL", "007"];
    for content in contents {
        store.append(ANN, "u", None, content, content, at(0)).await.unwrap();
        let messages = store.load(ANN, "u", 2).await.unwrap().messages;
        assert!(messages.len() == 2 && messages.iter().all(|it| it.content == content));
    }
}

#[tokio::test]
async fn no_more_bytes_than_allowed_are_loaded() {
    let store = memory(ConversationConfig { max_loaded_bytes: 25, ..Default::default() });
    for turn in 1..=3 {
        let (user, assistant) = (format!("q{turn}-567890"), format!("a{turn}-567890"));
        store.append(ANN, "u", None, &user, &assistant, at(0)).await.unwrap();
    }
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q3-567890 a3-567890");
    assert_eq!(read(&store, "u", 10, None).await, "5:q3-567890 6:a3-567890");
    // One that is longer by itself is read all the same.
    store.append(ANN, "v", None, "q", &"x".repeat(30), at(0)).await.unwrap();
    assert_eq!(read(&store, "v", 10, None).await, format!("2:{}", "x".repeat(30)));
}

#[tokio::test]
async fn a_full_queue_is_an_answer_but_a_turn_waits() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let config = ConversationConfig { max_queued_calls: 1, ..ConversationConfig::default() };
    let store = ConversationStore::open(Some(&path), config).unwrap();
    // The thread stands still until the gate opens.
    let (gate, closed) = std::sync::mpsc::channel::<()>();
    let (stands, is_standing) = oneshot::channel();
    let still = store.call(move |_| {
        let _ = stands.send(());
        let _ = closed.recv();
        Ok(())
    });
    let others = async {
        is_standing.await.unwrap();
        let first = store.load(ANN, "u", 10);
        let rest = async {
            let full = ConversationError::QueueFull { max_queued_calls: 1 };
            assert_eq!(store.load(ANN, "u", 10).await, Err(full));
            let turn = store.append(ANN, "u", None, "q", "a", at(0));
            let open = async { drop(gate) };
            tokio::join!(biased; turn, open).0
        };
        tokio::join!(biased; first, rest)
    };
    let (still, (first, turn)) = tokio::join!(biased; still, others);
    still.unwrap();
    assert_eq!(first, Ok(Loaded::default()));
    turn.unwrap();
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q a");
}

#[tokio::test]
async fn a_call_nobody_waits_for_is_no_harm() {
    let store = memory(ConversationConfig::default());
    for _ in 0..100 {
        let call = store.list(ANN, 10, None);
        drop(tokio::time::timeout(Duration::ZERO, call).await);
    }
    append(&store, ANN, "u", 1).await;
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q1 a1");
}

/// `cargo test -p brisk-gateway --release -- --ignored --nocapture what_a_turn_costs`
#[tokio::test]
#[ignore = "a measurement"]
async fn what_a_turn_costs() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let config = ConversationConfig { max_conversations: 20_000, ..impatient() };
    let store = ConversationStore::open(Some(&path), config).unwrap();
    let text = "x".repeat(500);
    for phase in ["first turns", "later turns", "turns that make room"] {
        let mut times = vec![];
        for i in 0..20_000 {
            let user_id = if phase.contains("room") { format!("v{i}") } else { format!("u{i}") };
            let start = std::time::Instant::now();
            store.append(ANN, &user_id, None, &text, &text, at(i)).await.unwrap();
            times.push(start.elapsed());
        }
        times[19_000..].sort_unstable();
        eprintln!("{phase}: median {:?} of the last 1000", times[19_500]);
    }
    let long: Vec<_> = (0..500).map(|it| (it, "u")).collect();
    for (turn, user_id) in long {
        store.append(ANN, user_id, None, &text, &text, at(turn)).await.unwrap();
    }
    let start = std::time::Instant::now();
    let num_messages = store.load(ANN, "u", 1000).await.unwrap().messages.len();
    eprintln!("loading {num_messages} messages: {:?}", start.elapsed());
}
