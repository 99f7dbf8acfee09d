//! What will be looked at soon, in an order: found under one lock, and its memory asked for, before the first is read.

use std::sync::Arc;

use event::Position;

/// Places in blocks, which are its own, too, as long as they are expected.
#[derive(Debug)]
pub struct Expected<B> {
    blocks: Vec<Arc<B>>,
    /// Positions, each with the number of its block and where in it.
    places: Vec<(Position, usize, usize)>,
    /// So many of them have been looked at.
    seen: usize,
}

impl<B> Default for Expected<B> {
    fn default() -> Self {
        Self { blocks: Vec::new(), places: Vec::new(), seen: 0 }
    }
}

// A block itself need not be copied.
impl<B> Clone for Expected<B> {
    fn clone(&self) -> Self {
        let Self { blocks, places, seen } = self;
        Self { blocks: blocks.clone(), places: places.clone(), seen: *seen }
    }
}

impl<B> Expected<B> {
    /// Nothing any more.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.places.clear();
        self.seen = 0;
    }

    /// Behind the others.
    pub fn add(&mut self, position: Position, block: &Arc<B>, place: usize) {
        if self.blocks.last().is_none_or(|last| !Arc::ptr_eq(last, block)) {
            self.blocks.push(block.clone());
        }
        self.places.push((position, self.blocks.len() - 1, place));
    }

    /// Puts each where it is found to stand; what is not found is not expected.
    pub fn go_over(&mut self, mut find: impl FnMut(&B, Position, usize) -> Option<usize>) {
        let Self { blocks, places, .. } = self;
        places.retain_mut(|(position, block, place)| {
            let found = find(&blocks[*block], *position, *place);
            *place = found.unwrap_or_default();
            found.is_some()
        });
    }

    /// Where a position stands; `None` where another is expected next.
    pub fn next(&mut self, position: Position) -> Option<(&B, usize)> {
        let (_, block, place) = *self.places.get(self.seen).filter(|next| next.0 == position)?;
        self.seen += 1;
        Some((&self.blocks[block], place))
    }
}
