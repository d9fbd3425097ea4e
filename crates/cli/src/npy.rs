//! Arrays in NumPy's .npy and .npz files.

use std::{
    fmt::Display,
    fs::File,
    io::{self, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write},
    path::Path,
};

use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder as _};
use posterize::{Error, MemoryFormat, Tensor};

use crate::error::{CliError, Result};

/// The largest array in a .npz file, in bytes.
const MAX_ENTRY_BYTES: u64 = 1 << 32;

/// The largest number of values that is read from a file.
const MAX_VALUES: u64 = 1 << 32;

fn problem(path: &Path, problem: impl Into<String>) -> CliError {
    CliError::File { path: path.to_path_buf(), problem: problem.into() }
}

/// Whether a path is that of a file with several arrays, by its extension.
pub(crate) fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
}

/// Returns the name of an array in a .npz file, where names are paths.
pub(crate) fn entry_name(name: &str) -> String {
    name.replace(['/', '\\'], "_")
}

/// Reads an array of numbers as a tensor of f32.
pub(crate) fn read(path: &Path) -> Result<Tensor> {
    read_array(File::open(path).map_err(Error::io(path, "open"))?, path)
}

/// Reads all arrays of a .npz file with their names.
pub(crate) fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let damaged = |error: &dyn Display| {
        problem(path, format!("this is no .npz file, or it is damaged: {error}"))
    };
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(&e))?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|e| damaged(&e))?;
        let name = entry.name().map_err(|e| damaged(&e))?.into_owned();
        // A compressed entry may be a thousand times as large as the file.
        let mut bytes = Vec::new();
        entry.take(MAX_ENTRY_BYTES + 1).read_to_end(&mut bytes).map_err(|e| damaged(&e))?;
        if bytes.len() as u64 > MAX_ENTRY_BYTES {
            return Err(problem(
                path,
                format!("its array {name:?} has more than {MAX_ENTRY_BYTES} bytes"),
            ));
        }
        let tensor = read_array(Cursor::new(bytes), path)?;
        arrays.push((name.strip_suffix(".npy").unwrap_or(&name).to_owned(), tensor));
    }
    Ok(arrays)
}

/// Reads an array of a file, or of an entry of it.
fn read_array(mut file: impl Read + Seek, path: &Path) -> Result<Tensor> {
    let size = file.seek(SeekFrom::End(0)).map_err(Error::io(path, "read"))?;
    file.rewind().map_err(Error::io(path, "read"))?;
    let damaged = |error: io::Error| {
        problem(path, format!("this is no .npy file, or it is damaged: {error}"))
    };
    let mut start = Vec::new();
    (&mut file).take(MAX_HEADER).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    file.rewind().map_err(Error::io(path, "read"))?;
    if !shape_fits(&start, size) {
        return Err(problem(path, "this is no .npy file, or its shape is larger than the file"));
    }
    let array = NpyFile::new(BufReader::new(file)).map_err(damaged)?;
    let (shape, order, dtype) = (array.shape().to_vec(), array.order(), array.dtype());
    let count = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    // Each value takes at least a byte.
    let fits = count.is_some_and(|count| count <= size.min(MAX_VALUES));
    let (Some(count), true) = (count, fits) else {
        return Err(problem(path, format!("its shape {shape:?} is larger than the file")));
    };
    let values = values(array, &dtype, path)?;
    if values.len() as u64 != count {
        return Err(problem(path, format!("expected {count} values, found {}", values.len())));
    }
    let shape: Vec<usize> = shape.into_iter().map(|size| size as usize).collect();
    let values = match order {
        Order::C => values,
        Order::Fortran => row_major(&shape, &values),
    };
    Ok(Tensor::new(shape, values)?)
}

/// The largest header that is read, in bytes. NumPy's are a few hundred bytes long.
const MAX_HEADER: u64 = 1 << 16;

/// Returns whether the sizes in a header, a Python dictionary, have a product of at most `limit`. The
/// crate npyz multiplies them without a check.
fn shape_fits(start: &[u8], limit: u64) -> bool {
    let text = String::from_utf8_lossy(start);
    let shape = text.split_once("shape").and_then(|(_, rest)| rest.split_once('('));
    let Some((sizes, _)) = shape.and_then(|(_, rest)| rest.split_once(')')) else { return false };
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    let product = sizes
        .map(|size| size.trim_end_matches('L').parse::<u64>().ok())
        .try_fold(1_u64, |product, size| product.checked_mul(size?));
    product.is_some_and(|product| product <= limit)
}

