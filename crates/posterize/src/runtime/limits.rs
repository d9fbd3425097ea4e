//! Limits of what a plan may cost: the memory for a batch, and the work for a picture.
//!
//! A model may come from a stranger, and a file of a kilobyte can describe a network that takes
//! petabytes or days. Plans are checked before anything is allocated for them.

use crate::error::{Error, Result};
use crate::graph::{Graph, LayerShape, NodeId};
use crate::memory::{human, machine_memory};
use crate::ops::Op;

/// The largest work for a picture by default.
///
/// It is far above that of real networks: ResNet-152 takes 0.24 · 10¹² multiply-adds at 1024 pixels,
/// YOLOv8-large 0.33 · 10¹² at 1280.
pub(super) const DEFAULT_MAX_WORK: u64 = 1 << 41;

/// The largest memory for each picture of a batch by default, in bytes: 16 values of 64 channels at 724
/// x 724 pixels in f32, at the same time.
const PICTURE: usize = 2 << 30;

/// Memory that every machine has, in bytes: smaller plans do not ask for the machine's.
const SMALL: usize = 256 << 20;

/// What a plan may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes for a batch; `None` for the default.
    pub(crate) max_memory: Option<usize>,
    /// The work for a picture.
    pub(crate) max_work: u64,
}

/// The memory of a plan for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) batch: usize,
    pub(crate) threads: usize,
    /// Bytes of the values between layers, and of copies of the inputs and outputs.
    pub(crate) values: Option<usize>,
    /// Bytes of the kernels' scratch memory, that of all threads.
    pub(crate) scratch: Option<usize>,
    /// The node whose kernel has the most scratch memory.
    pub(crate) scratch_of: Option<NodeId>,
}

impl Memory {
    /// Returns the number of bytes; `None` if no memory can have as many.
    fn bytes(self) -> Option<usize> {
        self.values?.checked_add(self.scratch?)
    }
}

/// Returns the sum of the bytes of some buffers, each the product of its factors; `None` if it
/// overflows.
pub(crate) fn bytes(buffers: impl IntoIterator<Item = [usize; 3]>) -> Option<usize> {
    buffers.into_iter().try_fold(0usize, |sum, [a, b, c]| {
        sum.checked_add(a.checked_mul(b)?.checked_mul(c)?).filter(|&sum| sum < isize::MAX as usize)
    })
}

impl Limits {
    /// Returns the largest number of bytes for a batch, and where the limit comes from.
    fn memory(self, batch: usize) -> (usize, &'static str) {
        if let Some(max) = self.max_memory {
            return (max, "Options::max_memory");
        }
        let pictures = PICTURE.saturating_mul(batch.max(1));
        let machine = machine_memory() / 4 * 3;
        if pictures <= machine {
            (pictures, "2 GiB for each picture")
        } else {
            (machine, "three quarters of this machine's memory")
        }
    }

    /// Checks the memory of a plan for a batch. `shapes` are those of every node's output.
    ///
    /// # Errors
    /// Returns an error that names the layer with the largest output if it is more than the limit.
    pub(crate) fn check_memory(
        self,
        memory: Memory,
        graph: &Graph,
        shapes: &[LayerShape],
    ) -> Result<()> {
        let needed = memory.bytes();
        if needed.is_some_and(|needed| needed <= SMALL) && self.max_memory.is_none() {
            return Ok(());
        }
        let (max, from) = self.memory(memory.batch);
        if needed.is_some_and(|needed| needed <= max) {
            return Ok(());
        }
        let by_scratch = memory.scratch_of.filter(|_| memory.scratch > memory.values);
        let (id, part) = match by_scratch {
            Some(id) => (id, "scratch memory"),
            None => (most(graph, shapes, |layer| layer.shape.iter().product::<usize>()), "output"),
        };
        Err(Error::limit(
            &graph.node(id).name,
            format!(
                "a batch of {} takes {} of memory ({} of it scratch memory for {} threads), more than \
                 the limit of {} ({from}). This layer's {part} is the largest; its output for a \
                 picture is {:?}. Use a smaller batch, smaller pictures or fewer threads, or raise the \
                 limit from Rust (Options::max_memory)",
                memory.batch,
                human(needed),
                human(memory.scratch),
                memory.threads,
                human(Some(max)),
                &shapes[id.0].shape[1..],
            ),
        ))
    }

