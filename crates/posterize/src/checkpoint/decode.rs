//! Decoding a strided view of a storage to a dense tensor.

use super::Parsed;
use super::element::Element;
use super::state_dict::StateTensor;
use crate::tensor::Tensor;

/// The largest number of dimensions of a tensor, as in PyTorch.
const MAX_DIMENSIONS: usize = 64;

/// A strided view of a storage: PyTorch's `size()`, `stride()` and `storage_offset()`, in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
    /// The number of elements: the product of the shape.
    count: usize,
    /// The minimum number of elements in the storage.
    extent: usize,
}

impl Layout {
    /// Creates a view. Returns an error if it has too many dimensions or if its sizes overflow.
    pub(super) fn new(shape: Vec<usize>, strides: Vec<usize>, offset: usize) -> Parsed<Self> {
        check_dimensions(shape.len(), strides.len())?;
        let too_large = || format!("a tensor of shape {shape:?} is too large");
        // As in PyTorch, the other sizes of an empty tensor are not limited.
        let count = if shape.contains(&0) {
            0
        } else {
            shape
                .iter()
                .try_fold(1usize, |product, &size| product.checked_mul(size))
                .ok_or_else(too_large)?
        };
        let extent = if count == 0 {
            0
        } else {
            shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |last, (&size, &stride)| {
                    last.checked_add((size - 1).checked_mul(stride)?)
                })
                .and_then(|last| last.checked_add(1))
                .ok_or_else(too_large)?
        };
        Ok(Self { shape, strides, offset, count, extent })
    }

    /// Creates a row-major view from the start of the storage.
    pub(super) fn contiguous(shape: &[usize]) -> Parsed<Self> {
        check_dimensions(shape.len(), shape.len())?;
        let mut strides = vec![0; shape.len()];
        let mut stride = 1usize;
        for (slot, &size) in strides.iter_mut().zip(shape).rev() {
            *slot = stride;
            stride = stride
                .checked_mul(size.max(1))
                .ok_or_else(|| format!("a tensor of shape {shape:?} is too large"))?;
        }
        Self::new(shape.to_vec(), strides, 0)
    }

    /// Returns the view with an offset that is larger by `elements`.
    pub(super) fn shifted(&self, elements: usize) -> Parsed<Self> {
        let offset = self.offset.checked_add(elements).ok_or("a storage offset overflows")?;
        Self::new(self.shape.clone(), self.strides.clone(), offset)
    }

    /// Returns the sizes.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the size in bytes of the dense tensor that [`decode`] returns, its shape included.
    /// With strides of zero it may be much larger than the storage.
    pub(super) fn decoded_bytes(&self, element: Element) -> usize {
        let size = match element {
            Element::F16 | Element::Bf16 | Element::F32 | Element::F64 => size_of::<f32>(),
            _ => size_of::<i64>(),
        };
        self.count.saturating_mul(size).saturating_add(size_of_val(self.shape.as_slice()))
    }

    /// Returns the size and stride of each axis of more than one element. Neighbouring axes that
    /// are contiguous are merged.
    fn merged_axes(&self) -> Vec<(usize, usize)> {
        let mut axes: Vec<(usize, usize)> = Vec::with_capacity(self.shape.len());
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            if size == 1 {
                continue;
            }
            match axes.last_mut() {
                Some(outer) if Some(outer.1) == stride.checked_mul(size) => {
                    *outer = (outer.0 * size, stride);
                }
                _ => axes.push((size, stride)),
            }
        }
        axes
    }

    /// Returns the values of the view in row-major order. The storage must have at least `extent`
    /// values.
    fn gather<const N: usize, T>(
        &self,
        storage: &[[u8; N]],
        value: impl Fn([u8; N]) -> T,
    ) -> Parsed<Vec<T>> {
        let mut values = reserved(self.count)?;
        if self.count == 0 {
            return Ok(values);
        }
        let mut outer = self.merged_axes();
        let (run, stride) = outer.pop().unwrap_or((1, 1));
        if outer.is_empty() && stride == 1 {
            values.extend(storage[self.offset..self.extent].iter().copied().map(value));
            return Ok(values);
        }
        let mut index = vec![0; outer.len()];
        let mut base = self.offset;
        loop {
            values.extend((0..run).map(|step| value(storage[base + step * stride])));
            let mut axis = outer.len();
            loop {
                if axis == 0 {
                    return Ok(values);
                }
                axis -= 1;
                let (size, step) = outer[axis];
                index[axis] += 1;
                base += step;
                if index[axis] < size {
                    break;
                }
                base -= step * size;
                index[axis] = 0;
            }
        }
    }
}

/// Returns an empty vector with room for `count` values, or an error if there is no memory for them.
pub(super) fn reserved<T>(count: usize) -> Parsed<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| {
        format!(
            "not enough memory: the system does not give {} bytes for its values; close other programs, \
             or use a machine with more memory",
            count.saturating_mul(size_of::<T>())
        )
    })?;
    Ok(values)
}

fn check_dimensions(sizes: usize, strides: usize) -> Parsed<()> {
    if sizes == strides && sizes <= MAX_DIMENSIONS {
        return Ok(());
    }
    Err(format!(
        "a tensor has {sizes} sizes and {strides} strides; expected as many of each, at most \
         {MAX_DIMENSIONS}"
    ))
}

