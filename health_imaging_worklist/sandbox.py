# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Worklist templates: Genshi's new text syntax, reduced to an allow-list.

The syntax is that of Genshi's ``NewTextTemplate``.  Nothing of a template is
ever compiled to Python code: each expression is parsed by :mod:`ast`, checked
node by node against :data:`NODES` and then interpreted here, so what this
file does not name cannot happen.  Size and work are bounded.

This file imports nothing of Tryton.
"""
import ast
import datetime
import json
import re
from bisect import bisect_right
from collections import namedtuple
from decimal import Decimal

__all__ = [
    'ESCAPES', 'Rendered', 'SandboxError', 'Template', 'Trusted', 'View',
    'escape_dump', 'escape_json']

MAX_SOURCE = 64 * 1024
MAX_EXPRESSION = 500
MAX_OUTPUT = 256 * 1024
MAX_STRING = 16 * 1024
MAX_STEPS = 50_000
MAX_DEPTH = 20
MAX_NESTING = 50
MAX_PATHS = 100

DIRECTIVES = {'if', 'for', 'choose', 'when', 'otherwise', 'end'}
FUNCTIONS = {'defined', 'int', 'len', 'str', 'value_of'}
STRING_METHODS = {
    'capitalize', 'endswith', 'isalpha', 'isdigit', 'lower', 'lstrip',
    'replace', 'rstrip', 'split', 'startswith', 'strip', 'title', 'upper',
    'zfill'}
DATE_METHODS = {'date', 'isoformat', 'strftime', 'time'}
DATE_FIELDS = {
    'year', 'month', 'day', 'hour', 'minute', 'second', 'microsecond'}
NODES = {
    ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Attribute,
    ast.Subscript, ast.Slice, ast.Call, ast.Compare, ast.BoolOp, ast.UnaryOp,
    ast.BinOp, ast.IfExp, ast.List, ast.Tuple, ast.And, ast.Or, ast.Not,
    ast.USub, ast.Add, ast.Sub, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt,
    ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot}

_TAG = re.compile(r'(?<!\\)\{(?:%\s*(?P<word>\w+)|#)')
_ESCAPED = re.compile(r'\\(\r?\n|\\|\{%|\{#)')
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_.]*')
_LITERAL = re.compile(
    r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""", re.DOTALL)
_FOR = re.compile(r'(?P<names>[\w\s,()]+?)\s+in\s+(?P<value>.+)', re.DOTALL)
_STRFTIME = re.compile(r'(?:[^%]|%[aAbBdHIjmMpSyYzZfUwW%])*')
# C0 and C1 controls, the line separators of Unicode and what is no character:
# no DICOM text that a worklist carries may hold them
CONTROL = '\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff'
_CONTROL = re.compile('[%s]+' % CONTROL)

Rendered = namedtuple('Rendered', 'text replaced')
Rendered.__doc__ = """\
The outcome of a rendering: `text`, and in `replaced` the (line, expression)
of each value in which a character had to be replaced to keep the text whole.
"""


class SandboxError(ValueError):
    """
    A template that is refused, or that failed while it was rendered.

    Attributes
    ----------
    line : int
        Line of the template, counted from 1.
    code : str
        What is wrong: the caller owns the sentence for each code.
    detail : str
        The word or expression the code is about.
    """

    def __init__(self, line, code, detail=''):
        super().__init__('line %s: %s: %s' % (line, code, detail))
        self.line = line
        self.code = code
        self.detail = str(detail)[:120]


class Trusted(str):
    """A value that may hold several values parted by backslashes."""


class View:
    """
    The only kind of object whose attributes a template may read.

    Subclasses implement :meth:`field`.
    """

    def field(self, name):
        """Return the value of a field; raise KeyError if there is none."""
        raise KeyError(name)


def _tame(text, trusted):
    # a backslash is DICOM's separator of values and has no escape
    tamed = _CONTROL.sub(' ', text)
    if not trusted:
        tamed = tamed.replace('\\', '/')
    return tamed


def escape_dump(text, trusted=False):
    """
    Make a value safe between the brackets of a dump2dcm line.

    The value ends at the last bracket of its line (dump2dcm's manual, rule
    6), so brackets are kept; line breaks become spaces and backslashes,
    unless `trusted`, slashes.
    """
    return _tame(text, trusted)


