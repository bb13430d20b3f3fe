# SPDX-License-Identifier: Apache-2.0
"""narrows: int8 convolutional networks in a fraction of the RAM, to the same bits."""

__version__ = "0.1.0"
