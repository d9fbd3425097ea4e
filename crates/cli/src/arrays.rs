//! Arrays in files as the inputs and outputs of networks.

use std::path::{Path, PathBuf};

use posterize::{MemoryFormat, Tensor, graph::Graph, import::onnx::OnnxInput};

use crate::{
    error::{CliError, Result},
    npy,
};

/// An array of a file.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    /// The name that it was given, or that it has in a .npz file.
    pub(crate) name: Option<String>,
    pub(crate) tensor: Tensor,
    pub(crate) path: PathBuf,
}

/// Returns the parts of an argument `NAME=FILE`, or `FILE`.
pub(crate) fn named(argument: &str) -> (Option<&str>, PathBuf) {
    // A path may have an equals sign, too.
    match argument.split_once('=') {
        Some((name, file)) if !Path::new(argument).exists() => (Some(name), file.into()),
        _ => (None, argument.into()),
    }
}

/// Reads the arrays of arguments `[NAME=]FILE`: one of a .npy file, all of a .npz file.
///
/// # Errors
/// Returns an error if a file cannot be read, or if a name is given for several arrays.
pub(crate) fn read(arguments: &[String]) -> Result<Vec<Array>> {
    let mut arrays = Vec::new();
    for argument in arguments {
        let (name, path) = named(argument);
        if !npy::is_npz(&path) {
            let tensor = npy::read(&path)?;
            arrays.push(Array { name: name.map(str::to_owned), tensor, path });
            continue;
        }
        let found = npy::read_npz(&path)?;
        if let (Some(_), [_, _, ..]) = (name, found.as_slice()) {
            return Err(CliError::Usage(format!(
                "{argument}: the file has several arrays, which have names already; pass only its path"
            )));
        }
        arrays.extend(found.into_iter().map(|(own, tensor)| {
            let name = name.map(str::to_owned).or(Some(own));
            Array { name, tensor, path: path.clone() }
        }));
    }
    Ok(arrays)
}

/// Returns the height and width of the first input, for files that leave them open.
pub(crate) fn size(inputs: &[Array]) -> Option<[usize; 2]> {
    match inputs.first().map(|array| array.tensor.shape()) {
        Some(&[_, height, width, 1 | 3 | 4]) if height > 4 => Some([height, width]),
        Some(&[_, _, height, width]) => Some([height, width]),
        _ => None,
    }
}

/// Splits the inputs of a network into batches of at most `batch_size` samples.
///
/// # Errors
/// Returns an error if the inputs have no samples, or different numbers of them.
pub(crate) fn batches(
    inputs: &[Tensor],
    batch_size: usize,
    path: &Path,
) -> Result<Vec<Vec<Tensor>>> {
    let counts: Vec<usize> =
        inputs.iter().map(|input| input.shape().first().copied().unwrap_or(0)).collect();
    let count = counts.first().copied().unwrap_or(0);
    if count == 0 || counts.iter().any(|&other| other != count) {
        return Err(CliError::File {
            path: path.to_path_buf(),
            problem: format!(
                "the inputs have {counts:?} samples along the first axis; expected the same number, \
                 at least one"
            ),
        });
    }
    let part = |input: &Tensor, start: usize, end: usize| -> Result<Tensor> {
        let each = input.data().len() / count;
        let shape = [&[end - start], &input.shape()[1..]].concat();
        let data = input.data()[start * each..end * each].to_vec();
        Ok(match (input.format(), shape.as_slice()) {
            (MemoryFormat::ChannelsLast, &[n, c, h, w]) => {
                Tensor::channels_last([n, c, h, w], data)?
            }
            _ => Tensor::new(shape, data)?,
        })
    };
    let starts = (0..count).step_by(batch_size.max(1));
    let batch = |start: usize| {
        let end = count.min(start + batch_size);
        inputs.iter().map(|input| part(input, start, end)).collect()
    };
    starts.map(batch).collect()
}

