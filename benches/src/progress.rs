//! One line on the terminal that says how far a run is; nothing at all where nobody watches.

use std::io::{self, IsTerminal as _, Write};

/// Writes the line over itself. The line goes to standard error, so that results on standard output stay clean.
pub struct Progress {
    /// `None` when standard error is no terminal.
    terminal: Option<Box<dyn Write + Send>>,
    shown: bool,
}

/// Back to the first column, clear the line, and cut at the right edge instead of wrapping: a wrapped line cannot be erased.
const BEGIN: &str = "\r\x1b[2K\x1b[?7l";
const END: &str = "\x1b[?7h";
const ERASE: &str = "\r\x1b[2K";

impl Progress {
    /// A line on standard error, if that is a terminal.
    pub fn new() -> Self {
        let stderr = io::stderr();
        if stderr.is_terminal() {
            Self::on(Box::new(stderr))
        } else {
            Self::silent()
        }
    }

    /// A line on `terminal`.
    pub fn on(terminal: Box<dyn Write + Send>) -> Self {
        Self {
            terminal: Some(terminal),
            shown: false,
        }
    }

    /// No line.
    pub fn silent() -> Self {
        Self {
            terminal: None,
            shown: false,
        }
    }

    /// True if somebody can see it.
    pub fn is_visible(&self) -> bool {
        self.terminal.is_some()
    }

    /// Shows `line` instead of what was shown.
    pub fn show(&mut self, line: &str) {
        if let Some(terminal) = &mut self.terminal {
            // A terminal that went away is no reason to end a run.
            write!(terminal, "{BEGIN}{line}{END}").and_then(|()| terminal.flush()).ok();
            self.shown = true;
        }
    }

    /// Erases the line, for results or messages to follow.
    pub fn erase(&mut self) {
        if let Some(terminal) = self.terminal.as_mut().filter(|_| self.shown) {
            write!(terminal, "{ERASE}").and_then(|()| terminal.flush()).ok();
            self.shown = false;
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.erase();
    }
}

/// A number with separators between thousands.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < -0.5 { format!("-{text}") } else { text }
}

/// Microseconds in the unit that reads best.
pub fn duration(us: f64) -> String {
    match us {
        us if !us.is_finite() => "–".to_owned(),
        us if us >= 1e6 => format!("{:.2} s", us / 1e6),
        us if us >= 1e4 => format!("{:.1} ms", us / 1e3),
        us if us >= 1e3 => format!("{:.2} ms", us / 1e3),
        us if us >= 10.0 => format!("{us:.0} µs"),
        us => format!("{us:.1} µs"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_replaces_the_one_before_and_is_gone_at_the_end() {
        let screen = Screen::default();
        let mut progress = Progress::on(Box::new(screen.clone()));
        progress.show("one");
        progress.show("two");
        drop(progress);
        let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, format!("{BEGIN}one{END}{BEGIN}two{END}{ERASE}"));
    }

    #[test]
    fn nothing_is_written_when_nothing_was_shown_or_nobody_watches() {
        let screen = Screen::default();
        drop(Progress::on(Box::new(screen.clone())));
        assert!(screen.0.lock().unwrap().is_empty());
        let mut silent = Progress::silent();
        silent.show("nothing");
        assert!(!silent.is_visible());
    }

    #[test]
    fn numbers_read_well() {
        let shown = [0.0, 999.4, 1000.0, 1234567.0, -45000.0].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567", "-45,000"]);
        let shown = [3.44, 281.0, 5198.0, 70451.0, 2_500_000.0, f64::NAN].map(duration);
        assert_eq!(shown, ["3.4 µs", "281 µs", "5.20 ms", "70.5 ms", "2.50 s", "–"]);
    }
}
