//! One file per kernel, named as its shader: bindings, dispatch, CPU twin.
