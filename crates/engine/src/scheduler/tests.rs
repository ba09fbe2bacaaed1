//! Rows of scripts: what is done to a scheduler, and the plans or free blocks that follow.
//!
//! `blocks 4 of 16` there are; `seqs`, `budget` set the caps; with `fits 40`, so many prompt tokens
//! fit into a step that is not to last; `add 1:32` puts a sequence of 32 tokens among the waiting,
//! `add 2:32 like 1` one with the prompt of 1, `add 2:32 by 7` one of client 7; `step` plans, applies
//! and appends a token where one is sampled; `pause`, `resume`, `finish` do as they say.

use super::*;
use crate::{pace::Pace, tests::Chance};

/// Runs a script; gives what each `step` planned and the free blocks after every command.
fn run(script: &str) -> (Vec<String>, Vec<String>) {
    let mut config = SchedulerConfig {
        max_num_seqs: 8,
        max_num_batched_tokens: 512,
        num_blocks: 0,
        block_size: 0,
    };
    let mut scheduler: Option<Scheduler> = None;
    let mut pace = Pace::of(512.0, 0.0, 1.0);
    let (mut plans, mut free) = (vec![], vec![]);
    for command in script.split("; ") {
        let words: Vec<&str> = command.split([' ', ':']).collect();
        let number = |index: usize| words[index].parse::<usize>().expect(command);
        let id = |index: usize| SequenceId(number(index) as u64);
        match words[0] {
            "blocks" => (config.num_blocks, config.block_size) = (number(1), number(3)),
            "seqs" => config.max_num_seqs = number(1),
            "budget" => config.max_num_batched_tokens = number(1),
            "fits" => pace = Pace::of(number(1) as f64, 0.0, 1.0),
            _ => {}
        }
        if ["blocks", "seqs", "budget", "fits"].contains(&words[0]) {
            continue;
        }
        let scheduler = scheduler.get_or_insert_with(|| Scheduler::new(config));
        match words[0] {
            "add" => {
                let what = words.get(3).copied();
                let client = ClientId(if what == Some("by") { number(4) as u64 } else { 0 });
                let sibling = (what == Some("like"))
                    .then(|| Sibling { id: id(4), num_prompt_tokens: number(2) });
                scheduler.add(id(1), client, number(2), sibling);
            }
            "step" => {
                let plan = scheduler.plan(&pace);
                scheduler.apply(&plan);
                let sampled = plan.chunks.iter().filter(|it| it.is_last);
                sampled.for_each(|it| scheduler.append_token(it.id));
                plans.push(plan.to_string());
            }
            "finish" => scheduler.finish(id(1)),
            "pause" => scheduler.set_paused(id(1), true),
            "resume" => scheduler.set_paused(id(1), false),
            other => panic!("unknown command {other}"),
        }
        free.push(scheduler.blocks.num_free().to_string());
    }
    (plans, free)
}

fn check(script: &str, expected: &str) {
    assert_eq!(format!("free {}", run(script).1.join(", ")), expected, "{script}");
}

fn check_plans(script: &str, expected: &[&str]) {
    assert_eq!(run(script).0, expected, "{script}");
}

#[test]
fn a_finished_sequence_gives_its_blocks_back() {
    check("blocks 4 of 16; add 1:32; step; finish 1", "free 4, 2, 4");
    // The first generated token starts a third block.
    check("blocks 4 of 16; add 1:32; step; step; finish 1", "free 4, 2, 1, 4");
    check("blocks 4 of 16; add 1:33; finish 1", "free 4, 4");
}

#[test]
fn an_empty_scheduler_is_idle() {
    check_plans("blocks 4 of 16; step", &["idle"]);
}

#[test]
fn prefill_is_cut_into_chunks_and_ends_with_a_token() {
    check_plans(
        "blocks 9 of 16; budget 40; add 1:100; step; step; step; step",
        &["admit 1; run 1 0..40", "run 1 40..80", "run 1 80..100!", "run 1 100..101!"],
    );
}

