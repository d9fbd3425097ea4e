//! Reference implementation of broadcasting.

/// Applies `f` to the elements of `a` and `b`, broadcast to `shape` by NumPy's rules; all are in C
/// order.
///
/// `shape` must be the broadcast shape of `a_shape` and `b_shape`.
///
/// # Panics
/// If an input has fewer elements than its shape.
///
/// ```
/// use posterize_kernels::reference::broadcast;
///
/// let sums = broadcast(&[2, 3], (&[2, 1], &[10, 20]), (&[3], &[1, 2, 3]), |a, b| a + b);
/// assert_eq!(sums, [11, 12, 13, 21, 22, 23]);
/// ```
pub fn broadcast<T: Copy, U>(
    shape: &[usize],
    (a_shape, a): (&[usize], &[T]),
    (b_shape, b): (&[usize], &[T]),
    f: impl Fn(T, T) -> U,
) -> Vec<U> {
    let len = shape.iter().product();
    (0..len)
        .map(|i| f(a[element_for(shape, a_shape, i)], b[element_for(shape, b_shape, i)]))
        .collect()
}

/// Returns the index of the element of an input with shape `input` that is broadcast to element
/// `index` of `shape`.
///
/// # Panics
/// If `shape` has a size of 0.
pub fn element_for(shape: &[usize], input: &[usize], mut index: usize) -> usize {
    let (mut element, mut stride) = (0, 1);
    for from_last in 1..=shape.len() {
        let size = shape[shape.len() - from_last];
        let position = index % size;
        index /= size;
        if from_last <= input.len() {
            let own = input[input.len() - from_last];
            if own != 1 {
                element += position * stride;
            }
            stride *= own;
        }
    }
    element
}
