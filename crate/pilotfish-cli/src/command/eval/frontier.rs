//! Two objectives at once: which points others dominate, the area that a set of points dominates (hypervolume), and the mean inner
//! product with the preferences it was asked for; the two measures of PARM (arXiv 2505.06274, section 5). More is better everywhere.

/// A point of the plane.
pub(super) type Point = [f64; 2];

/// The area between `reference` and what `points` dominate: points that do not exceed the reference in both objectives add nothing.
pub(super) fn hypervolume(points: &[Point], reference: Point) -> f64 {
    let mut better: Vec<Point> =
        points.iter().copied().filter(|[x, y]| *x > reference[0] && *y > reference[1]).collect();
    // From right to left, each step adds the part that is higher than all before it.
    better.sort_by(|one, other| other[0].total_cmp(&one[0]).then(other[1].total_cmp(&one[1])));
    let (mut area, mut height) = (0.0, reference[1]);
    for [x, y] in better {
        if y > height {
            area += (x - reference[0]) * (y - height);
            height = y;
        }
    }
    area
}

/// Mean over points of the inner product of each with the preference it was made for, whose parts sum to 1. `None` of no points.
pub(super) fn mean_inner_product(points: &[(Point, Point)]) -> Option<f64> {
    super::bootstrap::mean(points.iter().map(|([a, b], [x, y])| a * x + b * y))
}

/// Whether no other point is at least as good in both objectives and better in one.
pub(super) fn non_dominated(points: &[Point], at: usize) -> bool {
    let [x, y] = points[at];
    !points.iter().any(|[a, b]| *a >= x && *b >= y && (*a > x || *b > y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_that_of_the_union_of_rectangles() {
        // Three steps of a staircase: 1x3, 1x2 more, 1x1 more.
        let stairs = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]];
        assert_eq!(hypervolume(&stairs, [0.0, 0.0]), 6.0);
        // What is dominated, repeated or below the reference changes nothing.
        let more = [&stairs[..], &[[1.5, 1.5], [2.0, 2.0], [-1.0, 9.0], [4.0, 0.0]]].concat();
        assert_eq!(hypervolume(&more, [0.0, 0.0]), 6.0);
        assert_eq!(hypervolume(&stairs, [1.0, 1.0]), 1.0);
        assert_eq!(hypervolume(&[], [0.0, 0.0]), 0.0);
    }

    #[test]
    fn the_area_agrees_with_counting_random_hits() {
        let points = [[0.2, 0.9], [0.5, 0.5], [0.55, 0.1], [0.9, 0.3], [0.1, 0.2]];
        let grid = 400;
        let hit = |x: f64, y: f64| points.iter().any(|[a, b]| x < *a && y < *b);
        let place = |at: usize| (at as f64 + 0.5) / f64::from(grid);
        let hits = (0..grid as usize)
            .flat_map(|x| (0..grid as usize).map(move |y| (x, y)))
            .filter(|(x, y)| hit(place(*x), place(*y)))
            .count();
        let counted = hits as f64 / f64::from(grid * grid);
        assert!((hypervolume(&points, [0.0, 0.0]) - counted).abs() < 1e-3, "{counted}");
    }

    #[test]
    fn the_inner_product_is_with_the_own_preference() {
        let points = [([1.0, 0.0], [3.0, 9.0]), ([0.25, 0.75], [4.0, 8.0])];
        assert_eq!(mean_inner_product(&points), Some(5.0));
        assert_eq!(mean_inner_product(&[]), None);
    }

    #[test]
    fn only_points_that_are_beaten_are_dominated() {
        let points = [[1.0, 3.0], [2.0, 2.0], [2.0, 1.0], [2.0, 2.0]];
        let kept: Vec<bool> = (0..4).map(|at| non_dominated(&points, at)).collect();
        assert_eq!(kept, [true, true, false, true]);
    }
}
