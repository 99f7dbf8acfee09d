//! Which threads go first where there are more of them than cores: those that detection waits for.

#![allow(unsafe_code, reason = "scheduling is offered by the C interface only")]

use std::num::NonZeroU64;

/// How much less of a core a thread has that detection does not wait for: a third.
const NICER: i32 = 5;
/// The turn that a thread asks for which detection waits for. It has no more of a core by that, but who asks
/// for less at once goes first when it wakes. The least that Linux gives.
const TURN_NS: u64 = 100_000;
/// How late such a thread may wake by the system's convenience, and any other.
const SLACK_NS: [Option<NonZeroU64>; 2] = [NonZeroU64::new(1_000), NonZeroU64::new(50_000)];

/// The calling thread, and those that it makes from now on, go before others of their kind when they wake. It needs no
/// privilege and is a wish: where it is refused, nothing but time is lost.
pub fn step_ahead() {
    ask_for_turns(TURN_NS);
    let _ = rustix::thread::set_current_timer_slack(SLACK_NS[0]);
}

/// The calling thread steps behind the others of this program, as it may without privilege; a wish, too.
pub fn step_behind() {
    let mut own = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and what is pointed at is ours and is there until the calls
    // return.
    let real_time = unsafe {
        let real_time = libc::sched_getparam(0, &raw mut own) == 0 && own.sched_priority > 0;
        // Threads of a real-time class take turns of a tenth of a second with their equals.
        if real_time {
            own.sched_priority = (own.sched_priority - 1).max(1);
            libc::sched_setparam(0, &raw const own);
        }
        real_time
    };
    if !real_time {
        ask_for_turns(0);
        // Of the calling thread alone, on Linux.
        let _ = rustix::process::nice(NICER);
    }
    let _ = rustix::thread::set_current_timer_slack(SLACK_NS[1]);
}

/// Asks for turns of so many nanoseconds, 0 for what is usual, where the calling thread is one of the ordinary kind.
fn ask_for_turns(nanoseconds: u64) {
    #[cfg(target_os = "linux")]
    // SAFETY: 0 is the calling thread; what is pointed at is ours, as long as it says, and all zeros are a value of it.
    unsafe {
        let mut own: libc::sched_attr = std::mem::zeroed();
        let len = size_of_val(&own) as u32;
        let read = libc::syscall(libc::SYS_sched_getattr, 0, &raw mut own, len, 0);
        if read == 0 && own.sched_policy == libc::SCHED_OTHER as u32 {
            own.sched_runtime = nanoseconds;
            libc::syscall(libc::SYS_sched_setattr, 0, &raw mut own, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SLACK_NS, step_ahead, step_behind};

    #[test]
    fn threads_wake_as_those_that_made_them_until_they_step_behind() {
        let slack = || rustix::thread::current_timer_slack().expect("a slack");
        let wanted = SLACK_NS.map(|slack| slack.map_or(0, std::num::NonZeroU64::get));
        let tell = move || {
            let inherited = slack();
            step_behind();
            [inherited, slack()]
        };
        let made = std::thread::spawn(move || {
            step_ahead();
            std::thread::spawn(tell).join()
        });
        assert_eq!(made.join().expect("a thread").expect("a thread"), wanted);
    }
}