#[test]
fn a_prefill_beside_decodes_takes_pieces_that_fit_into_the_time() {
    check_plans(
        "blocks 9 of 16; fits 50; add 1:3; step; add 2:90; step; step; step; step",
        &[
            "admit 1; run 1 0..3!",
            // Whole columns of the kernels: 24 of one half of the time, 24 of what is left.
            "admit 2; run 1 3..4!, 2 0..48",
            "run 1 4..5!, 2 48..90!",
            "run 1 5..6!, 2 90..91!",
            "run 1 6..7!, 2 91..92!",
        ],
    );
    // However slow the machine, it gets on.
    check_plans(
        "blocks 9 of 16; fits 0; add 1:3; step; add 2:20; step; step",
        &["admit 1; run 1 0..3!", "admit 2; run 1 3..4!, 2 0..16", "run 1 4..5!, 2 16..20!"],
    );
}

#[test]
fn while_nobody_waits_for_a_token_a_prefill_takes_all() {
    check_plans(
        "blocks 99 of 16; budget 200; fits 20; add 1:500; step; pause 1; add 2:300; step",
        &["admit 1; run 1 0..200", "admit 2; run 2 0..200"],
    );
    // Of two long prompts neither could have its token soon, so steps are long.
    check_plans(
        "blocks 99 of 16; budget 200; fits 20; add 1:500; add 2:600; step; step; step",
        &["admit 1; run 1 0..200", "run 1 200..400", "admit 2; run 1 400..500!, 2 0..100"],
    );
    // A short one could, so its step is no longer than it needs to be.
    check_plans(
        "blocks 99 of 16; budget 200; fits 20; add 1:500; step; add 2:24; step",
        &["admit 1; run 1 0..200", "admit 2; run 1 200..224, 2 0..24!"],
    );
}

#[test]
fn a_short_prompt_passes_long_ones_and_does_not_stop_them() {
    check_plans(
        "blocks 99 of 16; fits 64; add 1:4; step; add 2:200; add 3:200; add 4:40; step; step; step",
        &[
            "admit 1; run 1 0..4!",
            "admit 4; admit 2; run 1 4..5!, 2 0..32, 4 0..32",
            "run 1 5..6!, 2 32..88, 4 32..40!",
            "run 1 6..7!, 4 40..41!, 2 88..152",
        ],
    );
}

#[test]
fn clients_take_turns_with_their_oldest_prefill() {
    check_plans(
        "blocks 99 of 16; budget 40; add 1:90 by 7; add 2:90 by 7; add 3:95 by 8; add 4:95 by 9; \
         step; step; step; step; step",
        &[
            // A half for the shortest; the other to 7, whose oldest that is.
            "admit 1; run 1 0..40",
            "admit 3; run 1 40..60, 3 0..20",
            "admit 4; run 1 60..80, 4 0..20",
            // What 7 lacked was the shortest, and 8 is next.
            "run 1 80..90!, 3 20..50",
            "run 1 90..91!, 3 50..69, 4 20..40",
        ],
    );
}

#[test]
fn a_client_with_fewest_at_work_is_admitted_first() {
    check_plans(
        "blocks 99 of 16; seqs 2; add 1:4 by 7; step; add 2:4 by 7; add 3:4 by 8; step; finish 1; step",
        &["admit 1; run 1 0..4!", "admit 3; run 1 4..5!, 3 0..4!", "admit 2; run 3 4..5!, 2 0..4!"],
    );
}

#[test]
fn no_client_waits_for_more_than_a_round_of_the_others() {
    check_plans(
        "blocks 99 of 16; seqs 1; add 1:4 by 7; add 2:4 by 7; add 3:4 by 7; add 4:4 by 8; \
         add 5:4 by 9; add 6:4 by 9; step; finish 1; step; finish 4; step; finish 5; step; finish 2; \
         add 7:4 by 8; step; finish 7; step",
        &[
            "admit 1; run 1 0..4!",
            "admit 4; run 4 0..4!",
            "admit 5; run 5 0..4!",
            "admit 2; run 2 0..4!",
            "admit 7; run 7 0..4!",
            "admit 6; run 6 0..4!",
        ],
    );
}

