# SPDX-License-Identifier: Apache-2.0
"""Boards of a farm that labgrid manages."""

from narrows.farm.place import PlaceTarget

__all__ = ["PlaceTarget"]
