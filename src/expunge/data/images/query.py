"""Questions to columns, such as `age <= 12 and person in [3, 17]`, answered without running any code."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from expunge.data.images.table import missing_column, typed
from expunge.errors import DataError

MAX_LENGTH = 10_000
"characters"
ALLOWED = "comparisons of columns with numbers or quoted text (== != < <= > >=, in, not in), and, or, not, parentheses"

_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def matching(expression: str, columns: Mapping[str, np.ndarray], source: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which rows match, (n,) bool, and the columns the expression uses.

    A row that lacks a number the expression asks for does not match, whatever it asks. Numbers and quoted numbers are
    equal: `label == 3` and `label == '3'` ask the same.

    Raises:
        DataError: not `ALLOWED`, a column that is not there, an order between text and numbers.
    """
    tree = _parse(expression)
    used = tuple(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))
    for name in used:
        if name not in columns:
            raise missing_column(name, list(columns), source)
    if not used:
        raise _refused(expression, "no column", "name a column, as in age <= 12")
    try:
        mask = _Answer(expression, columns).rows(tree)
    except RecursionError as error:
        raise _refused(expression[:60] + "...", "too deeply nested", "put the ids into a file, one a line") from error
    for name in used:
        if columns[name].dtype.kind == "f":
            mask = mask & ~np.isnan(columns[name])
    return mask, used


def ordered(expression: str) -> tuple[str, ...]:
    """The columns whose order the expression asks for, as `age <= 12` does: quantities, and no names."""
    found = []
    for node in ast.walk(_parse(expression)):
        if isinstance(node, ast.Compare) and any(type(op) in _ORDER for op in node.ops):
            found += [side.id for side in (node.left, *node.comparators) if isinstance(side, ast.Name)]
    return tuple(dict.fromkeys(found))


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise _refused(
            expression[:60] + "...", f"{len(expression):,} characters", "put the ids into a file, one a line"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        single = "=" in expression and not any(sign in expression for sign in ("==", "<=", ">=", "!="))
        step = "write == to compare" if single else "write it as in: age <= 12 and person in [3, 17]"
        reason = error.msg if isinstance(error, SyntaxError) else "too deeply nested, or a zero character"
        raise _refused(expression, f"{reason}{place}", step) from error


def _refused(expression: str, seen: str, step: str) -> DataError:
    return DataError(f"the query {expression!r} is not understood", seen=seen, allowed=ALLOWED, next_step=step)


class _Answer:
    """Rows that match a tree of an expression; what is not named here is refused."""

    def __init__(self, expression: str, columns: Mapping[str, np.ndarray]) -> None:
        self.expression, self.columns = expression, columns

    def rows(self, node: ast.expr) -> np.ndarray:
        if isinstance(node, ast.BoolOp):
            parts = [self.rows(value) for value in node.values]
            return np.logical_and.reduce(parts) if isinstance(node.op, ast.And) else np.logical_or.reduce(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.rows(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides, node.ops, sides[1:], strict=False)
            return np.logical_and.reduce([self.comparison(left, op, right) for left, op, right in pairs])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
            raise self.refuse(node, "write `and` and `or` for & and |")
        raise self.refuse(node, "compare a column with a value, as in age <= 12")

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> np.ndarray:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(left, ast.Name) or not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self.refuse(right, "write a column, in, and a list: person in [3, 17]")
            column = self.columns[left.id]
            found = np.zeros(len(column), bool)
            for element in right.elts:
                found |= _equal(column, self.constant(element))
            return ~found if isinstance(op, ast.NotIn) else found
        if not isinstance(left, ast.Name) and not isinstance(right, ast.Name):
            raise self.refuse(left, "name a column on one side of each comparison")
        values = [
            self.columns[side.id] if isinstance(side, ast.Name) else self.constant(side) for side in (left, right)
        ]
        if isinstance(op, ast.Eq | ast.NotEq):
            if not isinstance(values[0], np.ndarray):
                values.reverse()
            same = _equal(values[0], values[1])
            return ~same if isinstance(op, ast.NotEq) else same
        if type(op) not in _ORDER:
            raise self.refuse(left, "compare with == != < <= > >= in")
        if len({_is_text(value) for value in values}) > 1:
            name = next(side.id for side in (left, right) if isinstance(side, ast.Name))
            holds = "text" if _is_text(self.columns[name]) else "numbers"
            raise DataError(
                f"the query {self.expression!r} asks for an order between text and numbers",
                seen=f"the column {name!r} holds {holds}, such as {self.columns[name][:1].tolist()}",
                allowed=f"{holds} on the other side; or == and in",
            )
        return np.asarray(_ORDER[type(op)](values[0], values[1]))

    def constant(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self.constant(node.operand)
            if not isinstance(value, str):
                return -value
        raise self.refuse(node, "write a number or quoted text")

    def refuse(self, node: ast.AST, step: str) -> DataError:
        return _refused(self.expression, ast.unparse(node)[:80], step)


def _is_text(value: Any) -> bool:
    return value.dtype.kind == "U" if isinstance(value, np.ndarray) else isinstance(value, str)


def _equal(column: np.ndarray, value: Any) -> np.ndarray:
    """Rows where the column has the value; a number in quotes is a number where the column holds numbers."""
    if isinstance(value, np.ndarray):
        return (
            column.astype(np.str_) == value.astype(np.str_) if _is_text(column) != _is_text(value) else column == value
        )
    if _is_text(column):
        return np.asarray(column == str(value))
    if isinstance(value, str):
        number = typed([value])
        if number is None or _is_text(number):
            return np.zeros(len(column), bool)
        value = number[0]
    return np.asarray(column == value)