/// Returns the tensors of a network's inputs, in its order, from arrays as an ONNX file with the inputs
/// `of_file` takes them, or as the network does. `option` is the option with the arrays.
///
/// # Errors
/// Returns an error if an input has no array or several, or an array has another shape than the input.
pub(crate) fn network_inputs(
    model: &str,
    option: &str,
    arrays: &[Array],
    graph: &Graph,
    of_file: &[OnnxInput],
) -> Result<Vec<Tensor>> {
    let names: Vec<&str> = graph.inputs().map(|(_, node)| node.name.as_str()).collect();
    let asked = || {
        CliError::Usage(format!(
            "{model}: the network has the inputs {}; pass each as {option} NAME=FILE, or all in a .npz file",
            names.join(", ")
        ))
    };
    let mut inputs: Vec<Option<Tensor>> = vec![None; names.len()];
    for (index, Array { name, tensor, path }) in arrays.iter().enumerate() {
        let by_name = |name: &String| {
            let same = |known: &str| known == name || npy::entry_name(known) == *name;
            let of_file = of_file.iter().position(|input| same(input.name()));
            of_file.or_else(|| names.iter().position(|known| same(known)))
        };
        // The only input may have any name.
        let only = || (arrays.len() == 1 && names.len() == 1).then_some(0);
        let at = match name {
            Some(name) => by_name(name).or_else(only),
            None if arrays.len() == names.len() => Some(index),
            None => None,
        };
        let at = at.ok_or_else(asked)?;
        let tensor = match (of_file.get(at), tensor.shape()) {
            // As the file sees it: channels are the last axis.
            (Some(input), &[n, h, w, c]) if input.is_channels_last() => {
                Tensor::channels_last([n, c, h, w], tensor.data().to_vec())?
            }
            (_, &[_, _, _, _]) => tensor.to_format(MemoryFormat::ChannelsLast),
            _ => tensor.clone(),
        };
        if let Some(input) = of_file.get(at)
            && tensor.shape().get(1..) != input.shape().get(1..)
        {
            return Err(CliError::File {
                path: path.clone(),
                problem: format!(
                    "the input `{}` of the network is {:?} for a batch of one, found {:?}",
                    input.name(),
                    input.shape(),
                    tensor.shape()
                ),
            });
        }
        if inputs[at].replace(tensor).is_some() {
            return Err(asked());
        }
    }
    inputs.into_iter().collect::<Option<_>>().ok_or_else(asked)
}

#[cfg(test)]
mod tests {
    use posterize::graph::Builder;
    use posterize::ops::Add;

    use super::*;

    fn graph() -> Graph {
        let mut builder = Builder::new("Sum");
        let [left, right] = ["left", "right/x"].map(|name| builder.input(name));
        let sum = builder.add("sum", Add::default(), &[left, right]);
        builder.output("sum", sum);
        builder.build().unwrap()
    }

    fn array(name: Option<&str>, value: f32) -> Array {
        let tensor = Tensor::new([1, 1], vec![value]).unwrap();
        Array { name: name.map(str::to_owned), tensor, path: "x.npz".into() }
    }

    #[test]
    fn samples_are_split_into_batches() {
        let x = Tensor::new([5, 2], (0..10).map(|i| i as f32).collect()).unwrap();
        let pictures = Tensor::channels_last([5, 2, 1, 1], x.data().to_vec()).unwrap();
        let found = batches(&[x.clone(), pictures], 2, Path::new("x.npz")).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!((found[1][0].shape(), found[1][0].data()), (&[2, 2][..], &x.data()[4..8]));
        assert_eq!((found[2][1].shape(), found[2][1].data()), (&[1, 2, 1, 1][..], &x.data()[8..]));
        let three = Tensor::new([3, 2], vec![0.0; 6]).unwrap();
        let error = batches(&[x, three], 2, Path::new("x.npz")).unwrap_err().to_string();
        assert!(error.contains("[5, 3] samples"), "{error}");
    }

    #[test]
    fn arrays_are_put_into_the_order_of_the_inputs() {
        let inputs = |arrays: &[Array]| {
            let tensors = network_inputs("net", "--input", arrays, &graph(), &[])?;
            Ok::<_, CliError>(tensors.iter().map(|tensor| tensor.data()[0]).collect::<Vec<_>>())
        };
        let (left, right) = (array(Some("left"), 1.0), array(Some("right_x"), 2.0));
        assert_eq!(inputs(&[right.clone(), left.clone()]).unwrap(), [1.0, 2.0]);
        assert_eq!(inputs(&[array(None, 3.0), array(None, 4.0)]).unwrap(), [3.0, 4.0]);
        for wrong in [
            vec![left.clone()],
            vec![left.clone(), left.clone()],
            vec![left, right.clone(), right],
            vec![array(None, 1.0)],
            vec![array(Some("other"), 1.0), array(Some("left"), 1.0)],
        ] {
            let error = inputs(&wrong).unwrap_err().to_string();
            assert!(error.contains("left, right/x"), "{error}");
        }
    }
}
