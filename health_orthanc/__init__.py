# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.pool import Pool


def register():
    Pool.register(
        module=__name__.split('.')[-1], type_='model')