#[test]
fn a_client_with_more_gives_a_place_to_one_that_waits() {
    check_plans(
        "blocks 99 of 16; seqs 3; add 1:4 by 7; add 2:4 by 7; add 3:4 by 7; step; add 4:9 by 8; step; \
         add 5:9 by 8; step; finish 4; finish 1; step",
        &[
            "admit 1; admit 2; admit 3; run 1 0..4!, 2 0..4!, 3 0..4!",
            "preempt 3; admit 4; run 1 4..5!, 2 4..5!, 4 0..9!",
            // Two and one: another change would only turn that round.
            "run 1 5..6!, 2 5..6!, 4 9..10!",
            "admit 3; admit 5; run 2 6..7!, 3 0..5!, 5 0..9!",
        ],
    );
    // Blocks are given like places.
    check_plans(
        "blocks 4 of 4; add 1:4 by 7; add 2:4 by 7; step; add 3:3 by 8; step; step",
        &[
            "admit 1; admit 2; run 1 0..4!, 2 0..4!",
            "preempt 2; admit 3; run 1 4..5!, 3 0..3!",
            "run 1 5..6!, 3 3..4!",
        ],
    );
}

#[test]
fn who_passes_leaves_room_for_the_next_in_line() {
    // 2 waits for its turn at the budget, and 3 is shorter: one place is left and it is for 2.
    check_plans(
        "blocks 99 of 16; seqs 2; budget 40; add 1:90; step; add 2:90; add 3:5; step; step; step",
        &[
            "admit 1; run 1 0..40",
            "run 1 40..80",
            "admit 2; run 1 80..90!, 2 0..30",
            "run 1 90..91!, 2 30..69",
        ],
    );
    // Six of the blocks are in use, five are for 2 and two spare ones for both: here 3 fits beside.
    let script = "seqs 9; budget 40; add 1:90; step; add 2:80; add 3:5; step; step";
    check_plans(
        &format!("blocks 15 of 16; {script}"),
        &[
            "admit 1; run 1 0..40",
            "admit 3; run 1 40..75, 3 0..5!",
            "admit 2; run 3 5..6!, 1 75..90!, 2 0..24",
        ],
    );
    check_plans(
        &format!("blocks 13 of 16; {script}"),
        &["admit 1; run 1 0..40", "run 1 40..80", "admit 2; run 1 80..90!, 2 0..30"],
    );
}

#[test]
fn the_budget_goes_to_decodes_first_and_a_prefill_always_gets_on() {
    check_plans(
        "blocks 9 of 16; budget 2; add 1:1; add 2:1; step; add 3:4; step; step",
        &[
            "admit 1; admit 2; run 1 0..1!, 2 0..1!",
            "admit 3; run 1 1..2!, 2 1..2!, 3 0..1",
            "run 1 2..3!, 2 2..3!, 3 1..2",
        ],
    );
}

#[test]
fn the_oldest_prefill_goes_first() {
    check_plans(
        "blocks 9 of 16; budget 20; add 1:30; add 2:30; step; step; step",
        &["admit 1; run 1 0..20", "admit 2; run 1 20..30!, 2 0..10", "run 1 30..31!, 2 10..29"],
    );
}

#[test]
fn a_newcomer_leaves_a_spare_block_for_each_that_runs() {
    // 2 needs two blocks of the three that are left, and one must stay for 1.
    check("blocks 4 of 16; add 1:10; step; add 2:32; step", "free 4, 3, 3, 1");
    // Here only two are left.
    check("blocks 3 of 16; add 1:10; step; add 2:32; step", "free 3, 2, 2, 2");
    check_plans(
        "blocks 3 of 16; add 1:10; step; add 2:32; step",
        &["admit 1; run 1 0..10!", "run 1 10..11!"],
    );
}

