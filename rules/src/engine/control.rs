//! Control records: what somebody changes while the engine runs.

use event::control::{Change, Control};

use super::Engine;
use super::findings::Findings;

impl Engine {
    /// Applies a control record at its place in the log: what time has passed before it is judged
    /// without it, all that is still to come with it. So it is the same in any batch size.
    pub(super) fn control(&mut self, control: &Control, out: &mut Findings) {
        self.release(out);
        match &control.change {
            // Whoever reads the record brings the rulebook: see `Engine::reload`.
            Change::Reload(_) => {}
            Change::Row(_) | Change::Incident(..) => {}
        }
    }
}
