//! Accuracy, loss and running averages.
