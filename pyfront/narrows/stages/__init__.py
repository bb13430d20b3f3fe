# SPDX-License-Identifier: Apache-2.0
"""What fires together, its record in the blob, and what C says of its firings."""
