//! Writing of safetensors files.

use std::io::Write;
use std::path::Path;

use safetensors::Dtype;

use super::header::{METADATA, Place, header};
use crate::atomic_file;
use crate::checkpoint::state_dict::{StateDict, StateTensor};
use crate::error::{Error, Result};
use crate::tensor::MemoryFormat;

impl StateDict {
    /// Writes a safetensors file completely or not at all (see
    /// [`atomic_file`](crate::atomic_file)).
    ///
    /// [`StateDict::open`] returns an equal state dict in the same order.
    ///
    /// ```
    /// use posterize::checkpoint::StateTensor;
    /// use posterize::{StateDict, Tensor};
    ///
    /// let mut weights = StateDict::new();
    /// weights.insert("fc.bias", StateTensor::Float(Tensor::new([2], vec![0.5, -0.5])?));
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("weights.safetensors");
    /// weights.save_safetensors(&path)?;
    /// assert_eq!(StateDict::open(&path)?, weights);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn save_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        write(self, path.as_ref())
    }
}

/// Writes a state dict to a file.
///
/// The header is in the order of the state dict. In the data the integers, which have 8 bytes, come
/// first, so that every value is aligned to its size.
fn write(state_dict: &StateDict, path: &Path) -> Result<()> {
    if state_dict.get(METADATA).is_some() {
        return Err(Error::Argument(format!(
            "cannot save a tensor called {METADATA}, because safetensors reserves this name; \
             rename it"
        )));
    }
    let is_integer = |tensor: &StateTensor| matches!(tensor, StateTensor::Int(..));
    let bytes_of = |tensor: &StateTensor| match tensor {
        StateTensor::Float(tensor) => size_of_val(tensor.data()),
        StateTensor::Int(_, values) => size_of_val(values.as_slice()),
    };
    let mut next_integer = 0;
    let mut next_float: usize =
        state_dict.iter().map(|(_, t)| if is_integer(t) { bytes_of(t) } else { 0 }).sum();
    let mut places = Vec::new();
    for (name, tensor) in state_dict.iter() {
        let (next, dtype) = match tensor {
            StateTensor::Int(..) => (&mut next_integer, Dtype::I64),
            StateTensor::Float(_) => (&mut next_float, Dtype::F32),
        };
        let (start, stop) = (*next, *next + bytes_of(tensor));
        *next = stop;
        places.push(Place { name, dtype, shape: tensor.shape(), bytes: start..stop });
    }
    let header = header([("format", "pt")], &places);
    atomic_file::write(path, |file| {
        file.write_all(&header)?;
        for (_, tensor) in state_dict.iter() {
            if let StateTensor::Int(_, values) = tensor {
                write_values(file, values, i64::to_le_bytes)?;
            }
        }
        for (_, tensor) in state_dict.iter() {
            if let StateTensor::Float(tensor) = tensor {
                match tensor.format() {
                    MemoryFormat::Contiguous => {
                        write_values(file, tensor.data(), f32::to_le_bytes)?;
                    }
                    MemoryFormat::ChannelsLast => {
                        let tensor = tensor.to_format(MemoryFormat::Contiguous);
                        write_values(file, tensor.data(), f32::to_le_bytes)?;
                    }
                }
            }
        }
        Ok(())
    })
}

fn write_values<T: Copy, const N: usize>(
    file: &mut dyn Write,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(N * values.len().min(1 << 14));
    for chunk in values.chunks(1 << 14) {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(|&value| bytes(value)));
        file.write_all(&buffer)?;
    }
    Ok(())
}
