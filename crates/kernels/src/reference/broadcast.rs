//! Operators with two inputs that broadcast, by definition.

/// `f` of the elements of `a` and `b` that stand for each position of `shape`, NumPy's broadcast
/// shape of theirs; all in C order.
///
/// # Panics
/// When an input is shorter than its shape.
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

/// The element of an input of shape `input` that stands for element `index` of `shape`.
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
