//! Chooses the block of the network whose modules are printed at every step.

use posterize::graph::Graph;

/// Returns the path of the first residual block, or the empty path of the whole network if it has
/// none. A whole network would be too long to read.
pub(super) fn block(graph: &Graph) -> &str {
    const BLOCKS: [&str; 4] = ["InvertedResidual", "MBConvBlock", "BasicBlock", "Bottleneck"];
    let block = graph.modules().iter().find(|module| BLOCKS.contains(&module.kind.as_str()));
    block.map_or("", |block| &block.path)
}