/// Returns the values of an array in its own order.
fn values<R: Read>(array: NpyFile<R>, dtype: &DType, path: &Path) -> Result<Vec<f32>> {
    let DType::Plain(kind) = dtype else {
        return Err(problem(path, "it has records; expected numbers"));
    };
    let damaged = |error: io::Error| problem(path, format!("it is damaged: {error}"));
    macro_rules! read {
        ($type:ty, $convert:expr) => {
            array
                .into_vec::<$type>()
                .map(|values| values.into_iter().map($convert).collect())
                .map_err(damaged)
        };
    }
    match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 4) => read!(f32, |x| x),
        (TypeChar::Float, 8) => read!(f64, |x| x as f32),
        (TypeChar::Float, 2) => read!(half::f16, half::f16::to_f32),
        (TypeChar::Uint, 1) => read!(u8, f32::from),
        (TypeChar::Uint, 2) => read!(u16, f32::from),
        (TypeChar::Uint, 4) => read!(u32, |x| x as f32),
        (TypeChar::Uint, 8) => read!(u64, |x| x as f32),
        (TypeChar::Int, 1) => read!(i8, f32::from),
        (TypeChar::Int, 2) => read!(i16, f32::from),
        (TypeChar::Int, 4) => read!(i32, |x| x as f32),
        (TypeChar::Int, 8) => read!(i64, |x| x as f32),
        (TypeChar::Bool, 1) => read!(bool, f32::from),
        _ => {
            Err(problem(path, format!("it has values of type {}; expected floats", dtype.descr())))
        }
    }
}

/// Returns values in row-major order, from column-major order.
fn row_major(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let mut index = vec![0; shape.len()];
    let strides: Vec<usize> = shape
        .iter()
        .scan(1, |stride, &size| {
            let own = *stride;
            *stride *= size;
            Some(own)
        })
        .collect();
    let mut ordered = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let at: usize = index.iter().zip(&strides).map(|(index, stride)| index * stride).sum();
        ordered.push(values[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    ordered
}

/// Writes tensors: one to a .npy file, or any number to a .npz file with their names.
pub(crate) fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    if !is_npz(path) && tensors.len() != 1 {
        return Err(CliError::Usage(format!(
            "{}: the network has {} outputs, but a .npy file has one array; write a .npz file, or \
             choose an output with --outputs",
            path.display(),
            tensors.len()
        )));
    }
    let failed = |error: io::Error| CliError::from(Error::io(path, "write")(error));
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    if is_npz(path) {
        let mut archive = zip::ZipWriter::new(BufWriter::new(&mut file));
        for (name, tensor) in tensors {
            let name = entry_name(name);
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            archive.start_file(format!("{name}.npy"), options).map_err(|e| failed(e.into()))?;
            write_array(&mut archive, tensor).map_err(failed)?;
        }
        let mut writer = archive.finish().map_err(|e| failed(e.into()))?;
        writer.flush().map_err(failed)?;
    } else {
        let mut writer = BufWriter::new(&mut file);
        write_array(&mut writer, &tensors[0].1).map_err(failed)?;
        writer.flush().map_err(failed)?;
    }
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Writes a tensor as a .npy file.
fn write_array(writer: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    let shape: Vec<u64> = tensor.shape().iter().map(|&size| size as u64).collect();
    let mut array =
        npyz::WriteOptions::new().default_dtype().shape(&shape).writer(writer).begin_nd()?;
    array.extend(tensor.to_format(MemoryFormat::Contiguous).into_data())?;
    array.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let tensor = Tensor::new([1, 2, 1, 3], vec![1.0, -2.0, 3.5, 4.0, 5.0, 6.0]).unwrap();
        write(&path, &[("x".into(), tensor.clone())]).unwrap();
        assert_eq!(read(&path).unwrap().data(), tensor.data());
        assert_eq!(read(&path).unwrap().shape(), tensor.shape());
        let other = Tensor::new([2], vec![0.0, 1.0]).unwrap();
        let two = [("a/b".to_owned(), tensor), ("c".to_owned(), other)];
        assert!(write(&path, &two).is_err());
        write(&folder.path().join("two.npz"), &two).unwrap();
        let file = File::open(folder.path().join("two.npz")).unwrap();
        let archive = zip::ZipArchive::new(file).unwrap();
        let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["a_b.npy", "c.npy"]);
        let back = read_npz(&folder.path().join("two.npz")).unwrap();
        assert_eq!((back[0].0.as_str(), back[1].0.as_str()), ("a_b", "c"));
        assert_eq!((back[0].1.data(), &back[1].1), (two[0].1.data(), &two[1].1));
        assert!(read_npz(&path).unwrap_err().to_string().contains("no .npz file"));
    }

    /// A file with this header and these bytes behind it.
    fn file(header: &str, values: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"\x93NUMPY\x01\x00").unwrap();
        let header = format!("{header:<117}\n");
        file.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(values).unwrap();
        file
    }

    #[test]
    fn types_and_orders_are_converted() {
        let fortran = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
        let found = read(file(fortran, &[0, 3, 1, 4, 2, 5]).path()).unwrap();
        assert_eq!(
            (found.shape(), found.data()),
            (&[2, 3][..], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..])
        );
        let half = "{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }";
        assert_eq!(read(file(half, &[0x00, 0x3e]).path()).unwrap().data(), [1.5]);
        let double = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }";
        assert_eq!(read(file(double, &0.25_f64.to_le_bytes()).path()).unwrap().data(), [0.25]);
    }

    #[test]
    fn damaged_files_are_errors() {
        let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }";
        let short = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }";
        let text = "{'descr': '<U4', 'fortran_order': False, 'shape': (1,), }";
        for (header, values) in [(huge, &[0; 8][..]), (short, &[0; 8]), (text, &[0; 16]), ("", &[])]
        {
            assert!(read(file(header, values).path()).is_err(), "{header}");
        }
        assert!(read(Path::new("/no/such/file.npy")).is_err());
    }
}