/// Decodes a view of a storage of little-endian values to a dense tensor.
pub(super) fn decode(storage: &[u8], element: Element, layout: &Layout) -> Parsed<StateTensor> {
    let available = storage.len() / element.size();
    if layout.extent > available {
        return Err(format!(
            "its shape {:.200} and strides {:.200} from element {} need {} elements, but its \
             storage has {available}: the file is damaged",
            format!("{:?}", layout.shape),
            format!("{:?}", layout.strides),
            layout.offset,
            layout.extent
        ));
    }
    let floats = |data: Parsed<Vec<f32>>| {
        Tensor::new(layout.shape.clone(), data?)
            .map(StateTensor::Float)
            .map_err(|error| error.to_string())
    };
    let integers = |data: Parsed<Vec<i64>>| Ok(StateTensor::Int(layout.shape.clone(), data?));
    match element {
        Element::F32 => floats(layout.gather(storage.as_chunks().0, f32::from_le_bytes)),
        Element::F16 => floats(
            layout.gather(storage.as_chunks().0, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
        ),
        Element::Bf16 => floats(
            layout.gather(storage.as_chunks().0, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
        ),
        Element::F64 => {
            floats(layout.gather(storage.as_chunks().0, |bytes| f64::from_le_bytes(bytes) as f32))
        }
        Element::I8 => {
            integers(layout.gather(storage.as_chunks().0, |b| i8::from_le_bytes(b).into()))
        }
        Element::I16 => {
            integers(layout.gather(storage.as_chunks().0, |b| i16::from_le_bytes(b).into()))
        }
        Element::I32 => {
            integers(layout.gather(storage.as_chunks().0, |b| i32::from_le_bytes(b).into()))
        }
        Element::I64 => integers(layout.gather(storage.as_chunks().0, i64::from_le_bytes)),
        Element::U8 => integers(layout.gather(storage.as_chunks().0, |[b]: [u8; 1]| b.into())),
        Element::U16 => {
            integers(layout.gather(storage.as_chunks().0, |b| u16::from_le_bytes(b).into()))
        }
        Element::U32 => {
            integers(layout.gather(storage.as_chunks().0, |b| u32::from_le_bytes(b).into()))
        }
        Element::U64 => {
            let values = layout.gather(storage.as_chunks().0, u64::from_le_bytes)?;
            let mut signed = reserved(values.len())?;
            for value in values {
                signed.push(i64::try_from(value).map_err(|_| {
                    format!("expected values of at most {}, found {value}", i64::MAX)
                })?);
            }
            integers(Ok(signed))
        }
        Element::Bool => {
            integers(layout.gather(storage.as_chunks().0, |[b]: [u8; 1]| (b != 0).into()))
        }
        Element::Unsupported(name, _) => Err(format!(
            "values of type {name} are not supported; expected float16, bfloat16, float32, \
             float64, integers or bool"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reference: computes the position of each element from its index.
    fn gather_reference(layout: &Layout, storage: &[[u8; 1]]) -> Vec<u8> {
        (0..layout.count)
            .map(|flat| {
                let mut rest = flat;
                let mut at = layout.offset;
                for (&size, &stride) in layout.shape.iter().zip(&layout.strides).rev() {
                    at += rest % size * stride;
                    rest /= size;
                }
                storage[at][0]
            })
            .collect()
    }

    proptest! {
        #[test]
        fn gather_equals_its_reference(
            axes in prop::collection::vec((0usize..5, 0usize..7), 0..5),
            offset in 0usize..4,
        ) {
            let (shape, strides) = axes.into_iter().unzip();
            let layout = Layout::new(shape, strides, offset).unwrap();
            let storage: Vec<[u8; 1]> = (0..layout.extent).map(|i| [(i * 7 % 251) as u8]).collect();
            prop_assert_eq!(
                layout.gather(&storage, |[b]| b).unwrap(),
                gather_reference(&layout, &storage)
            );
        }
    }

    #[test]
    fn a_view_larger_than_its_storage_is_an_error() {
        let layout = Layout::new(vec![2, 3], vec![3, 1], 1).unwrap();
        assert!(decode(&[0; 28], Element::F32, &layout).is_ok());
        let error = decode(&[0; 27], Element::F32, &layout).unwrap_err();
        assert!(error.contains("need 7 elements, but its storage has 6"), "{error}");
    }

    #[test]
    fn shapes_and_strides_that_overflow_are_errors() {
        assert!(Layout::new(vec![usize::MAX, 2], vec![1, 1], 0).is_err());
        assert!(Layout::new(vec![3], vec![usize::MAX], 0).is_err());
        assert!(Layout::new(vec![2], vec![1], usize::MAX).is_err());
        assert!(Layout::new(vec![1; 65], vec![1; 65], 0).is_err());
        assert!(Layout::contiguous(&[usize::MAX, usize::MAX]).is_err());
        assert_eq!(Layout::new(vec![usize::MAX, 0], vec![1, 1], 9).unwrap().count, 0);
    }

    #[test]
    fn an_unsigned_value_beyond_i64_is_an_error() {
        let layout = Layout::contiguous(&[1]).unwrap();
        let error = decode(&[0xff; 8], Element::U64, &layout).unwrap_err();
        assert!(error.contains("18446744073709551615"), "{error}");
    }
}
