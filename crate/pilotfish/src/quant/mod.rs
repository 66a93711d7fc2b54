//! Block formats, one file each: layout, CPU decode, packing for the GPU.
