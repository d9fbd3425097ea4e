//! Lines of values: what softmax and norms compute together.

use posterize_kernels::Pool;

use super::moves::strides;
use super::select::for_each_row;
use super::shapes::memory_order;

/// Positions in memory along some axes, in the order of memory.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// The size and the distance between neighbors of each axis, the outermost first. Axes that are one
    /// in memory are one here.
    axes: Vec<[usize; 2]>,
}

impl Grid {
    /// Creates the positions along axes of these sizes and distances between neighbors.
    pub(super) fn new(axes: impl IntoIterator<Item = [usize; 2]>) -> Self {
        let mut merged: Vec<[usize; 2]> = Vec::new();
        for [size, stride] in axes {
            match merged.last_mut() {
                _ if size == 1 => {}
                Some([outer, distance]) if *distance == size * stride => {
                    (*outer, *distance) = (*outer * size, stride);
                }
                _ => merged.push([size, stride]),
            }
        }
        Self { axes: merged }
    }

    /// Returns the positions of a picture along the axes of a shape that are chosen, in the order of
    /// memory.
    pub(super) fn of_axes(shape: &[usize], chosen: impl Fn(usize) -> bool) -> Self {
        let strides = strides(shape);
        let order = memory_order(shape.len()).into_iter();
        let axes = order.filter(|&axis| axis > 0 && chosen(axis));
        Self::new(axes.map(|axis| [shape[axis], strides[axis]]))
    }

    /// Returns the number of positions.
    pub(super) fn len(&self) -> usize {
        self.axes.iter().map(|[size, _]| size).product()
    }

    /// Whether the positions are one behind the other, with nothing between them.
    fn is_contiguous(&self) -> bool {
        matches!(*self.axes, [] | [[_, 1]])
    }

    /// Returns the offset of a position.
    pub(super) fn offset(&self, index: usize) -> usize {
        offset(&self.axes, index)
    }

    /// Calls `visit` with the index and the offset of each position.
    pub(super) fn each(&self, mut visit: impl FnMut(usize, usize)) {
        let Some((&[size, stride], outer)) = self.axes.split_last() else { return visit(0, 0) };
        let rows: usize = outer.iter().map(|[size, _]| size).product();
        for row in 0..rows {
            let start = offset(outer, row);
            for at in 0..size {
                visit(row * size + at, start + at * stride);
            }
        }
    }
}

/// Returns the offset of a position along axes of these sizes and distances.
fn offset(axes: &[[usize; 2]], mut index: usize) -> usize {
    let mut offset = 0;
    for [size, stride] in axes.iter().rev() {
        offset += index % size * stride;
        index /= size;
    }
    offset
}

/// The lines of a picture: for each position of one grid the positions of another.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// Where the lines begin.
    pub(super) starts: Grid,
    /// The positions of a line from its start.
    pub(super) along: Grid,
}

impl Lines {
    /// Returns the lines along the chosen axes of a shape.
    pub(super) fn of_axes(shape: &[usize], along: impl Fn(usize) -> bool) -> Self {
        let starts = Grid::of_axes(shape, |axis| !along(axis));
        Self { starts, along: Grid::of_axes(shape, along) }
    }

    /// Computes each line of an output that has the shape of the input.
    ///
    /// `work` gets the index of the line in its picture, and an [`Line`] of the input and of the output.
    pub(super) fn run(
        &self,
        pool: &Pool,
        input: &[f32],
        output: &mut [f32],
        work: impl Fn(usize, Line<'_>, &mut [f32]) + Sync,
    ) {
        let (starts, len) = (self.starts.len(), self.along.len());
        let along = &self.along;
        if along.is_contiguous() {
            for_each_row(pool, output, len, |row, output| {
                let values = &input[row * len..][..len];
                work(row % starts, Line { values, start: 0, row, along }, output);
            });
            return;
        }
        for_each_row(pool, output, starts * len, |picture, output| {
            let values = &input[picture * starts * len..][..starts * len];
            self.starts.each(|line, start| {
                let row = picture * starts + line;
                work(line, Line { values, start, row, along }, output);
            });
        });
    }
}

/// The values of a line.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    values: &'a [f32],
    start: usize,
    row: usize,
    along: &'a Grid,
}

impl<'a> Line<'a> {
    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.along.len()
    }

    /// Returns the value at an index along the line.
    pub(super) fn value(&self, index: usize) -> f32 {
        self.values[self.start + self.along.offset(index)]
    }

    /// Calls `visit` with the index along the line, the offset and the value of each of its values. The
    /// offset is that in the slice of the output.
    pub(super) fn each(&self, mut visit: impl FnMut(usize, usize, f32)) {
        self.along.each(|index, offset| {
            let at = self.start + offset;
            visit(index, at, self.values[at]);
        });
    }

    /// Returns the same line of another tensor, such as the gradient of the output.
    pub(super) fn of(&self, tensor: &'a [f32]) -> Self {
        let picture = self.values.len();
        // A line that is contiguous has its own slice, others that of their picture.
        let lines = picture / self.len().max(1);
        let first = self.row / lines.max(1) * picture;
        Self { values: &tensor[first..first + picture], ..*self }
    }

    /// Returns the mean and the mean of the squared differences from it.
    pub(super) fn moments(&self) -> [f64; 2] {
        let count = self.len() as f64;
        let mut sum = 0.0;
        self.each(|_, _, x| sum += f64::from(x));
        let mean = sum / count;
        let mut squares = 0.0;
        self.each(|_, _, x| squares += (f64::from(x) - mean).powi(2));
        [mean, squares / count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_axis_have_the_values_of_the_shape() {
        let shape = [1, 3, 2, 4];
        let input: Vec<f32> = (0..48).map(|i| i as f32).collect();
        for axes in [&[1][..], &[2], &[3], &[1, 2], &[2, 3], &[1, 3], &[1, 2, 3]] {
            let lines = Lines::of_axes(&shape, |axis| axes.contains(&axis));
            for pool in [1, 3].map(Pool::new) {
                let mut output = vec![0.0; 48];
                lines.run(&pool, &input, &mut output, |_, line, output| {
                    let mut sum = 0.0;
                    line.of(&input).each(|_, _, x| sum += x);
                    line.each(|_, at, x| output[at] = sum + 1000.0 * x);
                });
                for (index, &found) in output.iter().enumerate() {
                    // Channels are last in memory.
                    let at = |i: usize| [i / 24, i % 3, i / 12 % 2, i / 3 % 4];
                    let same = |i: &usize| {
                        (0..4).all(|axis| axes.contains(&axis) || at(*i)[axis] == at(index)[axis])
                    };
                    let sum: usize = (0..48).filter(same).sum();
                    assert_eq!(found, sum as f32 + 1000.0 * index as f32, "{axes:?}");
                }
            }
        }
    }
}
