//! Progress of long work, at a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::maintenance::Progress;

const REDRAW: Duration = Duration::from_millis(100);

/// A bar on standard error. Draws nothing where that is no terminal.
pub(super) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for `work`, over `total` files if that is known.
    pub(super) fn new(work: &'static str, total: Option<u64>) -> Self {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match total {
            Some(_) => "{msg} [{bar:40}] {pos}/{len} files, {per_sec}, {eta} left",
            None => "{spinner} {msg} {pos} files, {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(work);
        bar.enable_steady_tick(REDRAW);
        Self { bar }
    }

    /// Whether anybody sees it.
    pub(super) fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows how far the work is.
    pub(super) fn show(&self, progress: &Progress) {
        self.bar.set_position(progress.files);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
