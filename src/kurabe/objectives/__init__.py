"""What is minimised: each term is a module or folder here, which the registry finds.

Settings derive from `kurabe.methods.settings.TermChoice`; the term itself is made by calling the
idea with these settings and a denoiser. Importing a term's settings needs no torch;
`kurabe.objectives.term` and `kurabe.objectives.objective`, the frame, do.
"""
