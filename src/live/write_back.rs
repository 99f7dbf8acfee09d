//! The system begins to write a part of a file to the disk, while more of it comes.
//!
//! What has gathered until a file is made durable is handed to the disk in one go: 19 MB of a snapshot are a
//! millisecond of the kernel's at a time, several times, in which nobody else gets that core where the kernel is not
//! preempted.

#![allow(unsafe_code, reason = "the call is offered by the C interface only")]

use std::fs::File;
use std::ops::Range;

/// Begins with so many bytes of a file; a wish.
pub fn begin(file: &File, bytes: Range<u64>) {
    #[cfg(target_os = "linux")]
    // SAFETY: a call about a file that is open, with nothing pointed at.
    unsafe {
        use std::os::fd::AsRawFd as _;
        let [from, len] = [bytes.start, bytes.end - bytes.start].map(|bytes| bytes as i64);
        libc::sync_file_range(file.as_raw_fd(), from, len, libc::SYNC_FILE_RANGE_WRITE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, bytes);
}
