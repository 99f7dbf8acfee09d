//! Every limit of the way in, with its arithmetic.

/// Paths one mapping may read: an index into the decoder's registers.
pub const PATHS_MAX: usize = 256;

/// Rows of one table of the site model: 1 M doors, persons or seals, about 200 B each.
pub const TABLE_ROWS_MAX: usize = 1_000_000;

/// Keys of one object that are compared pairwise for doubles; a larger object is sorted.
pub const KEYS_PAIRWISE_MAX: usize = 24;

/// Values of one payload that the fast road keeps: a bit each of a word, whose last one is for what
/// nobody wants.
pub const REGISTERS_MAX: usize = 63;

/// Levels of nesting that the fast road follows: device payloads have three or four.
pub const SCAN_DEPTH_MAX: usize = 8;

/// Keys in the learned shapes of one mapping: some tens of shapes of some tens of keys, 96 B each.
pub const SHAPE_KEYS_MAX: usize = 2_048;

/// Keys that are compared one after another in one place of a shape.
pub const SHAPE_KEYS_BESIDE_MAX: usize = 16;

/// Bytes of the longest payload that has a layout.
pub const LAYOUT_BYTES_MAX: usize = 384;

/// Values of one sort in a layout, a power of two: with this many it takes 2 KiB.
pub const LAYOUT_VALUES_MAX: usize = 16;

/// Layouts of one mapping are so many sets, by the payload's length, of so many each: 640 KiB for
/// each decoder, once the first is made.
pub const LAYOUT_SETS: usize = 32;

/// See [`LAYOUT_SETS`].
pub const LAYOUTS_ALIKE_MAX: usize = 8;

/// Payloads of a layout of which those names are looked at that may be the same in all of them.
pub const LAYOUT_TRIAL: u32 = 64;

/// How often names of such payloads may be believed to be the same, each time after four times as many.
pub const LAYOUT_TRIALS_MAX: u32 = 6;

/// Forms of payloads of one mapping that have a program of their own: those that one site sends
/// are tens, and a program is 300 bytes.
pub const PROGRAMS_MAX: usize = 256;

/// Texts that a mapping may ask for to have programs: what its conditions and kinds are read from.
pub const PROGRAM_ASKED_MAX: usize = 4;

/// Bytes that a reader of files hands over at once: some hundreds of deliveries.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// Bytes one HTTP request may carry: a batch of events, not a picture.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
