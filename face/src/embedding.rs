//! The vector that represents a person's face.

/// Length of an embedding.
pub const EMBEDDING_LEN: usize = 128;

/// A vector of unit length: the dot product of two is their cosine. Networks make it with
/// [`Embedding::normalized`]; code that fills it from another source, such as the gallery from its
/// file, must ensure the length.
#[derive(Clone, PartialEq)]
pub struct Embedding(pub [f32; EMBEDDING_LEN]);

impl Embedding {
    /// Scales the values to unit length. `None` unless there are [`EMBEDDING_LEN`] finite values
    /// that are not all (nearly) 0.
    pub fn normalized(values: impl AsRef<[f32]>) -> Option<Self> {
        let mut values: [f32; EMBEDDING_LEN] = values.as_ref().try_into().ok()?;
        let length = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length < 1e-6 {
            return None;
        }
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        Some(Self(values))
    }

    /// Returns the direction of the mean; `None` if it has none.
    pub fn mean(embeddings: &[Self]) -> Option<Self> {
        let mut sum = [0.0; EMBEDDING_LEN];
        for Self(values) in embeddings {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        Self::normalized(sum)
    }

    /// Returns the values.
    pub fn values(&self) -> &[f32; EMBEDDING_LEN] {
        &self.0
    }

    /// Returns the cosine of the angle to another embedding of the same model, −1 to 1.
    pub fn cosine(&self, other: &Self) -> f32 {
        let dot: f32 = self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum();
        dot.clamp(-1.0, 1.0)
    }
}

impl std::fmt::Debug for Embedding {
    /// Prints no values: a template does not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedding")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_non_finite_vectors_are_refused() {
        assert!(Embedding::normalized([0.0; EMBEDDING_LEN]).is_none());
        assert!(Embedding::normalized([f32::NAN; EMBEDDING_LEN]).is_none());
        assert!(Embedding::normalized([f32::INFINITY; EMBEDDING_LEN]).is_none());
        assert!(Embedding::normalized([1.0; 12]).is_none());
        let embedding = Embedding::normalized([3.0; EMBEDDING_LEN]).unwrap();
        assert!((embedding.cosine(&embedding) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_mean_lies_between_and_opposites_have_no_mean() {
        let [mut a, mut b] = [[0.0; EMBEDDING_LEN]; 2];
        (a[0], b[1]) = (1.0, 1.0);
        let mean = Embedding::mean(&[Embedding(a), Embedding(b)]).unwrap();
        assert!((mean.cosine(&Embedding(a)) - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(mean.cosine(&Embedding(a)), mean.cosine(&Embedding(b)));
        assert!(Embedding::mean(&[Embedding(a), Embedding(a.map(|x| -x))]).is_none());
        assert!(Embedding::mean(&[]).is_none());
    }
}
