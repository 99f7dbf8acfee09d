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

/// Bytes that a reader of files hands over at once: some hundreds of deliveries.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// Bytes one HTTP request may carry: a batch of events, not a picture.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
