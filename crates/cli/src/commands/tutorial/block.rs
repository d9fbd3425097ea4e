//! The part of the network whose module tree is shown at every step.

use posterize::graph::Graph;

/// The first residual block, small enough to be read; the whole network where there is none.
pub(super) fn block(graph: &Graph) -> &str {
    const BLOCKS: [&str; 4] = ["InvertedResidual", "MBConvBlock", "BasicBlock", "Bottleneck"];
    let block = graph.modules().iter().find(|module| BLOCKS.contains(&module.kind.as_str()));
    block.map_or("", |block| &block.path)
}
