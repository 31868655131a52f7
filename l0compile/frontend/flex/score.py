"""The form of a ``score_mod``: what the attention kernels compute themselves, or the reason why they cannot."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx

from l0compile.frontend.flex.distance import by_distance
from l0compile.frontend.flex.mod import Mod

aten = torch.ops.aten
_SUMS = {aten.add.Tensor: 1.0, aten.add.Scalar: 1.0, aten.sub.Tensor: -1.0, aten.sub.Scalar: -1.0}
_PRODUCTS = (aten.mul.Tensor, aten.mul.Scalar)
_QUOTIENTS = (aten.div.Tensor, aten.div.Scalar)


@dataclass(frozen=True, eq=False)
class ScoreForm:
    """core + sum of factor * term where ``live`` holds, else -inf; core: score * scale, or soft-capped.

    Attributes:
        scale: factor on the score.
        softcap: the core is softcap * tanh(score * scale / softcap); 0: score * scale.
        terms: (factor, function of head and distance) of each summand.
        live: conditions on the place, all of which must hold.
        reason: why the function has no such form; empty if it has.
    """

    scale: float = 1.0
    softcap: float = 0.0
    terms: tuple[tuple[float, Mod], ...] = ()
    live: tuple[Mod, ...] = ()
    reason: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether nothing but a factor happens to the score."""
        return not self.softcap and not self.terms


def read_score(mod: Mod, value: Callable[[Any], Any]) -> ScoreForm:
    """Find the form of a score_mod, by its traced graph alone: every step is proven, none is sampled.

    Args:
        mod: the score_mod.
        value: value of a buffer that is known while compiling, None for others.
    """
    if "score" not in mod.reads():
        return ScoreForm(reason="its score_mod does not depend on the score")
    return _Reader(mod, value).read()


@dataclass
class _Reader:
    """Walks from the result of a score_mod to the score."""

    mod: Mod
    value: Callable[[Any], Any]
    form: ScoreForm = field(default_factory=ScoreForm)
    factor: float = 1.0

    def read(self) -> ScoreForm:
        node = self._conditions(self.mod.result)
        node = self._linear(node, terms=True)
        if _is(node, aten.tanh.default):
            # factor * tanh(scale * s) is the soft-cap of |factor|, whose scale is then factor * scale.
            cap, self.factor = self.factor, 1.0
            inner = self._linear(node.args[0], terms=False)
            if cap and self._is_score(inner):
                return replace(self.form, softcap=abs(cap), scale=self.factor * cap)
            return self._refused(inner)
        if not self._is_score(node):
            return self._refused(node)
        return replace(self.form, scale=self.factor)

    def _conditions(self, node: Any) -> Any:
        """Peel ``where(condition, x, -inf)`` off."""
        while True:
            args: Any = node.args
            if _is(node, aten.where.self, aten.where.ScalarOther) and self._number(args[2]) == -math.inf:
                condition, inner = args[0], args[1]
            elif _is(node, aten.masked_fill.Scalar, aten.masked_fill.Tensor) and (
                self._number(args[2]) == -math.inf
            ):
                condition, inner = None, args[0]
            else:
                return node
            if "score" in self.mod.reads(condition if condition is not None else args[1]):
                return node
            live = (
                self.mod.part(condition)
                if condition is not None
                else self.mod.part(args[1]).then(aten.logical_not.default)
            )
            self.form = replace(self.form, live=(*self.form.live, live))
            node = inner

    def _linear(self, node: Any, terms: bool) -> Any:
        """Peel factors, and with ``terms`` summands, off."""
        while isinstance(node, fx.Node) and node.op == "call_function":
            args: Any = node.args
            if node.target in _SUMS and terms and not node.kwargs:
                following = self._sum(node)
            elif node.target in _PRODUCTS and (right := self._number(args[1])) is not None:
                self.factor, following = self.factor * right, args[0]
            elif node.target in _PRODUCTS and (left := self._number(args[0])) is not None:
                self.factor, following = self.factor * left, args[1]
            elif node.target in _QUOTIENTS and not node.kwargs and (divisor := self._number(args[1])):
                self.factor, following = self.factor / divisor, args[0]
            elif node.target is aten.neg.default:
                self.factor, following = -self.factor, args[0]
            else:
                return node
            if following is None:
                return node
            node = following
        return node

    def _sum(self, node: fx.Node) -> Any:
        """Note the summand that does not depend on the score; give the other one, None if this is no such sum."""
        left, right = node.args[:2]
        sign = _SUMS[node.target]
        if self._has_score(left) and not self._has_score(right):
            inner, term, factor, outer = left, right, sign * self.factor, self.factor
        elif self._has_score(right) and not self._has_score(left):
            inner, term, factor, outer = right, left, self.factor, sign * self.factor
        else:
            return None
        if isinstance(term, fx.Node):
            if not by_distance(self.mod, term):
                return None
            self.form = replace(self.form, terms=(*self.form.terms, (factor, self.mod.part(term))))
        # A number that is added to all scores of a query changes no softmax, but it does change its normalizer.
        elif term:
            return None
        self.factor = outer
        return inner

    def _has_score(self, argument: Any) -> bool:
        return isinstance(argument, fx.Node) and "score" in self.mod.reads(argument)

    def _is_score(self, node: Any) -> bool:
        return isinstance(node, fx.Node) and self.mod.inputs.get(node) == "score"

    def _number(self, argument: Any) -> float | None:
        """A number, or the value of a node that depends on constants alone."""
        if not isinstance(argument, fx.Node):
            return float(argument) if isinstance(argument, int | float) else None
        if self.mod.reads(argument) & set(self.mod.names):
            return None
        part = self.mod.part(argument)
        buffers = part.known_buffers(self.value)
        if buffers is None:
            return None
        found = part(*(0 for _ in part.names), *buffers)
        return float(found) if isinstance(found, torch.Tensor) and found.ndim == 0 else None

    def _refused(self, node: Any) -> ScoreForm:
        name = getattr(node, "target", node)
        return ScoreForm(
            reason=f"its score_mod does more than scale, soft-cap and add what depends on head and distance: {name}"
        )


def _is(node: Any, *targets: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets
