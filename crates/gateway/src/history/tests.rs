//! Which messages stay.

use proptest::prelude::*;

use super::*;

/// A message from `s3`, `u10` or `a5`: who speaks and how many tokens.
fn message(word: &str) -> Message {
    let (role, num_tokens) = word.split_at(1);
    let role = match role {
        "s" => Role::System,
        "u" => Role::User,
        _ => Role::Assistant,
    };
    Message { role, content: num_tokens.to_owned() }
}

fn count(message: &Message) -> usize {
    message.content.parse().unwrap()
}

/// Trims with an overhead of 1: what stays, messages and tokens left out, tokens that stay.
fn check(messages: &str, budget: usize, expected: &str) {
    let trimmed = trim(messages.split_whitespace().map(message).collect(), count, 1, budget);
    let words: Vec<String> =
        trimmed.messages.iter().map(|it| it.role.name()[..1].to_owned() + &it.content).collect();
    let Trimmed { num_messages_left_out, num_tokens_left_out, num_tokens, .. } = trimmed;
    let got = format!(
        "{} / -{num_messages_left_out} -{num_tokens_left_out} ={num_tokens}",
        words.join(" ")
    );
    assert_eq!(got, expected, "{messages} in {budget}");
}

#[test]
fn what_fits_is_not_changed() {
    check("", 0, " / -0 -0 =0");
    check("u9", 10, "u9 / -0 -0 =10");
    check("s4 u9 a9 u9", 35, "s4 u9 a9 u9 / -0 -0 =35");
    check("a9 u9", 20, "a9 u9 / -0 -0 =20");
}

#[test]
fn the_oldest_turns_go_first_and_whole() {
    check("s4 u9 a9 u9 a9 u9", 54, "s4 u9 a9 u9 / -2 -20 =35");
    check("s4 u9 a9 u9 a9 u9", 35, "s4 u9 a9 u9 / -2 -20 =35");
    check("s4 u9 a9 u9 a9 u9", 34, "s4 u9 / -4 -40 =15");
    check("s4 s4 u9 a9 u9", 21, "s4 s4 u9 / -2 -20 =20");
    // An instruction in the middle goes with its turn.
    check("s4 u9 s4 a9 u9", 20, "s4 u9 / -3 -25 =15");
    // Messages of one speaker in a row.
    check("u9 u9 a9 a9 u9", 45, "u9 a9 a9 u9 / -1 -10 =40");
    // A greeting is no turn of its own: what stays begins with a user.
    check("s4 a9 u9", 15, "s4 u9 / -1 -10 =15");
}

#[test]
fn system_prompt_and_newest_turn_always_stay() {
    check("s4 u9 a9 u90", 10, "s4 u90 / -2 -20 =96");
    check("s40 u9", 10, "s40 u9 / -0 -0 =51");
    check("s4 u9 a9 u9 a9", 0, "s4 u9 a9 / -2 -20 =25");
    check("s4 s4", 0, "s4 s4 / -0 -0 =10");
    check("a9 a9", 0, "a9 a9 / -0 -0 =20");
}

proptest! {
    #[test]
    fn the_rules_hold_for_any_conversation(
        words in proptest::collection::vec("[sua][0-9]", 0..60),
        overhead in 0..5usize,
        budget in 0..400usize,
    ) {
        let messages: Vec<Message> = words.iter().map(|it| message(it)).collect();
        let num_system = messages.iter().take_while(|it| it.role == Role::System).count();
        let tokens = |of: &[Message]| of.iter().map(|it| count(it) + overhead).sum::<usize>();
        let mut num_asked = 0;
        let counting = |it: &Message| {
            num_asked += 1;
            count(it)
        };
        let trimmed = trim(messages.clone(), counting, overhead, budget);
        prop_assert_eq!(num_asked, messages.len());
        let kept = &trimmed.messages;
        // Order, system prompt and figures.
        let rest = num_system + trimmed.num_messages_left_out;
        prop_assert_eq!(&kept[..num_system], &messages[..num_system]);
        prop_assert_eq!(&kept[num_system..], &messages[rest..]);
        prop_assert_eq!(trimmed.num_tokens, tokens(kept));
        prop_assert_eq!(trimmed.num_tokens_left_out, tokens(&messages[num_system..rest]));
        // The newest turn.
        let newest = messages.iter().rposition(|it| it.role == Role::User);
        prop_assert!(newest.is_none_or(|it| it >= rest || it < num_system));
        if trimmed.num_messages_left_out > 0 {
            prop_assert_eq!(kept[num_system].role, Role::User);
            // No more than needed: with the turn before it, it would be too much.
            let before = messages[..rest].iter().rposition(|it| it.role == Role::User);
            let before = before.filter(|&it| it > num_system).unwrap_or(num_system);
            let more = tokens(&messages[before..]) + tokens(&messages[..num_system]);
            prop_assert!(more > budget);
        }
        // The budget, wherever more could go.
        let num_turns = kept[num_system..].iter().skip(1).filter(|it| it.role == Role::User).count();
        prop_assert!(trimmed.num_tokens <= budget || num_turns == 0);
    }
}

#[test]
fn a_message_is_counted_once() {
    let counts = TokenCounts::new(4);
    let ask = |word: &str| {
        let mut is_counted = false;
        let num_tokens = counts.count(&message(word), |it| {
            is_counted = true;
            count(it)
        });
        assert!(counts.num_entries() <= 4);
        (num_tokens, is_counted)
    };
    assert_eq!(ask("u5"), (5, true));
    assert_eq!(ask("u5"), (5, false));
    // Another role is another message.
    assert_eq!(ask("a5"), (5, true));
    // The latest that were asked for stay.
    assert_eq!(ask("u6"), (6, true));
    assert_eq!(ask("u5"), (5, false));
    assert_eq!(ask("u7"), (7, true));
    assert_eq!(ask("u8"), (8, true));
    assert_eq!(ask("a5"), (5, true));
    assert_eq!(ask("u8"), (8, false));
}

#[test]
fn many_may_ask_at_once() {
    let counts = TokenCounts::new(64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..2000 {
                    let message = message(&format!("u{}", i % 100));
                    assert_eq!(counts.count(&message, count), i % 100);
                    assert!(counts.num_entries() <= 64);
                }
            });
        }
    });
}

/// `cargo test -p brisk-gateway --release -- --ignored --nocapture what_trimming_costs`
#[test]
#[ignore = "a measurement"]
fn what_trimming_costs() {
    for num_bytes in [100, 500, 4000] {
        let message = |i: usize| {
            let role = if i.is_multiple_of(2) { Role::User } else { Role::Assistant };
            Message { role, content: format!("{i} ").repeat(num_bytes / 4) }
        };
        let messages: Vec<Message> = (0..200).map(message).collect();
        let counts = TokenCounts::default();
        let count = |it: &Message| counts.count(it, |it| it.content.len() / 4);
        let mut times: Vec<_> = (0..101)
            .map(|_| {
                let messages = messages.clone();
                let start = std::time::Instant::now();
                std::hint::black_box(trim(messages, count, 4, 10 * num_bytes));
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        eprintln!(
            "200 messages of {num_bytes} bytes: median {:?}, longest {:?}",
            times[50], times[100]
        );
    }
}
