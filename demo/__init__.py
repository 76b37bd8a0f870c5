# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hospital on one machine: ``make demo`` builds, starts and plays it."""
