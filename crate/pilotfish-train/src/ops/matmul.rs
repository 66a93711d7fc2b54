//! Matrix products over slices. candle's own want tensors and start a thread pool; here threads work on sequences of their own.

use gemm::Parallelism;

/// A matrix in a slice: element `(row, column)` lies at `row * row_stride + column * column_stride`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mat<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Mat<'a> {
    /// `[rows, columns]`, `stride` from row to row.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self { values, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// `[rows, columns]`, one row after the other.
    pub(super) fn dense(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::new(values, rows, columns, columns)
    }

    /// Rows as columns.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn reach(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// `into = keep * into + scale * (left * right)`, `into` being `[left.rows, right.columns]` with `stride` from row to row.
///
/// # Panics
/// Where the shapes do not fit each other or the slices.
#[expect(unsafe_code, reason = "the crate's only interface is over pointers; what they reach is checked right here")]
pub(super) fn matmul(into: &mut [f32], stride: usize, keep: f32, scale: f32, left: Mat<'_>, right: Mat<'_>) {
    let (rows, columns, inner) = (left.rows, right.columns, left.columns);
    assert_eq!(inner, right.rows, "inner sizes");
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(left.reach() <= left.values.len() && right.reach() <= right.values.len(), "operands");
    assert!(columns <= stride && (rows - 1) * stride + columns <= into.len(), "result");
    // SAFETY: every address read or written is `base + row * row_stride + column * column_stride` for a row and column of the
    // matrix, and the assertions above say that the largest of them lies in its slice. `into` is borrowed alone.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            into.as_mut_ptr(),
            1,
            stride as isize,
            keep != 0.0,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            keep,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `left * right`, dense.
pub(super) fn product(left: Mat<'_>, right: Mat<'_>) -> Vec<f32> {
    let mut into = vec![0.0; left.rows * right.columns];
    matmul(&mut into, right.columns, 0.0, 1.0, left, right);
    into
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_strides_and_transposes_are_those_of_the_definition() {
        let numbers: Vec<f32> = (0..60).map(|i| (i as f32 * 0.37).sin()).collect();
        let (left, right) = (Mat::new(&numbers, 3, 4, 7), Mat::new(&numbers[20..], 5, 4, 6).transposed());
        let mut into = vec![2.0; 3 * 8];
        matmul(&mut into, 8, 0.5, 2.0, left, right);
        for row in 0..3 {
            for column in 0..8 {
                let expected = if column < 5 {
                    let dot: f32 = (0..4).map(|k| numbers[row * 7 + k] * numbers[20 + column * 6 + k]).sum();
                    1.0 + 2.0 * dot
                } else {
                    2.0
                };
                assert!((into[row * 8 + column] - expected).abs() < 1e-5, "{row} {column}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "operands")]
    fn a_slice_that_is_too_short_is_refused() {
        product(Mat::dense(&[0.0; 5], 2, 3), Mat::dense(&[0.0; 6], 3, 2));
    }
}