#[test]
fn nobody_overtakes_a_sequence_that_does_not_fit_yet() {
    check_plans(
        "blocks 4 of 16; add 1:20; step; add 2:60; add 3:1; step; finish 1; step",
        &["admit 1; run 1 0..20!", "run 1 20..21!", "admit 2; run 2 0..60!"],
    );
}

#[test]
fn at_most_max_num_seqs_run() {
    check_plans(
        "blocks 9 of 16; seqs 1; add 1:2; add 2:2; step; step; finish 1; step",
        &["admit 1; run 1 0..2!", "run 1 2..3!", "admit 2; run 2 0..2!"],
    );
}

#[test]
fn when_blocks_run_out_the_newest_computes_again_later() {
    check_plans(
        "blocks 2 of 4; add 1:2; add 2:2; step; step; step; step; step; finish 1; step; step",
        &[
            // 2 must leave a spare block for 1, so it comes when there is one... never, here.
            "admit 1; run 1 0..2!",
            "run 1 2..3!",
            "run 1 3..4!",
            "run 1 4..5!",
            "run 1 5..6!",
            "admit 2; run 2 0..2!",
            "run 2 2..3!",
        ],
    );
    check_plans(
        "blocks 3 of 4; add 1:3; add 2:3; step; step; step; step; step; finish 1; step; step",
        &[
            "admit 1; admit 2; run 1 0..3!, 2 0..3!",
            "run 1 3..4!, 2 3..4!",
            // One block is free and both want it.
            "preempt 2; run 1 4..5!",
            "run 1 5..6!",
            "run 1 6..7!",
            // Its two generated tokens are part of the new prefill.
            "admit 2; run 2 0..5!",
            "run 2 5..6!",
        ],
    );
}

#[test]
fn nobody_is_admitted_in_a_step_that_preempts() {
    check_plans(
        "blocks 3 of 4; add 1:3; add 2:3; step; step; add 3:1; step; step",
        &[
            "admit 1; admit 2; run 1 0..3!, 2 0..3!",
            "run 1 3..4!, 2 3..4!",
            "preempt 2; run 1 4..5!",
            // 2 stands before 3, and does not fit.
            "run 1 5..6!",
        ],
    );
}

#[test]
fn a_paused_sequence_keeps_its_blocks_until_another_needs_them() {
    check_plans(
        "blocks 9 of 16; add 1:4; step; pause 1; step; resume 1; step",
        &["admit 1; run 1 0..4!", "idle", "run 1 4..5!"],
    );
    // Its place is needed.
    check_plans(
        "blocks 9 of 16; seqs 1; add 1:4; add 2:4; step; pause 1; step; resume 1; finish 2; step",
        &["admit 1; run 1 0..4!", "preempt 1; admit 2; run 2 0..4!", "admit 1; run 1 0..5!"],
    );
    // Its blocks are needed, by a newcomer and by a decode.
    check_plans(
        "blocks 2 of 4; add 1:8; step; pause 1; add 2:2; step",
        &["admit 1; run 1 0..8!", "preempt 1; admit 2; run 2 0..2!"],
    );
    check_plans(
        "blocks 3 of 4; add 1:4; add 2:4; step; pause 1; step; step; step; step; step",
        &[
            "admit 1; admit 2; run 1 0..4!, 2 0..4!",
            "run 2 4..5!",
            "run 2 5..6!",
            "run 2 6..7!",
            "run 2 7..8!",
            "preempt 1; run 2 8..9!",
        ],
    );
}

#[test]
fn a_paused_sequence_does_not_hold_up_the_queue() {
    check_plans("blocks 9 of 16; add 1:4; add 2:4; pause 1; step", &["admit 2; run 2 0..4!"]);
}

