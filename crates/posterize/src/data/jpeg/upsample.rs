//! Rows of a component at the picture's full size, as libjpeg's `jdsample` makes them.

use super::scans::Plane;
use super::segments::Frame;

/// How a component comes to the picture's size.
pub(super) struct Upsampling {
    method: Method,
    horizontal: usize,
    vertical: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Every sample so many times along each axis.
    Repeat,
    /// Between two samples, 3/4 of the nearer and 1/4 of the farther one; along one axis or both.
    Wide,
    Tall,
    Both,
}

impl Upsampling {
    /// # Errors
    /// The component's factors do not divide the greatest ones; libjpeg refuses that, too.
    pub(super) fn new(frame: &Frame, index: usize, plane: &Plane) -> Result<Self, String> {
        let (h_max, v_max) = frame.sampling();
        let component = frame.components[index];
        let (h, v) = (component.horizontal, component.vertical);
        if h_max % h != 0 || v_max % v != 0 {
            return Err(format!(
                "a JPEG with the sampling factors {} is not supported: {h_max}x{v_max} is no \
                 multiple of {h}x{v}",
                frame.factors()
            ));
        }
        let (horizontal, vertical) = (h_max / h, v_max / v);
        let method = match (horizontal, vertical) {
            (2, 1) if plane.width > 2 => Method::Wide,
            (1, 2) => Method::Tall,
            (2, 2) if plane.width > 2 => Method::Both,
            _ => Method::Repeat,
        };
        Ok(Self { method, horizontal, vertical })
    }

    /// Writes row `y` of the picture to `out`, which has room for every repeated sample of a row.
    pub(super) fn row(&self, plane: &Plane, y: usize, out: &mut [u8]) {
        let row = |y: usize| &plane.samples[y * plane.stride..][..plane.width];
        let near = row(y / self.vertical);
        // The row on the other side of row `y`, or the same at the picture's edge.
        let far = || {
            let at = y / 2;
            row(if y.is_multiple_of(2) {
                at.saturating_sub(1)
            } else {
                (at + 1).min(plane.height - 1)
            })
        };
        match self.method {
            Method::Repeat => {
                for (out, sample) in out.chunks_exact_mut(self.horizontal).zip(near) {
                    out.fill(*sample);
                }
            }
            Method::Wide => {
                let near = |x: usize| u32::from(near[x]);
                interpolate(
                    out,
                    plane.width,
                    |x| 4 * near(x),
                    |a, b| 3 * near(a) + near(b),
                    [1, 2],
                    2,
                );
            }
            Method::Tall => {
                let rounding = [1, 2][y % 2];
                for ((out, near), far) in out.iter_mut().zip(near).zip(far()) {
                    *out = ((3 * u32::from(*near) + u32::from(*far) + rounding) >> 2) as u8;
                }
            }
            Method::Both => {
                let far = far();
                let column = |x: usize| 3 * u32::from(near[x]) + u32::from(far[x]);
                interpolate(
                    out,
                    plane.width,
                    |x| 4 * column(x),
                    |a, b| 3 * column(a) + column(b),
                    [8, 7],
                    4,
                );
            }
        }
    }
}

/// Two values for each of `width` columns: of it and its neighbour on the left, and on the right.
/// At the edges stands the column alone.
fn interpolate(
    out: &mut [u8],
    width: usize,
    alone: impl Fn(usize) -> u32,
    between: impl Fn(usize, usize) -> u32,
    rounding: [u32; 2],
    shift: u32,
) {
    for (x, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate().take(width) {
        let left = if x == 0 { alone(x) } else { between(x, x - 1) };
        let right = if x + 1 == width { alone(x) } else { between(x, x + 1) };
        *out = [((left + rounding[0]) >> shift) as u8, ((right + rounding[1]) >> shift) as u8];
    }
}
