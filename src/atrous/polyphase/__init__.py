"""Fast 3x3 atrous convolutions for inference on a CPU: minimal filtering in the polyphase domain.

An atrous convolution at rate r is r * r ordinary convolutions on images that take every r-th pixel, and those can be
computed with fewer products (Winograd, see `transforms`). `choice.choose` tries what is fastest for a layer. The kernels
are compiled on the user's machine by Numba, which the extra `fast` installs; without it the plain way is taken.
"""