    /// Checks the work for each picture of a batch.
    ///
    /// # Errors
    /// Returns an error that names the layer with the most work if it is more than the limit.
    pub(crate) fn check_work(
        self,
        batch: usize,
        graph: &Graph,
        layers: &[LayerShape],
    ) -> Result<()> {
        let total = layers.iter().map(|layer| layer.work).fold(0, u64::saturating_add);
        let of_picture =
            |work: u64| if work == u64::MAX { work } else { work / batch.max(1) as u64 };
        if of_picture(total) <= self.max_work {
            return Ok(());
        }
        let id = most(graph, layers, |layer| layer.work);
        let (node, work) = (graph.node(id), layers[id.0].work);
        Err(Error::limit(
            &node.name,
            format!(
                "a picture takes the work of {:.1e} multiply-adds, more than the limit of {:.1e}; \
                 this layer ({}) takes the most of it, {:.1e}. Use smaller pictures or, if you trust \
                 the model, raise the limit from Rust (Options::max_work)",
                of_picture(total) as f64,
                self.max_work as f64,
                node.op.kind(),
                of_picture(work) as f64,
            ),
        ))
    }
}

/// Returns the first of the nodes with the largest key; an input only if there is nothing else.
fn most<K: Ord>(graph: &Graph, layers: &[LayerShape], key: impl Fn(&LayerShape) -> K) -> NodeId {
    let ids = (0..layers.len()).rev().map(NodeId);
    let computed = ids.filter(|&id| !matches!(graph.node(id).op, Op::Input(_)));
    computed.max_by_key(|id| key(&layers[id.0])).unwrap_or_else(|| graph.output())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::trace;
    use crate::ops::{Conv2d, MaxPool2d};

    const LIMITS: Limits = Limits { max_memory: None, max_work: DEFAULT_MAX_WORK };

    #[test]
    fn bytes_are_summed_without_overflow() {
        assert_eq!(bytes([[2, 3, 4], [1, 1, 5]]), Some(29));
        assert_eq!(bytes([[0, usize::MAX, 4]]), Some(0));
        assert_eq!(bytes([[usize::MAX, 2, 1]]), None);
        assert_eq!(bytes([[1 << 62, 1, 1], [1 << 62, 1, 1]]), None);
    }

    #[test]
    fn the_default_limit_grows_with_the_batch_up_to_the_machine() {
        assert!(LIMITS.memory(1).0 <= PICTURE);
        assert_eq!(LIMITS.memory(usize::MAX).0, machine_memory() / 4 * 3);
        let set = Limits { max_memory: Some(7), ..LIMITS };
        assert_eq!(set.memory(100).0, 7);
    }

    #[test]
    fn too_much_memory_is_an_error_that_names_the_layer() {
        let graph = trace(&Conv2d::new(3, 8, 3)).unwrap();
        let shapes = graph.infer(&[1, 3, 8, 8]).unwrap();
        let memory = |values, scratch| Memory {
            batch: 4,
            threads: 2,
            values,
            scratch,
            scratch_of: Some(NodeId(1)),
        };
        let small = Limits { max_memory: Some(1000), ..LIMITS };
        assert!(small.check_memory(memory(Some(900), Some(100)), &graph, &shapes).is_ok());
        for (limits, values, scratch) in [
            (small, Some(901), Some(100)),
            (LIMITS, None, Some(0)),
            (LIMITS, Some(0), None),
            (Limits { max_memory: Some(usize::MAX), ..LIMITS }, None, Some(0)),
        ] {
            let error = limits.check_memory(memory(values, scratch), &graph, &shapes).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::LimitExceeded);
            let name = &graph.nodes()[1].name;
            assert_eq!(error.layer_name(), Some(name.as_str()), "{error}");
            assert!(error.to_string().contains("[8, 6, 6]"), "{error}");
        }
    }

    #[test]
    fn work_is_counted_for_each_picture() {
        let graph = trace(&MaxPool2d::new(3)).unwrap();
        let work = graph.infer(&[1, 16, 9, 9]).unwrap()[1].work;
        let exact = Limits { max_work: work, ..LIMITS };
        let layers = graph.infer(&[5, 16, 9, 9]).unwrap();
        assert!(exact.check_work(5, &graph, &layers).is_ok());
        let below = Limits { max_work: work - 1, ..LIMITS };
        let error = below.check_work(5, &graph, &layers).unwrap_err().to_string();
        assert!(error.contains("(MaxPool2d)") && error.contains("Options::max_work"), "{error}");
    }
}
