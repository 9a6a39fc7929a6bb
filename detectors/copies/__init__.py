"""Copies: is a generated picture one of the training pictures come again, or made from a protected work?

    prints      what is compared of a picture: whole-image CLIP embeddings, PDQ hashes, the hash of its pixels
    index       prints of a training set as one parquet file, read in blocks
    search      the nearest training pictures of each of many pictures, memory-flat
    planting    copies made on purpose, and unrelated pictures: the truth that thresholds are calibrated on
    calibration thresholds at a stated false match rate, for any size of the training set
    finding     what is said of each picture
    protected   a registry of works, kept as prints alone

Whole images only: nothing here finds, cuts out or compares faces, and no print is a biometric template.
"""
