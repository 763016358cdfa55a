//! Rows of numbers with what is known about them: the input of training.

/// Labelled, weighted rows. All rows have the same number of features; a missing number is NaN.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    features: usize,
    values: Vec<f32>,
    labels: Vec<f32>,
    weights: Vec<f32>,
}

impl Dataset {
    /// No rows yet, of so many features each.
    pub fn new(features: usize) -> Dataset {
        Dataset {
            features,
            ..Dataset::default()
        }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When the row has another number of features.
    pub fn push(&mut self, row: &[f32], label: f32, weight: f32) {
        assert_eq!(
            row.len(),
            self.features,
            "every row has the same number of features"
        );
        self.values.extend_from_slice(row);
        self.labels.push(label);
        self.weights.push(weight);
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many numbers each row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// All rows, one after the other.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.features..(index + 1) * self.features]
    }

    /// What each row should be predicted as.
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// How much each row counts.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }
}
