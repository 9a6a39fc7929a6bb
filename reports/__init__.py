"""Tables into words and pictures: the report that an auditor hands on.

`reports.build.build(run)` writes the whole report. The parts below it stand on their own, and the
dashboard uses the same ones: `tables` (tidy frames), `words` (plain sentences), `charts` (Altair),
`contact` (thumbnails).
"""
