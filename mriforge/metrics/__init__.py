"""Image similarity, statistics between methods, and the evaluation job."""
