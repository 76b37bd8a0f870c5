# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Worklist templates: Genshi's new text syntax, reduced to an allow-list.

The syntax is that of Genshi's ``NewTextTemplate``.  Nothing of a template is
ever compiled to Python code: each expression is parsed by :mod:`ast`, checked
node by node (``sandbox_grammar.py``) and then interpreted
(``sandbox_run.py``), so what those files do not name cannot happen.  Size and
work are bounded.

Neither these files nor ``sandbox_values.py`` import anything of Tryton.
"""
from collections import namedtuple

from .sandbox_grammar import MAX_PATHS, NODES, SandboxError, parse, paths
from .sandbox_run import Run
from .sandbox_values import (
    CONTROL, ESCAPES, Trusted, View, escape_dump, escape_json)

__all__ = [
    'CONTROL', 'ESCAPES', 'MAX_PATHS', 'MAX_SOURCE', 'NODES', 'Rendered',
    'SandboxError', 'Template', 'Trusted', 'View', 'escape_dump',
    'escape_json']

MAX_SOURCE = 64 * 1024

Rendered = namedtuple('Rendered', 'text replaced')
Rendered.__doc__ = """\
The outcome of a rendering: `text`, and in `replaced` the (line, expression)
of each value in which a character had to be replaced to keep the text whole.
"""


class Template:
    """
    A parsed template; parse once, render often, from several threads.

    Parameters
    ----------
    source : str
        The template.

    Raises
    ------
    SandboxError
        If it holds anything that is not allowed.
    """

    def __init__(self, source):
        if len(source) > MAX_SOURCE:
            raise SandboxError(1, 'too_large', MAX_SOURCE)
        self.body = parse(source)

    def render(self, values, escape=None):
        """
        Render the template.

        Parameters
        ----------
        values : dict
            Variables: text, numbers, dates, None, lists, dicts and `View`.
        escape : callable, optional
            ``escape(text, trusted)`` is applied to what expressions print.

        Returns
        -------
        Rendered

        Raises
        ------
        SandboxError
            If it reads what it may not, or takes too much.
        """
        run = Run(values, escape or (lambda text, trusted: text))
        run.blocks(self.body)
        return Rendered(''.join(run.parts), run.replaced)

    def paths(self, name):
        """
        Return what the template may read of a variable.

        Parameters
        ----------
        name : str
            The variable.

        Returns
        -------
        set of str
            Dotted paths of attributes, without the name, such as
            ``patient.puid``.
        """
        found = set()
        paths(self.body, {name: {()}}, found)
        return {'.'.join(path) for path in found if path}
