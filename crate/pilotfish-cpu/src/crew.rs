//! Threads that the host starts, for places where a program can start none itself: a page's workers over shared memory.
//!
//! A step of a model is some hundred short pieces of work one after the other, so nothing may wait long for anybody: the caller
//! works too, and what is done is done by whoever is awake. A job is *open* while there are parts of it left to take; a thread
//! enters it by counting itself in, and the caller closes it and waits only for those who are still inside. So a thread that
//! wakes up late, or never, or was not started, costs its help and nothing else.
//!
//! `rayon` does this natively. In a page, `wasm-bindgen-rayon` starts the same pool, but waits for ever for a worker that does
//! not come, and keeps the caller out of the work.

#![allow(unsafe_code, reason = "work that is borrowed from the caller is done on other threads")]

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// Threads that may join.
const PLACES: usize = 63;
/// How often a thread looks for the next job before it sleeps: some tens of microseconds, longer than what lies between two jobs
/// of a step.
const LOOKS: u32 = 20_000;
/// The caller looks so often for the last ones before it sleeps, too.
const CALLER_LOOKS: u32 = 20_000;
/// A sleep of the caller, and how many of them it takes to believe that a thread is dead: no part of a job takes a second. Sleeps are
/// counted and not the clock, which goes on while a machine is suspended.
const NAP: Duration = Duration::from_millis(100);
const NAPS: u32 = 200;

/// In [`Crew::state`], below the job's number: whether there may be parts left, and how many threads are inside.
const OPEN: u32 = 1 << 8;
const INSIDE: u32 = OPEN - 1;
const NUMBER: u32 = !(OPEN | INSIDE);
const NEXT: u32 = OPEN << 1;

/// A caller and its helpers.
#[derive(Debug)]
pub struct Crew {
    state: AtomicU32,
    /// The next part to be taken.
    next: AtomicUsize,
    job: UnsafeCell<Job>,
    /// Whether a job is going on; another one is then done by its caller alone.
    taken: AtomicBool,
    /// Whether a thread panicked inside of a job.
    broken: AtomicBool,
    /// Who waits for the last ones.
    caller: Mutex<Option<Thread>>,
    joined: AtomicUsize,
    places: [Place; PLACES],
}

/// A helper.
#[derive(Debug)]
struct Place {
    thread: OnceLock<Thread>,
    asleep: AtomicBool,
}

/// What is to be done: `work(part)` for each part below `parts`.
#[derive(Clone, Copy)]
struct Job {
    work: &'static (dyn Fn(usize) + Sync),
    parts: usize,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Job({} parts)", self.parts)
    }
}

// SAFETY: `job` is written only while no thread is inside and none can enter (`taken`, not open), and read only inside.
unsafe impl Sync for Crew {}

impl Default for Crew {
    fn default() -> Self {
        Self::new()
    }
}

