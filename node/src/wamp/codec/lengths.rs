//! Lengths that are known only after what they count: JSON lists and CBOR's indefinite ones on the way into a serializer that
//! states lengths first.

use super::stream::{Mark, Shape};

/// The container headers left out so far, in the order in which their containers were opened.
#[derive(Debug, Default)]
pub(crate) struct Lengths {
    gaps: Vec<Gap>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    at: usize,
    shape: Shape,
    len: usize,
}

/// The bytes of a container's header, and how many of the nine they are.
pub(crate) type Header = ([u8; 9], usize);

impl Lengths {
    /// Notes that the header of a container belongs at the offset `at`, which is now the end of the output.
    pub(crate) fn open(&mut self, at: usize, shape: Shape) -> Mark {
        self.gaps.push(Gap { at, shape, len: 0 });
        Mark(self.gaps.len() - 1)
    }

    /// States the length of the container that `mark` opened.
    pub(crate) fn close(&mut self, mark: Mark, len: usize) {
        if let Some(gap) = self.gaps.get_mut(mark.0) {
            gap.len = len;
        }
    }

    /// Puts every header in its place. Each byte of `out` moves once, so nesting does not cost more.
    pub(crate) fn fill(&self, out: &mut Vec<u8>, header: impl Fn(Shape, usize) -> Header) {
        if self.gaps.is_empty() {
            return;
        }
        let mut from = out.len();
        let grown: usize = self.gaps.iter().map(|gap| header(gap.shape, gap.len).1).sum();
        out.resize(from + grown, 0);
        let mut to = out.len();
        for gap in self.gaps.iter().rev() {
            let (bytes, width) = header(gap.shape, gap.len);
            to -= from - gap.at;
            out.copy_within(gap.at..from, to);
            from = gap.at;
            to -= width;
            out[to..to + width].copy_from_slice(&bytes[..width]);
        }
    }
}
