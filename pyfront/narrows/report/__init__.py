# SPDX-License-Identifier: Apache-2.0
"""Pages for people: one file each, nothing loaded from elsewhere."""