impl Crew {
    /// A caller without helpers.
    pub const fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(Job { work: &|_| {}, parts: 0 }),
            taken: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            caller: Mutex::new(None),
            joined: AtomicUsize::new(0),
            places: [const { Place { thread: OnceLock::new(), asleep: AtomicBool::new(false) } }; PLACES],
        }
    }

    /// The crew of this program, for hosts that start threads inside of it: they need no address.
    pub fn of_program() -> &'static Self {
        static CREW: Crew = Crew::new();
        &CREW
    }

    /// Threads: the caller, and those who have joined.
    pub fn threads(&self) -> usize {
        1 + self.joined.load(Acquire).min(PLACES)
    }

    /// Makes the calling thread a helper; it must [serve](Self::serve) next. `None` when all places are taken.
    pub fn join(&self) -> Option<usize> {
        let place = self.joined.fetch_update(AcqRel, Acquire, |joined| (joined < PLACES).then_some(joined + 1)).ok()?;
        self.places[place].thread.set(thread::current()).ok()?;
        Some(place)
    }

    /// Helps until `ended` says so, which is asked before each sleep and after it; the thread must have joined at `place`.
    pub fn serve(&self, place: usize, ended: impl Fn() -> bool) {
        // A job that is open already is not done: its caller may count on this thread.
        let state = self.state.load(SeqCst);
        let mut done = if state & OPEN == 0 { state } else { state.wrapping_sub(NEXT) } & NUMBER;
        while !ended() {
            let mut looks = 0;
            while looks < LOOKS {
                let state = self.state.load(SeqCst);
                if state & OPEN == 0 || state & NUMBER == done {
                    looks += 1;
                    spin_loop();
                } else if self.state.compare_exchange(state, state + 1, SeqCst, Relaxed).is_ok() {
                    self.help();
                    done = state & NUMBER;
                    looks = 0;
                }
            }
            self.sleep(&self.places[place], done, &ended);
        }
    }

    /// Wakes everybody, so that they ask whether they have ended.
    pub fn rouse(&self) {
        for place in &self.places[..self.threads() - 1] {
            if place.asleep.swap(false, SeqCst)
                && let Some(thread) = place.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// Calls `work` with each number below `parts`, on all threads, and returns when all calls have.
    ///
    /// # Panics
    ///
    /// If a thread panicked or died inside `work`.
    pub fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.threads() == 1 || self.taken.swap(true, SeqCst) {
            (0..parts).for_each(work);
            return;
        }
        // SAFETY: what `work` borrows is used only by threads inside, and this returns when none is and none can enter.
        let work = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work) };
        // SAFETY: `taken` keeps other callers out, and no thread is inside of a job that is not open.
        unsafe { *self.job.get() = Job { work, parts } };
        self.next.store(0, SeqCst);
        let number = self.state.load(SeqCst) & NUMBER;
        self.state.store(number.wrapping_add(NEXT) | OPEN, SeqCst);
        self.rouse();
        let all_out = AllOut(self);
        self.take_parts(work, parts);
        drop(all_out);
    }

    /// Calls `work` with pieces of `items`, `size` items each but the last, and where each begins.
    pub(crate) fn pieces<T: Send>(&self, items: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        let n = items.len();
        let first = Shared(items.as_mut_ptr());
        self.run(n.div_ceil(size), &|part| {
            let at = part * size;
            // SAFETY: each part is given once, so no two of these slices overlap; all lie in `items`, which outlives the call.
            let piece = unsafe { std::slice::from_raw_parts_mut(first.get().add(at), size.min(n - at)) };
            work(at, piece);
        });
    }

    /// Takes parts of the open job, inside of which this thread is.
    fn help(&self) {
        let left = Left(self);
        // SAFETY: nobody writes while a thread is inside.
        let Job { work, parts } = unsafe { *self.job.get() };
        self.take_parts(work, parts);
        drop(left);
    }

    fn take_parts(&self, work: &(dyn Fn(usize) + Sync), parts: usize) {
        loop {
            let part = self.next.fetch_add(1, AcqRel);
            if part >= parts {
                return;
            }
            work(part);
        }
    }

    fn sleep(&self, place: &Place, done: u32, ended: &impl Fn() -> bool) {
        place.asleep.store(true, SeqCst);
        // Who opens a job, or ends this, looks for sleepers after that; this looks for both after it has lain down.
        let state = self.state.load(SeqCst);
        if ended() || state & OPEN != 0 && state & NUMBER != done {
            place.asleep.store(false, SeqCst);
            return;
        }
        while place.asleep.load(SeqCst) {
            thread::park();
        }
    }

    /// Closes the job and waits for those inside.
    fn close(&self) {
        let mut state = self.state.fetch_and(!OPEN, SeqCst);
        let mut looks = 0;
        let mut naps = 0;
        while state & INSIDE != 0 {
            if looks < CALLER_LOOKS {
                looks += 1;
                spin_loop();
            } else {
                *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
                if self.state.load(SeqCst) & INSIDE != 0 {
                    thread::park_timeout(NAP);
                    naps += 1;
                }
                // What the thread borrowed can be given back no more, so nothing can go on.
                assert!(naps < NAPS, "a thread of the engine died in the middle of its work");
            }
            state = self.state.load(SeqCst);
        }
        self.taken.store(false, SeqCst);
        let broken = self.broken.swap(false, SeqCst);
        assert!(!broken || thread::panicking(), "a thread of the engine panicked in the middle of its work");
    }
}

