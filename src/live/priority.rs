//! Which threads go first where there are more of them than cores: those that detection waits for.

#![allow(unsafe_code, reason = "a real-time priority is offered by the C interface only")]

/// How much less of a core a thread has that detection does not wait for: a third.
const NICER: i32 = 5;

/// The calling thread steps behind the others of this program, which needs no privilege. It is a wish:
/// where it is refused, nothing but time is lost.
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
        // Of the calling thread alone, on Linux.
        let _ = rustix::process::nice(NICER);
    }
}
