//! Rows of scripts: what is done to a scheduler, and the plans or free blocks that follow.
//!
//! `blocks 4 of 16` there are; `seqs`, `budget`, `beside` set the caps; `add 1:32` puts a sequence
//! of 32 tokens among the waiting, `add 2:32 like 1` one with the prompt of 1; `step` plans, applies
//! and appends a token where one is sampled; `pause`, `resume`, `finish` do as they say.

use super::*;

/// Runs a script; gives what each `step` planned and the free blocks after every command.
fn run(script: &str) -> (Vec<String>, Vec<String>) {
    let mut config = SchedulerConfig {
        max_num_seqs: 8,
        max_num_batched_tokens: 512,
        max_prefill_tokens_beside_decodes: 512,
        num_blocks: 0,
        block_size: 0,
    };
    let mut scheduler: Option<Scheduler> = None;
    let (mut plans, mut free) = (vec![], vec![]);
    for command in script.split("; ") {
        let words: Vec<&str> = command.split([' ', ':']).collect();
        let number = |index: usize| words[index].parse::<usize>().expect(command);
        let id = |index: usize| SequenceId(number(index) as u64);
        match words[0] {
            "blocks" => (config.num_blocks, config.block_size) = (number(1), number(3)),
            "seqs" => config.max_num_seqs = number(1),
            "budget" => config.max_num_batched_tokens = number(1),
            "beside" => config.max_prefill_tokens_beside_decodes = number(1),
            _ => {}
        }
        if ["blocks", "seqs", "budget", "beside"].contains(&words[0]) {
            continue;
        }
        let scheduler = scheduler.get_or_insert_with(|| Scheduler::new(config));
        match words[0] {
            "add" => {
                let sibling =
                    (words.len() > 3).then(|| Sibling { id: id(4), num_prompt_tokens: number(2) });
                scheduler.add(id(1), number(2), sibling);
            }
            "step" => {
                let plan = scheduler.plan();
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
fn a_prefill_beside_decodes_takes_smaller_chunks() {
    check_plans(
        "blocks 9 of 16; beside 8; add 1:3; step; add 2:20; step; step; step; step",
        &[
            "admit 1; run 1 0..3!",
            "admit 2; run 1 3..4!, 2 0..8",
            "run 1 4..5!, 2 8..16",
            "run 1 5..6!, 2 16..20!",
            "run 1 6..7!, 2 20..21!",
        ],
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
