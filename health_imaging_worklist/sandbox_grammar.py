# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
The grammar of worklist templates: what may stand in one.

Each expression is parsed by :mod:`ast` and checked node by node against
:data:`NODES`; what is not named here is refused before anything is rendered.
"""
import ast
import re
from bisect import bisect_right
from collections import namedtuple

MAX_EXPRESSION = 500
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

Text = namedtuple('Text', 'text')
Output = namedtuple('Output', 'line source node')
Block = namedtuple('Block', 'line word names node body')


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


def parse(source):
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
    return Block(line, word, names, node, [])


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
            result.append(Text(''.join(pending)))
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
                Output(at, code.strip(), _expression(at, code.strip())))
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


def paths(body, known, found):
    for item in body:
        if isinstance(item, Text):
            continue
        if item.node is not None:
            for node in ast.walk(item.node):
                found |= _path(node, known)
        if isinstance(item, Block):
            inner = dict(known)
            if item.word == 'for':
                # loops in loops may multiply them
                path = set(sorted(_path(item.node, known))[:MAX_PATHS])
                names = item.names
                inner.update(dict.fromkeys(
                        [names] if isinstance(names, str) else names, path))
            paths(item.body, inner, found)


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
