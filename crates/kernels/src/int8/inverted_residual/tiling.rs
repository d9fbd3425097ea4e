//! Divides an inverted residual block into stripes of rows for the caches, and into tasks for
//! threads.

use super::shape::Shape;

/// Number of bytes of expanded and filtered rows that a thread works on at a time.
///
/// They are written once and read once (the expanded ones once for each row of the depthwise
/// window). Until then they must stay in the second-level cache (2 MiB where this was tuned, 1 MiB
/// on older servers) together with the weights of the block, at most 600 KB in MobileNetV2, and the
/// input of the next block. The first-level cache (48 KiB) has room for stripes of only one to four
/// rows: the matrix products then have so few pixels that they read their weights too often, which
/// costs more than the latency of the second level, most of which prefetching hides.
pub(super) const STRIPE_BYTES: usize = 256 * 1024;

/// Minimum number of pixels of a stripe, unless it is the whole image; with fewer, the matrix
/// products read their weights too often.
///
/// Measured on blocks of 14x14 pixels, compared to the layers one after the other: stripes of 28
/// pixels take 7 % longer, stripes of 56 take 1 % longer, the whole image 10 % less.
const MIN_PIXELS: usize = 96;

/// How a block is divided into stripes and tasks.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    pub(super) shape: Shape,
    /// Maximum number of output rows of a stripe.
    pub(super) rows: usize,
    /// Number of expanded rows for which the ring has room: those under the windows of a stripe.
    pub(super) ring_rows: usize,
}

impl Tiling {
    /// Chooses the fewest stripes of equal heights whose rows fit into `stripe_bytes`, or else
    /// stripes of one row.
    pub(super) fn new(shape: Shape, stripe_bytes: usize) -> Self {
        let [oh, _] = shape.output_size;
        let of = |rows: usize| Self { shape, rows, ring_rows: shape.input_rows_under(rows) };
        let fits = |tiling: &Self| tiling.ring_bytes() + tiling.filtered_bytes() <= stripe_bytes;
        let max_rows = (1..=oh).rev().find(|&rows| fits(&of(rows))).unwrap_or(1);
        of(oh.div_ceil(oh.div_ceil(max_rows)))
    }

    /// Whether stripes have enough pixels for efficient matrix products.
    pub(super) fn is_worthwhile(&self) -> bool {
        let [oh, ow] = self.shape.output_size;
        self.rows == oh || self.rows * ow >= MIN_PIXELS
    }

    /// Number of parts into which the rows of each image are divided: the smallest that gives all
    /// threads equally many, and 1 if there are many images. Input rows at the border of two parts
    /// are expanded twice.
    pub(super) fn parts(&self, threads: usize, batch: usize) -> usize {
        let [oh, _] = self.shape.output_size;
        if batch >= 4 * threads { 1 } else { (threads / gcd(batch, threads)).clamp(1, oh) }
    }

    /// Bytes of scratch memory of a thread.
    pub(super) fn thread_bytes(&self) -> usize {
        self.ring_bytes() + self.filtered_bytes() + self.projected_bytes()
    }

    /// Bytes of the ring of expanded rows.
    pub(super) fn ring_bytes(&self) -> usize {
        let Shape { expands, hidden, size: [_, w], .. } = self.shape;
        if expands { (self.ring_rows * w * hidden).next_multiple_of(64) } else { 0 }
    }

    /// Bytes of the depthwise convolution's output for a stripe.
    pub(super) fn filtered_bytes(&self) -> usize {
        (self.rows * self.shape.output_size[1] * self.shape.hidden).next_multiple_of(64)
    }

    /// Bytes of the projection of a stripe, which is kept only if the input is added to it.
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

    /// A block of MobileNetV2 with stride 1 and a 3x3 window.
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
    fn stripes_have_equal_heights_and_fit_the_buffer() {
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
    fn every_thread_gets_equally_many_parts() {
        let tiling = Tiling::new(shape(24, 144, 56), STRIPE_BYTES);
        assert_eq!(tiling.parts(1, 1), 1);
        assert_eq!(tiling.parts(2, 1), 2);
        assert_eq!(tiling.parts(2, 2), 1);
        assert_eq!(tiling.parts(4, 6), 2);
        assert_eq!(tiling.parts(2, 30), 1);
        assert_eq!(Tiling::new(shape(160, 960, 7), STRIPE_BYTES).parts(16, 1), 7);
    }
}
