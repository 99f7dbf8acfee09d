//! A bounded way between two threads where one waits for the other seldom, and then for long: who finds no room
//! goes on when half of it is free. With one place at a time each would wake the other for each place.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A way that takes so many places.
pub fn queue<T>(places_max: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { items: VecDeque::new(), places: 0, waiting: [false; 2], ended: false };
    let bells = [Condvar::new(), Condvar::new()];
    let shared = Arc::new(Shared { places_max, state: Mutex::new(state), bells });
    (Sender(shared.clone()), Receiver(shared))
}

/// Who waits, and is told.
#[derive(Clone, Copy)]
enum Side {
    Sender,
    Receiver,
}

struct Shared<T> {
    places_max: usize,
    state: Mutex<State<T>>,
    bells: [Condvar; 2],
}

struct State<T> {
    /// With the places that each takes.
    items: VecDeque<(usize, T)>,
    places: usize,
    waiting: [bool; 2],
    /// The other side is gone.
    ended: bool,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        side: Side,
        mut state: MutexGuard<'a, State<T>>,
    ) -> MutexGuard<'a, State<T>> {
        state.waiting[side as usize] = true;
        self.bells[side as usize].wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who waits; nobody is a system call saved.
    fn tell(&self, side: Side, mut state: MutexGuard<'_, State<T>>) {
        if std::mem::take(&mut state.waiting[side as usize]) {
            drop(state);
            self.bells[side as usize].notify_one();
        }
    }

    /// One side is gone.
    fn end(&self, other: Side) {
        let mut state = self.state();
        state.ended = true;
        self.tell(other, state);
    }
}

/// The sending side.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving side.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Hands on what takes so many places, and may take more than there are. Where there is no room it waits until half of
    /// it is free; an error where nobody receives any more.
    pub fn send(&self, item: T, places: usize) -> Result<(), T> {
        let mut state = self.0.state();
        if state.places >= self.0.places_max {
            while state.places > self.0.places_max / 2 && !state.ended {
                state = self.0.wait(Side::Sender, state);
            }
        }
        if state.ended {
            return Err(item);
        }
        state.places += places;
        state.items.push_back((places, item));
        self.0.tell(Side::Receiver, state);
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// What is next, where there is anything.
    pub fn try_recv(&self) -> Option<T> {
        self.take(self.0.state())
    }

    /// What is next; `None` where nothing will come any more.
    pub fn recv(&self) -> Option<T> {
        let mut state = self.0.state();
        while state.items.is_empty() && !state.ended {
            state = self.0.wait(Side::Receiver, state);
        }
        self.take(state)
    }

    fn take(&self, mut state: MutexGuard<'_, State<T>>) -> Option<T> {
        let (places, item) = state.items.pop_front()?;
        state.places -= places;
        if state.places <= self.0.places_max / 2 {
            self.0.tell(Side::Sender, state);
        }
        Some(item)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.end(Side::Receiver);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.end(Side::Sender);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::{Side, queue};

    #[test]
    fn all_comes_in_its_order_and_no_more_waits_than_there_is_room() {
        let (sender, receiver) = queue(10);
        let sent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let sender = sender;
                for number in 0..20_000 {
                    assert_eq!(sender.send(number, number % 4), Ok(()));
                    sent.fetch_add(number % 4, Ordering::SeqCst);
                }
            });
            let mut received = 0;
            for number in 0..20_000 {
                assert_eq!(receiver.recv(), Some(number));
                received += number % 4;
                // The last one may go beyond.
                assert!(sent.load(Ordering::SeqCst) <= received + 10 + 3);
            }
            assert_eq!(receiver.recv(), None, "the sender is gone");
        });
    }

    #[test]
    fn who_finds_no_room_goes_on_when_half_of_it_is_free() {
        let (sender, receiver) = queue(4);
        let waits = || receiver.0.state().waiting[Side::Sender as usize];
        let until_it_waits = || {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !waits() {
                assert!(Instant::now() < deadline, "the sender does not wait");
                std::thread::yield_now();
            }
            receiver.0.state().items.len()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let sender = sender;
                while sender.send((), 1).is_ok() {}
            });
            assert_eq!(until_it_waits(), 4);
            assert!(receiver.try_recv().is_some() && waits(), "one place is not enough");
            assert!(receiver.try_recv().is_some());
            assert_eq!(until_it_waits(), 4);
            // The sender does not wait for one who is gone.
            receiver.0.end(Side::Sender);
        });
    }
}