def escape_json(text, trusted=False):
    """Make a value safe inside the quotes of a JSON string."""
    return json.dumps(_tame(text, trusted), ensure_ascii=False)[1:-1]


ESCAPES = {'dump2dcm': escape_dump, 'json': escape_json}

_Text = namedtuple('_Text', 'text')
_Output = namedtuple('_Output', 'line source node')
_Block = namedtuple('_Block', 'line word names node body')


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
        self.body = _parse(source)

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
        run = _Run(values, escape or (lambda text, trusted: text))
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
        _paths(self.body, {name: {()}}, found)
        return {'.'.join(path) for path in found if path}


# Parsing

def _tags(source):
    """Yield start, end, word and rest of directives; comments have no word.

    A regular expression for all of it would look for each missing end anew.
    """
    unclosed = set()
    match = _TAG.search(source)
    while match:
        kind = source[match.start() + 1]
        position = match.end()
        stop = -1 if kind in unclosed else source.find(kind + '}', position)
        if stop < 0:
            unclosed.add(kind)
        else:
            word, rest = match['word'], source[position:stop].strip()
            position = stop + 2
            yield match.start(), position, word, rest
        match = _TAG.search(source, position)


def _parse(source):
    root = []
    stack = [(None, root)]
    offset = 0
    for start, end, word, rest in _tags(source):
        body = stack[-1][1]
        body.extend(_texts(source, offset, start))
        offset = end
        if word is None:
            continue
        line = source.count('\n', 0, start) + 1
        if word not in DIRECTIVES:
            raise SandboxError(line, 'directive', word)
        if word == 'end':
            if len(stack) == 1:
                raise SandboxError(line, 'end', word)
            stack.pop()
            continue
        block = _block(line, word, rest, stack)
        body.append(block)
        stack.append((block, block.body))
        if len(stack) > MAX_DEPTH:
            raise SandboxError(line, 'depth', MAX_DEPTH)
    stack[-1][1].extend(_texts(source, offset, len(source)))
    if len(stack) > 1:
        block = stack[-1][0]
        raise SandboxError(block.line, 'open', block.word)
    return root


def _block(line, word, rest, stack):
    names = node = None
    if len(rest) > MAX_EXPRESSION:
        raise SandboxError(line, 'expression_length', MAX_EXPRESSION)
    if word in {'when', 'otherwise'}:
        choose = next((
                b for b, _ in reversed(stack)
                if b is not None and b.word == 'choose'), None)
        if choose is None:
            raise SandboxError(line, 'choose', word)
        if word == 'when' and not rest and choose.node is None:
            raise SandboxError(line, 'test', word)
    if word == 'for':
        match = _FOR.fullmatch(rest)
        if not match:
            raise SandboxError(line, 'for', rest)
        names = [
            n.strip() for n in match.group('names').strip('() ').split(',')
            if n.strip()]
        for name in names:
            if not name.isidentifier() or name.startswith('_'):
                raise SandboxError(line, 'name', name)
        if not names:
            raise SandboxError(line, 'for', rest)
        if ',' not in match.group('names'):
            names, = names
        node = _expression(line, match.group('value'))
    elif word == 'if' and not rest:
        raise SandboxError(line, 'test', word)
    elif word != 'otherwise' and rest:
        node = _expression(line, rest)
    return _Block(line, word, names, node, [])


