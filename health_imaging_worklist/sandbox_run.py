# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rendering of parsed templates, bounded in size and work."""
import ast
import datetime
import re
from decimal import Decimal

from .sandbox_grammar import (
    DATE_FIELDS, DATE_METHODS, STRING_METHODS, Output, SandboxError, Text)
from .sandbox_values import Trusted, View, tame

MAX_OUTPUT = 256 * 1024
MAX_STRING = 16 * 1024
MAX_STEPS = 50_000

_STRFTIME = re.compile(r'(?:[^%]|%[aAbBdHIjmMpSyYzZfUwW%])*')

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


class Run:
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
            if isinstance(item, Text):
                self.write(item.text)
            elif isinstance(item, Output):
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
        if tame(text, trusted) != text:
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