#[test]
fn choices_of_one_request_share_its_full_blocks() {
    check_plans(
        "blocks 9 of 4; add 1:10; add 2:10 like 1; step; step; step",
        &[
            "admit 1; run 1 0..10!",
            "admit 2 with 2 blocks of 1; run 1 10..11!, 2 8..10!",
            "run 1 11..12!, 2 10..11!",
        ],
    );
    // 3 blocks, then one more, and the shared ones leave with the last owner.
    check(
        "blocks 9 of 4; add 1:10; add 2:10 like 1; step; step; finish 1; finish 2",
        "free 9, 9, 6, 5, 6, 9",
    );
    // A prompt of whole blocks leaves its last one to compute.
    check_plans(
        "blocks 9 of 4; add 1:8; add 2:8 like 1; step; step",
        &["admit 1; run 1 0..8!", "admit 2 with 1 blocks of 1; run 1 8..9!, 2 4..8!"],
    );
    // The sibling is gone: everything is computed.
    check_plans(
        "blocks 9 of 4; add 1:8; add 2:8 like 1; step; finish 1; step",
        &["admit 1; run 1 0..8!", "admit 2; run 2 0..8!"],
    );
}

#[test]
fn a_shared_block_is_free_when_its_last_owner_is_preempted() {
    // 2 and 3 own a block of the prompt together, long after 1 computed it. 4 needs that one too.
    check_plans(
        "blocks 9 of 4; add 0:3; add 1:8; add 2:8 like 1; add 3:8 like 1; step; step; finish 1; \
         pause 2; pause 3; add 4:24; step",
        &[
            "admit 0; admit 1; run 0 0..3!, 1 0..8!",
            "admit 2 with 1 blocks of 1; admit 3 with 1 blocks of 1; \
             run 0 3..4!, 1 8..9!, 2 4..8!, 3 4..8!",
            "preempt 3; preempt 2; admit 4; run 0 4..5!, 4 0..24!",
        ],
    );
}

/// Many clients with sequences of any length come and go. Whoever waits is admitted after no more
/// admissions of others than there are places, but for those that leave its place and its blocks free.
#[test]
fn nobody_waits_for_ever() {
    for seed in 0..100 {
        let mut chance = Chance::new(seed);
        let config = SchedulerConfig {
            max_num_seqs: 1 + chance.below(6),
            max_num_batched_tokens: 16 + chance.below(100),
            num_blocks: 20 + chance.below(30),
            block_size: 8,
        };
        let pace = Pace::of(chance.below(80) as f64, 1.0, 1.0);
        let mut scheduler = Scheduler::new(config);
        let num_clients = 1 + chance.below(4);
        // How many steps each sequence has been there, and the tokens that it will have.
        let mut live: BTreeMap<SequenceId, (u64, usize)> = BTreeMap::new();
        let mut num_added = 0;
        for step in 0..3000_u64 {
            let flood = ClientId(0);
            for client in (0..num_clients as u64).map(ClientId) {
                let num_waiting =
                    scheduler.waiting.values().filter(|it| it.client == client).count();
                if num_waiting < if client == flood { 10 } else { 1 } && chance.once_in(2) {
                    let num_tokens = if client == flood { 20 } else { 1 + chance.below(60) };
                    let id = SequenceId(num_added);
                    num_added += 1;
                    scheduler.add(id, client, num_tokens, None);
                    live.insert(id, (step, num_tokens + chance.below(40)));
                }
            }
            let plan = scheduler.plan(&pace);
            assert!(
                live.is_empty() || !plan.is_idle(),
                "seed {seed} step {step}: somebody gets on"
            );
            scheduler.apply(&plan);
            for chunk in plan.chunks.iter().filter(|it| it.is_last) {
                scheduler.append_token(chunk.id);
                let (_, total) = live[&chunk.id];
                if chunk.start + chunk.num_tokens >= total {
                    scheduler.finish(chunk.id);
                    live.remove(&chunk.id);
                }
            }
            // A sequence alone takes less than 60 steps; beside it run five others at most, and each
            // client may be before it once.
            for (id, (came, _)) in &live {
                assert!(step - came < 1500, "seed {seed} step {step}: {id:?} came at {came}");
            }
        }
    }
}
