# SPDX-License-Identifier: Apache-2.0
"""Firmware and models as files and on boards: over the link, by debug probes and bootloaders."""
