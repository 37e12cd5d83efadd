//! Logistic regression with an L2 penalty, fitted by Newton's method: few parameters, one optimum,
//! so that the same samples give the same bits.
//!
//! D. R. Cox, "The regression analysis of binary sequences", 1958; the fit is iteratively reweighted
//! least squares.

/// A fitted model: the probability of the positive class is σ(weights · x + bias).
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// One per feature, in the features' own units.
    pub weights: Vec<f32>,
    /// Log-odds at x = 0.
    pub bias: f32,
}

/// One sample: its features, its class, and its weight.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Each sample has the same number.
    pub features: Vec<f32>,
    /// True for the positive class.
    pub positive: bool,
    /// 1 for an ordinary photograph.
    pub weight: f64,
}

/// Most steps of Newton's method; it stops earlier when a step changes nothing.
const MOST_STEPS: usize = 50;
/// The last step is one that changes no standardised weight by more than this.
const SETTLED: f64 = 1e-8;
/// The same for steps that are not exact.
const SETTLED_ROUGHLY: f64 = 1e-5;
/// Up to this many features the Hessian is computed and each step is exact; beyond, conjugate
/// gradients find the steps, which need only the Hessian's product with a vector.
const MOST_DIRECT: usize = 256;
/// Conjugate gradients stop when the residual has shrunk to this share.
const MOST_RESIDUAL: f64 = 1e-5;

impl Logistic {
    /// Returns the log-odds of the positive class.
    pub fn log_odds(&self, features: &[f32]) -> f32 {
        self.bias + self.weights.iter().zip(features).map(|(w, x)| w * x).sum::<f32>()
    }

    /// Fits a model to samples. `penalty` is added to the Hessian of the standardised weights (not
    /// of the bias): 1 is as strong as one sample of weight 4 at even odds.
    ///
    /// `None` without a sample of each class.
    pub fn fit(samples: &[&Sample], penalty: f64) -> Option<Self> {
        let first = samples.first()?;
        if !samples.iter().any(|s| s.positive) || samples.iter().all(|s| s.positive) {
            return None;
        }
        let width = first.features.len();
        let (means, scales) = standard(samples, width);
        // Column `width` is the bias.
        let rows: Vec<Vec<f64>> = samples
            .iter()
            .map(|sample| {
                let values = sample.features.iter().zip(&means).zip(&scales);
                values.map(|((&x, m), s)| (f64::from(x) - m) / s).chain([1.0]).collect()
            })
            .collect();
        let mut parameters = vec![0f64; width + 1];
        for _ in 0..MOST_STEPS {
            let mut gradient = vec![0f64; width + 1];
            let mut curvatures = Vec::with_capacity(rows.len());
            for (sample, row) in samples.iter().zip(&rows) {
                let odds: f64 = row.iter().zip(&parameters).map(|(x, p)| x * p).sum();
                let p = 1.0 / (1.0 + (-odds).exp());
                let error = sample.weight * (f64::from(u8::from(sample.positive)) - p);
                // Bounded from below, so that samples with near certainty leave the matrix
                // invertible.
                curvatures.push(sample.weight * (p * (1.0 - p)).max(1e-9));
                for (sum, x) in gradient.iter_mut().zip(row) {
                    *sum += error * x;
                }
            }
            for (sum, parameter) in gradient[..width].iter_mut().zip(&parameters) {
                *sum -= penalty * parameter;
            }
            let step = if width <= MOST_DIRECT {
                solve(&mut hessian(&rows, &curvatures, penalty), gradient)
            } else {
                conjugate_gradients(&rows, &curvatures, penalty, gradient)
            };
            let mut largest = 0f64;
            for (parameter, step) in parameters.iter_mut().zip(&step) {
                // Far from the optimum a full Newton step may overshoot.
                let step = step.clamp(-2.0, 2.0);
                *parameter += step;
                largest = largest.max(step.abs());
            }
            if largest < if width <= MOST_DIRECT { SETTLED } else { SETTLED_ROUGHLY } {
                break;
            }
        }
        let weights: Vec<f64> = parameters.iter().zip(&scales).map(|(p, s)| p / s).collect();
        let shift: f64 = weights.iter().zip(&means).map(|(w, m)| w * m).sum();
        Some(Self {
            weights: weights.into_iter().map(|w| w as f32).collect(),
            bias: (parameters[width] - shift) as f32,
        })
    }
}

/// Returns mean and standard deviation of each feature; 1 for a constant feature.
fn standard(samples: &[&Sample], width: usize) -> (Vec<f64>, Vec<f64>) {
    let total: f64 = samples.iter().map(|s| s.weight).sum();
    let (mut means, mut scales) = (vec![0f64; width], vec![0f64; width]);
    for sample in samples {
        for (mean, &x) in means.iter_mut().zip(&sample.features) {
            *mean += sample.weight * f64::from(x) / total;
        }
    }
    for sample in samples {
        for ((scale, &x), mean) in scales.iter_mut().zip(&sample.features).zip(&means) {
            *scale += sample.weight * (f64::from(x) - mean).powi(2) / total;
        }
    }
    for scale in &mut scales {
        *scale = if *scale > 1e-12 { scale.sqrt() } else { 1.0 };
    }
    (means, scales)
}

/// Returns the lower triangle of the Hessian, with the penalty on all features but not on the bias.
fn hessian(rows: &[Vec<f64>], curvatures: &[f64], penalty: f64) -> Vec<f64> {
    let n = rows.first().map_or(0, Vec::len);
    let mut hessian = vec![0f64; n * n];
    for (row, curvature) in rows.iter().zip(curvatures) {
        for (i, x) in row.iter().enumerate() {
            let scaled = curvature * x;
            for (cell, y) in hessian[i * n..][..=i].iter_mut().zip(row) {
                *cell += scaled * y;
            }
        }
    }
    (0..n.saturating_sub(1)).for_each(|i| hessian[i * n + i] += penalty);
    hessian
}

