//! Loops of multiply-adds with AVX-512, for the measurement of peak throughput.

use crate::arch::x86::peak::products;

products!(avx512_f32: "0,1,2,3,4,5,6,7,8,9,10,11", "vfmadd231ps zmm\\i, zmm12, zmm13");
products!(avx512_int8: "0,1,2,3,4,5,6,7,8,9,10,11", "vpdpbusd zmm\\i, zmm12, zmm13");
