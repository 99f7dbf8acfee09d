//! What is run for each event, compiled twice: for a processor that has AVX2 and the instructions for bits that
//! came with it, and for any other. Which one it is, is found out when the program runs: it is built for every
//! x86-64. Both do the same.

#![allow(
    unsafe_code,
    reason = "functions of AVX2, where the processor was asked whether it has it"
)]

/// What is compiled twice.
pub trait Task {
    type Done;

    /// To be inlined always, as all that it calls and that is to be compiled so.
    fn run(self) -> Self::Done;
}

/// Does a task with the widest instructions that there are.
#[inline(always)]
pub fn perform<T: Task>(task: T) -> T::Done {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
    {
        // SAFETY: the processor has what is asked for.
        return unsafe { perform_wide(task) };
    }
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
#[inline(never)]
fn perform_wide<T: Task>(task: T) -> T::Done {
    task.run()
}
