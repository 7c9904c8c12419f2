"""The one place where training and serving meet.

Typed rows, the fitted transform with its only `apply`, the network and its numpy forward pass, the
codecs of the wire, and the archive that carries them all. Nothing here imports torch.
"""
