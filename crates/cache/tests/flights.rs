//! Identical requests share one generation, and nobody is lost when somebody leaves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{
    pin::pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
};

use brisk_cache::{Flights, Joined, Leader, Reader};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Plays steps on flights that take two followers each, and compares what they show.
///
/// `join K` shows `lead`, `follow` or `full`; readers are numbered as they join, leaders act in
/// their order. `pub TEXT`, `finish`, `quit`, `fail TEXT`, `gone` (is it abandoned?), `count` are of
/// the newest leader. `read N` shows an event, `wait` or `end`; `cut N` whether it was interrupted;
/// `leave N`; `woken N` how often it was woken.
fn check(steps: &str, expected: &str) {
    let flights = Flights::<String>::new(2);
    let mut leaders: Vec<Leader<String>> = Vec::new();
    let mut readers: Vec<(Option<Reader<String>>, Arc<Wakes>)> = Vec::new();
    let mut shown = Vec::new();
    for step in steps.split(';').map(str::trim) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let reader = rest.parse::<usize>().ok().filter(|n| *n < readers.len());
        match verb {
            "join" => {
                let (what, reader) = match flights.join(support::key(rest)) {
                    Joined::Lead(leader, reader) => {
                        assert!(reader.is_leader());
                        leaders.push(leader);
                        ("lead", Some(reader))
                    }
                    Joined::Follow(reader) => {
                        assert!(!reader.is_leader());
                        ("follow", Some(reader))
                    }
                    Joined::Full => ("full", None),
                };
                readers.push((reader, Arc::default()));
                shown.push(what.to_owned());
            }
            "pub" => leaders.last().unwrap().publish(rest.to_owned()),
            "finish" => leaders.pop().unwrap().finish(),
            "quit" => drop(leaders.pop().unwrap()),
            "fail" => {
                let is_told = leaders.last().unwrap().fail_first_reader(rest.to_owned());
                shown.push(if is_told { "told" } else { "nobody" }.to_owned());
            }
            "gone" => {
                let mut gone = pin!(leaders.last().unwrap().abandoned());
                let poll = gone.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                shown.push(if poll.is_ready() { "yes" } else { "no" }.to_owned());
            }
            "count" => {
                let leader = leaders.last().unwrap();
                shown.push(format!("{}/{}", leader.num_readers(), leader.len()));
            }
            "flights" => shown.push(flights.len().to_string()),
            "read" => {
                let (reader, wakes) = &mut readers[reader.unwrap()];
                let waker = Waker::from(Arc::clone(wakes));
                let poll = reader.as_mut().unwrap().poll_next(&mut Context::from_waker(&waker));
                shown.push(match poll {
                    Poll::Ready(Some(event)) => event,
                    Poll::Ready(None) => "end".to_owned(),
                    Poll::Pending => "wait".to_owned(),
                });
            }
            "cut" => {
                let is_cut = readers[reader.unwrap()].0.as_ref().unwrap().interrupted();
                shown.push(if is_cut { "yes" } else { "no" }.to_owned());
            }
            "leave" => readers[reader.unwrap()].0 = None,
            "woken" => {
                shown.push(readers[reader.unwrap()].1.0.swap(0, Ordering::SeqCst).to_string());
            }
            other => panic!("no step {other:?}"),
        }
    }
    assert_eq!(shown.join(" "), expected, "{steps}");
}

#[test]
fn the_first_leads_and_the_others_follow_from_the_first_event_on() {
    check("join a; join a; join b", "lead follow lead");
    check(
        "join a; pub x; pub y; join a; read 1; read 1; read 1; pub z; read 1; finish; read 1; read 0",
        "lead follow x y wait z end x",
    );
    check("join a; join a; join a; join a; count", "lead follow follow full 3/0");
    check("join a; join a; join a; leave 1; join a", "lead follow follow follow");
    check("join a; leave 0; join a; join a; join a", "lead follow follow full");
}

#[test]
fn after_the_end_readers_finish_and_the_next_one_leads() {
    check("join a; pub x; finish; read 0; read 0; cut 0; flights", "lead x end no 0");
    check("join a; pub x; quit; read 0; read 0; cut 0; join a", "lead x end yes lead");
    check("join a; finish; join a; flights", "lead lead 1");
}

