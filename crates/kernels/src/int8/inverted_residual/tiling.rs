//! How a block is cut: into stripes of rows for the caches, into tasks for the threads.

use super::shape::Shape;

/// Bytes of expanded and filtered rows that a thread works on at a time.
///
/// They are written once and read once or, by the depthwise window's rows, a few times, and must
/// still be in the second-level cache (2 MiB here, 1 MiB on older servers) by then, beside the
/// block's weights, at most 600 KB in MobileNetV2, and what the next block reads. In the first level
/// (48 KiB) there is room for stripes of one to four rows only: the products then have so few pixels
/// that they read their weights too often, which costs more than the second level's latency, most of
/// which the prefetchers hide.
pub(super) const STRIPE_BYTES: usize = 256 * 1024;

/// A stripe that is not the whole picture has at least this many pixels, or the products read their
/// weights too often. Measured on blocks of 14x14 pixels: stripes of 28 take 7 % longer than the layers
/// one after the other, stripes of 56 take 1 % longer, the whole picture 10 % less.
const LEAST_PIXELS: usize = 96;

/// How a block of one shape is computed.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    pub(super) shape: Shape,
    /// Rows of the output that make a stripe, at most.
    pub(super) rows: usize,
    /// Expanded rows that the ring has room for: those under a stripe.
    pub(super) ring_rows: usize,
}

impl Tiling {
    /// As few stripes of equal heights as work on `stripe_bytes` at a time, or stripes of one row.
    pub(super) fn new(shape: Shape, stripe_bytes: usize) -> Self {
        let [oh, _] = shape.output_size;
        let of = |rows: usize| Self { shape, rows, ring_rows: shape.input_rows_under(rows) };
        let fits = |tiling: &Self| tiling.ring_bytes() + tiling.filtered_bytes() <= stripe_bytes;
        let most = (1..=oh).rev().find(|&rows| fits(&of(rows))).unwrap_or(1);
        of(oh.div_ceil(oh.div_ceil(most)))
    }

    /// Whether stripes are large enough for the products.
    pub(super) fn is_worthwhile(&self) -> bool {
        let [oh, ow] = self.shape.output_size;
        self.rows == oh || self.rows * ow >= LEAST_PIXELS
    }

    /// Into how many parts the rows of each picture are divided: as few as give every thread the
    /// same share, none where there are pictures enough. Rows on both sides of a cut are expanded
    /// twice.
    pub(super) fn parts(&self, threads: usize, batch: usize) -> usize {
        let [oh, _] = self.shape.output_size;
        if batch >= 4 * threads { 1 } else { (threads / gcd(batch, threads)).clamp(1, oh) }
    }

    /// Scratch memory of a thread.
    pub(super) fn thread_bytes(&self) -> usize {
        self.ring_bytes() + self.filtered_bytes() + self.projected_bytes()
    }

    /// The expanded rows under a stripe.
    pub(super) fn ring_bytes(&self) -> usize {
        let Shape { expands, hidden, size: [_, w], .. } = self.shape;
        if expands { (self.ring_rows * w * hidden).next_multiple_of(64) } else { 0 }
    }

    /// A stripe of the depthwise convolution's output.
    pub(super) fn filtered_bytes(&self) -> usize {
        (self.rows * self.shape.output_size[1] * self.shape.hidden).next_multiple_of(64)
    }

    /// A stripe of the projection, where the input is added to it.
    fn projected_bytes(&self) -> usize {
        let Shape { adds, output_size: [_, ow], outputs, .. } = self.shape;
        if adds { (self.rows * ow * outputs).next_multiple_of(64) } else { 0 }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of MobileNetV2 with a stride of 1 and a 3x3 window.
    fn shape(inputs: usize, hidden: usize, size: usize) -> Shape {
        Shape {
            expands: true,
            adds: true,
            inputs,
            hidden,
            outputs: inputs,
            size: [size; 2],
            output_size: [size; 2],
            stride: 1,
            reach: 3,
            top: 1,
        }
    }

    #[test]
    fn stripes_have_equal_heights_and_fit() {
        let whole = Tiling::new(shape(160, 960, 7), STRIPE_BYTES);
        assert_eq!((whole.rows, whole.ring_rows), (7, 7));
        let cut = Tiling::new(shape(24, 144, 56), STRIPE_BYTES);
        assert_eq!((cut.rows, cut.ring_rows), (14, 16));
        assert!(cut.ring_bytes() + cut.filtered_bytes() <= STRIPE_BYTES);
        let wide = Tiling::new(shape(24, 144, 5000), STRIPE_BYTES);
        assert_eq!((wide.rows, wide.ring_rows), (1, 3));
        assert!(whole.is_worthwhile() && cut.is_worthwhile() && wide.is_worthwhile());
        let deep = Tiling::new(shape(2000, 12_000, 14), STRIPE_BYTES);
        assert_eq!(deep.rows, 1);
        assert!(!deep.is_worthwhile());
    }

    #[test]
    fn every_thread_gets_the_same_share() {
        let tiling = Tiling::new(shape(24, 144, 56), STRIPE_BYTES);
        assert_eq!(tiling.parts(1, 1), 1);
        assert_eq!(tiling.parts(2, 1), 2);
        assert_eq!(tiling.parts(2, 2), 1);
        assert_eq!(tiling.parts(4, 6), 2);
        assert_eq!(tiling.parts(2, 30), 1);
        assert_eq!(Tiling::new(shape(160, 960, 7), STRIPE_BYTES).parts(16, 1), 7);
    }
}
