//! From float to int8: qparams, observers, qconfigs, fusion, prepare and convert.