def _texts(source, start, end):
    """Split a piece without directives into text and expressions."""
    # The escapes go first, as Genshi does; lines are counted in the source.
    parts, joined, offset, size = [], [], start, 0
    for match in _ESCAPED.finditer(source, start, end):
        parts.append(source[offset:match.start()])
        size += match.start() - offset
        kept = match.group(1)
        if kept.endswith('\n'):
            joined.append(size)
        else:
            parts.append(kept)
            size += len(kept)
        offset = match.end()
    parts.append(source[offset:end])
    text = ''.join(parts)
    line = source.count('\n', 0, start) + 1

    def line_at(position):
        return (line + text.count('\n', 0, position)
            + bisect_right(joined, position))

    result, pending, position = [], [], 0

    def flush():
        if any(pending):
            result.append(_Text(''.join(pending)))
        pending.clear()

    while True:
        dollar = text.find('$', position)
        if dollar < 0 or dollar == len(text) - 1:
            pending.append(text[position:])
            break
        pending.append(text[position:dollar])
        name = _NAME.match(text, dollar + 1)
        if text[dollar + 1] == '{':
            stop = _closing(text, dollar + 2)
            if stop is None:
                raise SandboxError(line_at(dollar), 'brace', '${')
            code = text[dollar + 2:stop]
            position = stop + 1
        elif name:
            code = name.group()
            position = name.end()
        else:
            pending.append('$')
            position = dollar + (2 if text[dollar + 1] == '$' else 1)
            continue
        flush()
        at = line_at(dollar)
        if code.strip():
            result.append(
                _Output(at, code.strip(), _expression(at, code.strip())))
        else:
            raise SandboxError(at, 'syntax', '${}')
    flush()
    return result


def _closing(text, position):
    level = 1
    while position < len(text):
        char = text[position]
        if char in '\'"':
            literal = _LITERAL.match(text, position)
            if not literal:
                return None
            position = literal.end()
            continue
        if char == '{':
            level += 1
        elif char == '}':
            level -= 1
            if not level:
                return position
        position += 1
    return None


def _expression(line, code):
    if len(code) > MAX_EXPRESSION:
        raise SandboxError(line, 'expression_length', MAX_EXPRESSION)
    try:
        tree = ast.parse(code, mode='eval')
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise SandboxError(line, 'syntax', code) from e
    level = [tree]
    for _ in range(MAX_NESTING):
        for node in level:
            _check(line, node)
        level = [c for n in level for c in ast.iter_child_nodes(n)]
        if not level:
            return tree.body
    raise SandboxError(line, 'depth', MAX_NESTING)


def _check(line, node):
    if type(node) not in NODES:
        raise SandboxError(line, 'expression', type(node).__name__)
    if isinstance(node, ast.Name) and node.id.startswith('_'):
        raise SandboxError(line, 'name', node.id)
    elif isinstance(node, ast.Attribute) and node.attr.startswith('_'):
        raise SandboxError(line, 'name', node.attr)
    elif isinstance(node, ast.Constant):
        if not isinstance(node.value, (str, int, float, type(None))):
            raise SandboxError(
                line, 'expression', type(node.value).__name__)
    elif isinstance(node, ast.Slice) and node.step is not None:
        raise SandboxError(line, 'expression', 'Slice')
    elif isinstance(node, ast.Call):
        if node.keywords:
            raise SandboxError(line, 'expression', 'keyword')
        func = node.func
        if isinstance(func, ast.Name):
            if func.id not in FUNCTIONS:
                raise SandboxError(line, 'call', func.id)
        elif isinstance(func, ast.Attribute):
            if func.attr not in STRING_METHODS | DATE_METHODS:
                raise SandboxError(line, 'call', func.attr)
        else:
            raise SandboxError(line, 'call', type(func).__name__)


def _paths(body, known, found):
    for item in body:
        if isinstance(item, _Text):
            continue
        if item.node is not None:
            for node in ast.walk(item.node):
                found |= _path(node, known)
        if isinstance(item, _Block):
            inner = dict(known)
            if item.word == 'for':
                # loops in loops may multiply them
                path = set(sorted(_path(item.node, known))[:MAX_PATHS])
                names = item.names
                inner.update(dict.fromkeys(
                        [names] if isinstance(names, str) else names, path))
            _paths(item.body, inner, found)


def _path(node, known):
    """Return the attributes that may lead from a known name to the node."""
    if isinstance(node, ast.Name):
        return known.get(node.id, set())
    if isinstance(node, ast.Attribute):
        return {(*path, node.attr) for path in _path(node.value, known)}
    if isinstance(node, ast.Subscript):
        parts = [node.value]
    elif isinstance(node, ast.IfExp):
        parts = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, (ast.List, ast.Tuple)):
        parts = node.elts
    elif (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            and node.func.id == 'value_of'):
        # whatever name is computed
        return set().union(*known.values(), *(
                _path(a, known) for a in node.args))
    else:
        parts = []
    return set().union(*(_path(part, known) for part in parts))


