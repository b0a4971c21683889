"""The guard of templates: it puts the sandbox's own functions where Python's would be.

Those are filters of the sandbox (`jinja_sandbox`), under names that no template can
write: one that took steps itself could give some back.
"""

from __future__ import annotations

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

STEP, CONCAT, PLAIN = "step!", "concat!", "plain!"


class Guard(NodeTransformer):
    """Puts the sandbox's own functions where a template would use Python's."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        step = _filter(nodes.Const(_cost(node)), STEP)
        if node.test is not None:
            node.test = nodes.And(step, node.test, lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        step = _filter(nodes.Const(_cost(node)), STEP)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), CONCAT)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if all(operand.op in ("eq", "ne", "in", "notin") for operand in node.ops):
            node.expr = _filter(node.expr, PLAIN)
            for operand in node.ops:
                operand.expr = _filter(operand.expr, PLAIN)
        return node


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno or 1)


def _cost(node: nodes.Node) -> int:
    """Return what one turn of a loop costs: its parts, and what it writes."""
    data = sum(len(part.data) for part in node.find_all(nodes.TemplateData))
    return 1 + sum(1 for _ in node.find_all(nodes.Node)) + data // 16
