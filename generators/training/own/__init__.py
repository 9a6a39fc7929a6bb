"""Training on a user's own folder of captioned images: reading, buckets, rebalancing, training, what was drawn."""