/// Where the items are that threads share out among them.
struct Shared<T>(*mut T);

// SAFETY: threads use different items, and these may be sent.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Leaves a job, also when its work panics.
struct Left<'a>(&'a Crew);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.broken.store(true, SeqCst);
        }
        let before = self.0.state.fetch_sub(1, SeqCst);
        if before & (OPEN | INSIDE) == 1
            && let Some(caller) = self.0.caller.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            caller.unpark();
        }
    }
}

/// Ends a job, also when the caller's own part of it panics.
struct AllOut<'a>(&'a Crew);

impl Drop for AllOut<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `work` with a crew of `helpers` and the caller.
    fn with_crew(helpers: usize, work: impl FnOnce(&Crew)) {
        let crew = Crew::new();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|| {
                    let place = crew.join().expect("there are places");
                    crew.serve(place, || over.load(SeqCst));
                });
            }
            while crew.threads() <= helpers {
                thread::yield_now();
            }
            work(&crew);
            over.store(true, SeqCst);
            crew.rouse();
        });
    }

    #[test]
    fn every_part_of_every_job_is_done_once() {
        with_crew(3, |crew| {
            for round in 0..5_000 {
                let parts = round % 9;
                let done: Vec<AtomicU32> = (0..parts).map(|_| AtomicU32::new(0)).collect();
                crew.run(parts, &|part| {
                    done[part].fetch_add(1, Relaxed);
                });
                assert!(done.iter().all(|times| times.load(Relaxed) == 1), "round {round}");
                if round % 500 == 0 {
                    // Long enough for all to fall asleep.
                    thread::sleep(Duration::from_millis(3));
                }
            }
        });
    }

    #[test]
    fn a_job_within_a_job_and_one_of_another_caller_are_done_alone() {
        with_crew(1, |crew| {
            let sum = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            crew.run(3, &|_| {
                                crew.run(2, &|part| {
                                    sum.fetch_add(part + 1, Relaxed);
                                });
                            });
                        }
                    });
                }
            });
            assert_eq!(sum.load(Relaxed), 2 * 200 * 3 * 3);
        });
    }

    #[test]
    fn helpers_that_never_serve_are_not_waited_for() {
        let crew = Crew::new();
        assert_eq!((crew.join(), crew.join()), (Some(0), Some(1)));
        assert_eq!(crew.threads(), 3);
        let sum = AtomicUsize::new(0);
        crew.run(10, &|part| {
            sum.fetch_add(part, Relaxed);
        });
        assert_eq!(sum.load(Relaxed), 45);
    }

    #[test]
    #[should_panic(expected = "panicked in the middle of its work")]
    fn a_panic_of_a_helper_is_the_callers_too() {
        let crew = Crew::new();
        thread::scope(|scope| {
            let helper = scope.spawn(|| {
                let place = crew.join().expect("there are places");
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| crew.serve(place, || false)));
            });
            while crew.threads() == 1 {
                thread::yield_now();
            }
            let me = thread::current().id();
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                crew.run(2, &|_| {
                    // The caller waits for the helper to come, and the helper fails.
                    while thread::current().id() == me && !helper.is_finished() {
                        thread::yield_now();
                    }
                    assert_eq!(thread::current().id(), me, "not here");
                });
            }));
            std::panic::resume_unwind(ran.expect_err("it panics"));
        });
    }

    #[test]
    fn the_places_are_limited() {
        let crew = Crew::new();
        assert_eq!((0..PLACES + 5).filter_map(|_| crew.join()).count(), PLACES);
        assert_eq!(crew.threads(), PLACES + 1);
    }
}
