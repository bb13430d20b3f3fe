# SPDX-License-Identifier: Apache-2.0
"""What ``import narrows`` offers. Each name is loaded from here when it is first asked for."""
