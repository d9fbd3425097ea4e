//! Loops of multiply-adds with AVX2, for the measurement of peak throughput.

use crate::arch::x86::peak::products;

products!(avx2_f32: "0,1,2,3,4,5,6,7,8,9,10,11", "vfmadd231ps ymm\\i, ymm12, ymm13");
products!(
    avx2_int8: "0,1,2,3,4,5",
    "vpmaddwd ymm12, ymm13, ymm14",
    "vpaddd ymm\\i, ymm\\i, ymm12"
);
