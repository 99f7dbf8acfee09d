//! Which threads go first where there are more of them than cores: those that detection waits for.

/// How much less of a core a thread has that detection does not wait for: a third.
const NICER: i32 = 5;

/// The calling thread steps behind the others of this program, which needs no privilege. It is a wish:
/// where it is refused, nothing but time is lost.
pub fn step_behind() {
    // Of the calling thread alone, on Linux.
    let _ = rustix::process::nice(NICER);
}