#[test]
fn a_flight_goes_on_until_its_last_reader_leaves() {
    check("join a; join a; leave 0; gone; pub x; read 1; count", "lead follow no x 1/1");
    check("join a; join a; leave 1; gone; leave 0; gone", "lead follow no yes");
    // Found abandoned, it cannot be joined: the next one leads a flight of its own, and the old
    // leader's end does not touch it.
    check("join a; leave 0; gone; join a; gone", "lead yes lead no");
    // Not yet found abandoned, it can be joined, and is not abandoned then.
    check("join a; leave 0; join a; gone; pub x; read 1", "lead follow no x");
}

#[test]
fn a_first_reader_can_fail_while_the_others_go_on() {
    check(
        "join a; join a; pub x; fail no; read 0; read 0; read 1; finish; read 1; cut 0",
        "lead follow told x no x end no",
    );
    check(
        "join a; join a; read 0; fail no; woken 0; woken 1; count",
        "lead follow wait told 1 0 1/0",
    );
    check("join a; fail no; gone; read 0; read 0; leave 0", "lead told yes no end");
    check("join a; join a; leave 0; fail no; count", "lead follow nobody 1/0");
    check(
        "join a; join a; fail no; fail no; leave 0; count; join a; join a",
        "lead follow told nobody 1/0 follow full",
    );
}

#[test]
fn only_readers_that_wait_are_woken() {
    check(
        "join a; join a; read 0; pub x; woken 0; woken 1; pub y; woken 0; read 0; read 0; read 0; finish; woken 0; woken 1",
        "lead follow wait 1 0 0 x y wait 1 0",
    );
    check("join a; read 0; leave 0; pub x; woken 0", "lead wait 0");
}

#[test]
fn a_hundred_identical_requests_at_once_have_one_leader_and_all_read_everything() {
    const NUM_REQUESTS: usize = 100;
    const NUM_EVENTS: usize = 50;
    let flights = Flights::<usize>::new(NUM_REQUESTS);
    let start = Barrier::new(NUM_REQUESTS);
    let num_leaders = AtomicUsize::new(0);
    let all_joined = Barrier::new(NUM_REQUESTS);
    thread::scope(|scope| {
        for _ in 0..NUM_REQUESTS {
            scope.spawn(|| {
                start.wait();
                let joined = flights.join(support::key("a"));
                all_joined.wait();
                let mut reader = match joined {
                    Joined::Lead(leader, reader) => {
                        num_leaders.fetch_add(1, Ordering::SeqCst);
                        (0..NUM_EVENTS).for_each(|event| leader.publish(event));
                        leader.finish();
                        reader
                    }
                    Joined::Follow(reader) => reader,
                    Joined::Full => panic!("full"),
                };
                let events = async {
                    let mut events = Vec::new();
                    while let Some(event) = reader.next().await {
                        events.push(event);
                    }
                    events
                };
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                assert!(runtime.block_on(events).into_iter().eq(0..NUM_EVENTS));
            });
        }
    });
    assert_eq!(num_leaders.into_inner(), 1);
    assert!(flights.is_empty());
}

/// Leaders that stop as soon as nobody reads, against requests that come and go: whoever follows
/// gets the whole reply, never half of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_joins_a_flight_that_its_leader_leaves() {
    let flights = Flights::<u32>::new(1000);
    let mut requests = Vec::new();
    for request in 0..4_000_u32 {
        let flights = flights.clone();
        requests.push(tokio::spawn(async move {
            let mut reader = match flights.join(support::key("a")) {
                Joined::Lead(leader, reader) => {
                    tokio::spawn(async move {
                        for event in 0..3 {
                            tokio::select! {
                                biased;
                                () = leader.abandoned() => return,
                                () = tokio::task::yield_now() => leader.publish(event),
                            }
                        }
                        leader.finish();
                    });
                    reader
                }
                Joined::Follow(reader) => reader,
                Joined::Full => return,
            };
            if request % 3 > 0 {
                return; // leaves at once
            }
            let mut events = Vec::new();
            while let Some(event) = reader.next().await {
                events.push(event);
            }
            assert_eq!((events, reader.interrupted()), (vec![0, 1, 2], false));
        }));
    }
    for request in requests {
        request.await.unwrap();
    }
}
