"""CLIP space: encoders, embeddings kept with a run, zero-shot attributes with an `unknown`, calibration.

Importing this package imports no torch.

    load_encoder("personas-clip")            auditkit.clip.encoders
    ZeroShot("gender").score(run, encoder)   auditkit.clip.zero_shot
    fit_calibration, Domain                  auditkit.clip.calibration
    save_encoder                             auditkit.clip.folder
    train_bpe, write_clip_tokenizer          auditkit.clip.tokenizer
"""