/// Solves Hessian · x = `right` without computing the Hessian.
///
/// M. R. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
fn conjugate_gradients(
    rows: &[Vec<f64>],
    curvatures: &[f64],
    penalty: f64,
    right: Vec<f64>,
) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let n = right.len();
    let mut x = vec![0f64; n];
    let mut residual = right;
    let mut direction = residual.clone();
    let mut power = dot(&residual, &residual);
    let enough = power * MOST_RESIDUAL * MOST_RESIDUAL;
    for _ in 0..2 * n {
        if power <= enough {
            break;
        }
        let mut image: Vec<f64> = direction.iter().map(|d| penalty * d).collect();
        image[n - 1] = 0.0;
        for (row, curvature) in rows.iter().zip(curvatures) {
            let scaled = curvature * lanes(row, &direction);
            image.iter_mut().zip(row).for_each(|(sum, value)| *sum += scaled * value);
        }
        let length = power / dot(&direction, &image);
        x.iter_mut().zip(&direction).for_each(|(x, d)| *x += length * d);
        residual.iter_mut().zip(&image).for_each(|(r, i)| *r -= length * i);
        let before = std::mem::replace(&mut power, dot(&residual, &residual));
        let keep = power / before;
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + keep * *d);
    }
    x
}

/// Returns the product of two vectors, in eight partial sums that the processor adds in parallel.
fn lanes(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0f64; 8];
    let (a_whole, a_rest) = a.as_chunks::<8>();
    let (b_whole, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// Solves `matrix` · x = `right` by Cholesky's decomposition. Only the lower triangle of the
/// symmetric positive definite matrix is read, and it is overwritten.
fn solve(matrix: &mut [f64], mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for i in 0..n {
        let (above, line) = matrix.split_at_mut(i * n);
        for j in 0..=i {
            let (done, rest) = line.split_at_mut(j);
            let other = if j < i { &above[j * n..][..=j] } else { &[] };
            let known = if j < i { &other[..j] } else { &*done };
            let mut cell = rest[0];
            for (x, y) in done.iter().zip(known) {
                cell -= x * y;
            }
            rest[0] = if j < i { cell / other[j] } else { cell.max(1e-12).sqrt() };
        }
    }
    for i in 0..n {
        let known: f64 = (0..i).map(|k| matrix[i * n + k] * right[k]).sum();
        right[i] = (right[i] - known) / matrix[i * n + i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| matrix[k * n + i] * right[k]).sum();
        right[i] = (right[i] - known) / matrix[i * n + i];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(features: &[f32], positive: bool) -> Sample {
        Sample { features: features.to_vec(), positive, weight: 1.0 }
    }

    #[test]
    fn without_a_penalty_the_fit_matches_the_frequencies() {
        // 3 of 4 positive at 0, 1 of 4 at 1: log-odds ln 3 and -ln 3.
        let samples: Vec<Sample> = [(0.0, 3), (1.0, 1)]
            .into_iter()
            .flat_map(|(x, positive)| (0..4).map(move |i| sample(&[x], i < positive)))
            .collect();
        let fitted = Logistic::fit(&samples.iter().collect::<Vec<_>>(), 0.0).unwrap();
        assert!((fitted.log_odds(&[0.0]) - 3f32.ln()).abs() < 1e-4, "{fitted:?}");
        assert!((fitted.log_odds(&[1.0]) + 3f32.ln()).abs() < 1e-4, "{fitted:?}");
    }

    #[test]
    fn a_penalty_keeps_weights_finite_and_ignores_a_useless_feature() {
        let samples: Vec<Sample> =
            (0..40).map(|i| sample(&[i as f32, (i % 2) as f32, 7.0], i >= 20)).collect();
        let fitted = Logistic::fit(&samples.iter().collect::<Vec<_>>(), 1.0).unwrap();
        assert!(fitted.weights.iter().all(|w| w.is_finite()));
        assert!(fitted.log_odds(&[0.0, 0.0, 7.0]) < -1.0);
        assert!(fitted.log_odds(&[39.0, 0.0, 7.0]) > 1.0);
        assert!(fitted.weights[1].abs() < 0.5 && fitted.weights[2].abs() < 1e-6, "{fitted:?}");
    }

    #[test]
    fn conjugate_gradients_match_the_exact_solution() {
        let rows: Vec<Vec<f64>> = (0..60)
            .map(|i| (0..20).map(|j| f64::from((i * 7 + j * j * 3) % 11) - 5.0).collect())
            .collect();
        let curvatures: Vec<f64> = (0..60).map(|i| 0.05 + f64::from(i % 4) * 0.05).collect();
        let right: Vec<f64> = (0..20).map(f64::from).collect();
        let exact = solve(&mut hessian(&rows, &curvatures, 1.0), right.clone());
        let found = conjugate_gradients(&rows, &curvatures, 1.0, right);
        for (exact, found) in exact.iter().zip(&found) {
            assert!((exact - found).abs() < 1e-3 * exact.abs().max(1.0), "{exact} {found}");
        }
    }

    #[test]
    fn one_class_alone_cannot_be_fitted() {
        let samples = [sample(&[1.0], true), sample(&[2.0], true)];
        assert_eq!(Logistic::fit(&samples.iter().collect::<Vec<_>>(), 1.0), None);
        assert_eq!(Logistic::fit(&[], 1.0), None);
    }
}
