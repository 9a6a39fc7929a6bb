"""Statistics of an audit: pure functions on counts, in the papers' symbols; numpy and scipy only."""
