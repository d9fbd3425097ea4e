//! Pictures on disk: image folders, transforms, and the parallel loader.