# Rendering

_PLAIN = (str, int, float, bool, type(None), Decimal, datetime.date,
    datetime.time, datetime.timedelta, list, tuple, dict, View)

_COMPARE = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b,
    ast.IsNot: lambda a, b: a is not b,
    }


class _Run:
    """One rendering: variables, budget and output."""

    def __init__(self, values, escape):
        self.scopes = [values]
        self.escape = escape
        self.choices = []
        self.steps = MAX_STEPS
        self.size = 0
        self.parts = []
        self.replaced = []
        self.line = 1

    def fail(self, code, detail=''):
        raise SandboxError(self.line, code, detail)

    def spend(self, steps=1):
        self.steps -= steps
        if self.steps < 0:
            self.fail('too_much', MAX_STEPS)

    def weigh(self, value):
        """Spend a step for each element, those of elements, too.

        What compares and copies lists goes through all of them.
        """
        if isinstance(value, (list, tuple)):
            self.spend(len(value))
            for element in value:
                self.weigh(element)
        return value

    # blocks

    def blocks(self, body):
        for item in body:
            self.spend()
            if isinstance(item, _Text):
                self.write(item.text)
            elif isinstance(item, _Output):
                self.line = item.line
                self.output(item)
            else:
                self.line = item.line
                getattr(self, 'block_' + item.word)(item)

    def write(self, text):
        self.size += len(text)
        if self.size > MAX_OUTPUT:
            self.fail('too_large', MAX_OUTPUT)
        self.parts.append(text)

    def output(self, item):
        value = self.eval(item.node)
        text = self.text(value)
        trusted = isinstance(value, Trusted)
        if _tame(text, trusted) != text:
            self.replaced.append((item.line, item.source))
        self.write(self.escape(text, trusted))

    def block_if(self, block):
        if self.eval(block.node):
            self.blocks(block.body)

    def block_for(self, block):
        values = self.eval(block.node)
        if values is None:
            return
        if not isinstance(values, (list, tuple)):
            self.fail('loop', type(values).__name__)
        for value in values:
            self.spend()
            if isinstance(block.names, str):
                scope = {block.names: value}
            else:
                if (not isinstance(value, (list, tuple))
                        or len(value) != len(block.names)):
                    self.fail('loop', ', '.join(block.names))
                scope = dict(zip(block.names, value))
            self.scopes.append(scope)
            self.blocks(block.body)
            self.scopes.pop()

    def block_choose(self, block):
        given = block.node is not None
        value = self.eval(block.node) if given else None
        self.choices.append([False, given, value])
        self.blocks(block.body)
        self.choices.pop()

    def block_when(self, block):
        choice = self.choices[-1]
        if choice[0]:
            return
        if block.node is None:
            matched = bool(choice[2])
        elif choice[1]:
            matched = self.weigh(choice[2]) == self.weigh(
                self.eval(block.node))
        else:
            matched = bool(self.eval(block.node))
        if matched:
            choice[0] = True
            self.blocks(block.body)

    def block_otherwise(self, block):
        choice = self.choices[-1]
        if not choice[0]:
            choice[0] = True
            self.blocks(block.body)

    # expressions

    def eval(self, node):
        self.spend()
        try:
            value = getattr(self, 'eval_' + type(node).__name__)(node)
        except (TypeError, ValueError, OverflowError, ArithmeticError,
                LookupError) as e:
            if isinstance(e, SandboxError):
                raise
            self.fail('failed', e)
        if not isinstance(value, _PLAIN):
            self.fail('type', type(value).__name__)
        if isinstance(value, str):
            if len(value) > MAX_STRING:
                self.fail('too_large', MAX_STRING)
            self.spend(len(value) // 256)
        return value

    def text(self, value):
        if value is None:
            return ''
        if isinstance(value, View):
            value = value.field('rec_name')
        if isinstance(value, (list, tuple, dict, View)):
            self.fail('print', type(value).__name__)
        return str(value)

    def lookup(self, name):
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        self.fail('unknown', name)

    def eval_Constant(self, node):
        return node.value

    def eval_Name(self, node):
        return self.lookup(node.id)

    def eval_List(self, node):
        return self.weigh([self.eval(n) for n in node.elts])

    def eval_Tuple(self, node):
        return self.weigh(tuple(self.eval(n) for n in node.elts))

    def eval_Attribute(self, node):
        value = self.eval(node.value)
        name = node.attr
        if isinstance(value, View):
            self.spend(10)
            try:
                result = value.field(name)
            except KeyError:
                self.fail('field', name)
            if isinstance(result, list):
                self.spend(len(result))
            return result
        if isinstance(value, dict):
            if name in value:
                return value[name]
        elif (isinstance(value, (datetime.date, datetime.time))
                and name in DATE_FIELDS and hasattr(value, name)):
            return getattr(value, name)
        self.fail('field', name)

    def eval_Subscript(self, node):
        value = self.eval(node.value)
        if not isinstance(value, (str, list, tuple, dict)):
            self.fail('type', type(value).__name__)
        if isinstance(node.slice, ast.Slice):
            low, high = (
                None if n is None else self.eval(n)
                for n in (node.slice.lower, node.slice.upper))
            return value[low:high]
        index = self.eval(node.slice)
        if not isinstance(index, (str, int)):
            self.fail('type', type(index).__name__)
        return value[index]

    def eval_BoolOp(self, node):
        value = None
        for operand in node.values:
            value = self.eval(operand)
            if bool(value) == isinstance(node.op, ast.Or):
                break
        return value

    def eval_UnaryOp(self, node):
        value = self.eval(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        return -value

    def eval_BinOp(self, node):
        left, right = self.eval(node.left), self.eval(node.right)
        if isinstance(left, (list, tuple)):
            self.fail('type', type(left).__name__)
        if isinstance(node.op, ast.Add):
            return left + right
        return left - right

    def eval_Compare(self, node):
        left = self.weigh(self.eval(node.left))
        for operator, comparator in zip(node.ops, node.comparators):
            right = self.weigh(self.eval(comparator))
            if not _COMPARE[type(operator)](left, right):
                return False
            left = right
        return True

    def eval_IfExp(self, node):
        return self.eval(node.body if self.eval(node.test) else node.orelse)

    def eval_Call(self, node):
        func = node.func
        if isinstance(func, ast.Name):
            return self.function(func.id, node.args)
        value = self.eval(func.value)
        args = [self.eval(a) for a in node.args]
        name = func.attr
        if isinstance(value, str) and name in STRING_METHODS:
            return self.string_method(value, name, args)
        if (isinstance(value, (datetime.date, datetime.time))
                and name in DATE_METHODS and hasattr(value, name)):
            if name == 'strftime':
                format_, = args
                if (not isinstance(format_, str) or len(format_) > 100
                        or not _STRFTIME.fullmatch(format_)):
                    self.fail('call', name)
            elif args:
                self.fail('call', name)
            return getattr(value, name)(*args)
        self.fail('call', name)

    def string_method(self, value, name, args):
        if name == 'replace':
            old, new, *count = args
            if len(value) + value.count(old) * len(new) > MAX_STRING:
                self.fail('too_large', MAX_STRING)
        elif name == 'zfill':
            width, = args
            if width > 64:
                self.fail('too_large', 64)
        return getattr(str, name)(str(value), *args)

    def function(self, name, args):
        if name in {'defined', 'value_of'}:
            variable = self.eval(args[0]) if args else None
            if not isinstance(variable, str):
                self.fail('type', type(variable).__name__)
            known = any(variable in s for s in self.scopes)
            if name == 'defined':
                return known
            if known:
                return self.lookup(variable)
            return self.eval(args[1]) if len(args) > 1 else None
        if len(args) != 1:
            self.fail('call', name)
        value = self.eval(args[0])
        if name == 'len':
            if not isinstance(value, (str, list, tuple, dict)):
                self.fail('type', type(value).__name__)
            return len(value)
        if name == 'int':
            if not isinstance(value, (str, int, float, Decimal)):
                self.fail('type', type(value).__name__)
            return int(value)
        return self.text(value)
