"""What the families that look at pixels share: the network, its windows, the augmentation and the training loop.

network.Network            a small convolutional network on colours, residuals and neighbouring-pixel relations
windows.places             where a test image is looked at
pool.Pool                  training images in memory, each generated one beside the real one it was made from
augment.Augmentation       drawn once, applied to both members of a pair
loop.train                 steps, progress, averaged weights
"""
