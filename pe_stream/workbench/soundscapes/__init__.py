"""Soundscapes: labelled sounds placed over a background, so that onset and offset are known.

`sources` finds the sounds, `scene` mixes, `everyday`, `hours` and `smoke_alarm` decide what
happens, `folder` writes files and manifest.
"""
