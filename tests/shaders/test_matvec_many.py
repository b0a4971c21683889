"""matvec_many against the oracle: one to three matrices, inputs given and made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.gguf.types import TYPES
from pyodide_app.graph.kernels_matrices import FOUR
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Residual, Splits, Tensor
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Array, Matrix, bench, close_sums, matrix
from tests.shaders.streams import EPS, ODD, TURNS, Stream, kernels_of
from tests.support.compare import close
from tests.support.gpu import Bench, random_input


def widths(type_name: str) -> tuple[int, ...]:
    """Return row lengths that this kernel takes: multiples of four."""
    lengths = matrices.widths(type_name)
    return (36, 704) if type_name in matrices.FLOATS else (lengths[0], lengths[-1])


def mixed(type_name: str, n: int, dim: int, rows: Sequence[int]) -> list[Matrix]:
    """Return n matrices: the first of the type, the others of types that fit."""
    fitting = [kind.name for kind in TYPES if dim % kind.block_size == 0]
    begin = fitting.index(type_name)
    names = [fitting[(begin + i) % len(fitting)] for i in (0, 2, 5)]
    return [matrix(names[i], rows[i], dim, seed=i) for i in range(n)]


def check_rows(
    got: Sequence[Array], found: list[Matrix], h: Array, bound: Array
) -> None:
    """Compare the products with the oracle's."""
    expected = oracle.matvec_many(h, [m.values for m in found])
    bounds = oracle.matvec_many(bound, [np.abs(m.values) for m in found])
    for y, z, magnitude in zip(got, expected, bounds, strict=True):
        close_sums("matvec_many", y, z, magnitude)


def check_stream(on: Bench, stream: Stream, found: list[Matrix]) -> list[Array]:
    """Multiply the norm of a stream; compare it, and the stream that is written."""
    placed = [m.place(on) for m in found]

    def record(ops):
        x, h = stream.norm(ops)
        products = ops.linears(h, placed)
        assert kernels_of(ops) == ["matvec_many"]
        return [x.tensor, *products]

    total, *products = on.run(record)
    close("add_norm", total, stream.total)
    check_rows(products, found, stream.h, stream.magnitude)
    return [total, *products]


@pytest.mark.parametrize("type_name", matrices.LAYOUTS)
def test_multiplies_a_given_vector(type_name: str) -> None:
    with bench(SOFTWARE) as on:
        for n, dim in ((1, widths(type_name)[0]), (3, widths(type_name)[1])):
            found = mixed(type_name, n, dim, (9, 3, 1))
            x = random_input(1, 1, dim)
            placed = [m.place(on) for m in found]
            products = on.run(
                lambda ops, p=placed, v=x: ops.matvec_many(ops.row(on.tensor(v)), p)
            )
            check_rows(products, found, x.astype(np.float64), np.abs(x))


@pytest.mark.parametrize("type_name", matrices.LAYOUTS)
def test_adds_a_branch_and_norms_the_sum(type_name: str) -> None:
    with bench(HARDWARE) as on:
        for n, dim in enumerate(widths(type_name), 2):
            check_stream(on, Stream(on, dim), mixed(type_name, n, dim, (49, 16, 1)))


@pytest.mark.parametrize("tune", [ODD, TURNS], ids=["odd", "turns"])
@pytest.mark.parametrize("type_name", ["F32", "Q4_K", "Q6_K", "MXFP4"])
def test_workgroups_of_any_shape(type_name: str, tune: Tuning) -> None:
    with bench(tune) as on:
        dim = widths(type_name)[-1]
        at_once = FOUR * tune.fold_rows
        rows = (3 * at_once + 1, at_once, 1)
        check_stream(on, Stream(on, dim), mixed(type_name, 3, dim, rows))


@pytest.mark.parametrize(
    ("branch", "branch_normed", "scaled", "normed"),
    [
        (True, True, True, True),
        (True, True, True, False),
        (True, True, False, True),
        (True, True, False, False),
        (True, False, True, True),
        (True, False, False, True),
        (True, False, False, False),
        (False, False, False, True),
    ],
)
def test_each_part_of_a_stream_is_optional(
    branch: bool, branch_normed: bool, scaled: bool, normed: bool
) -> None:
    with bench(ODD) as on:
        stream = Stream(
            on,
            704,
            branch=branch,
            branch_normed=branch_normed,
            scaled=scaled,
            normed=normed,
        )
        check_stream(on, stream, mixed("Q8_0", 2, 704, (20, 4)))


def test_caps_the_results() -> None:
    weights = matrix("Q4_K", 70, 512)
    for tune in (SOFTWARE, HARDWARE):
        with bench(tune) as on:
            stream, placed = Stream(on, 512), weights.place(on)

            def record(ops, stream=stream, placed=placed):
                y = ops.linear(stream.norm(ops)[1], placed, cap=30.0)
                assert kernels_of(ops)[-1] == "matvec_many"
                return y

            (y,) = on.run(record)
            (expected,) = oracle.matvec_many(stream.h, [weights.values], 30.0)
            magnitude = oracle.matvec(stream.magnitude, np.abs(weights.values))
            assert np.abs(expected).max() > 15  # where the cap tells
            close_sums("matvec_many", y, expected, magnitude)


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 2 * 128 + 5])
def test_workgroups_take_turns_and_keep_to_one_matrix(rows: int) -> None:
    with bench(TURNS) as on:
        found = [matrix("Q8_0", n, 64, seed=n) for n in (rows, 2 * rows, 7)]
        check_stream(on, Stream(on, 64), found)


def test_folds_more_workgroups_than_one_axis_holds() -> None:
    narrow = dataclasses.replace(ODD, lanes=1, fold_rows=1, fold_groups=1 << 20)
    with bench(narrow) as on:
        check_stream(
            on, Stream(on, 4), [matrix("F16", FOUR * n, 4) for n in (65530, 40, 3)]
        )


def test_norms_apart_what_no_workgroup_holds() -> None:
    dim, n_threads = 512, HARDWARE.lanes * HARDWARE.fold_rows
    fits = 4 * (dim + 9 * n_threads + 16)
    for spare, kernels in ((0, ["matvec_many"]), (-1, ["add_norm", "matvec_many"])):
        with bench(dataclasses.replace(HARDWARE, fold_bytes=fits + spare)) as on:
            stream, found = Stream(on, dim), mixed("Q4_K", 2, dim, (33, 5))
            placed = [m.place(on) for m in found]
            recorded = []

            def record(ops, stream=stream, placed=placed, recorded=recorded):
                x, h = stream.norm(ops)
                products = ops.linears(h, placed)
                recorded += kernels_of(ops)
                return [x.tensor, *products]

            total, *products = on.run(record)
            assert recorded == kernels
            close("add_norm", total, stream.total)
            check_rows(products, found, stream.h, stream.magnitude)


def test_what_reads_a_norm_apart_shares_it() -> None:
    weights = matrix("F32", 6, 8)
    with bench(SOFTWARE) as on:
        stream, placed = Stream(on, 8), weights.place(on)

        def record(ops):
            _, h = stream.norm(ops)
            first, second = ops.linears(h, [placed]), ops.linears(h, [placed])
            assert kernels_of(ops).count("add_norm") == 1
            return [*first, *second]

        first, second = on.run(record)
        assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("tune", [HARDWARE, ODD], ids=["gpu", "odd"])
@pytest.mark.parametrize(
    ("n_splits", "n_heads", "head_dim"), [(2, 1, 32), (16, 8, 64), (9, 2, 512)]
)
def test_merges_the_splits_of_attention(
    n_splits: int, n_heads: int, head_dim: int, tune: Tuning
) -> None:
    rng, shape = np.random.default_rng(3), (n_splits, n_heads)
    sums, highest = random_input(1, *shape, head_dim), random_input(2, *shape, scale=9)
    total = 1 + np.abs(random_input(3, *shape))
    empty = rng.random(shape) < 0.3
    empty[rng.integers(n_splits), :] = False
    sums[empty], highest[empty], total[empty] = np.nan, -3e38, 0.0
    stats = np.stack([highest, total], axis=-1)
    partials = np.concatenate([sums.reshape(-1), stats.reshape(-1)])
    dim = n_heads * head_dim
    weights = matrix("Q8_0", 37, dim)
    merged = oracle.attention_merge(sums.astype(np.float64), highest, total)
    with bench(tune) as on:
        placed = weights.place(on)

        def record(ops: Ops) -> Tensor:
            splits = Splits(on.tensor(partials), (1, dim), head_dim, n_splits)
            y = ops.linear(splits, placed)
            assert kernels_of(ops) == ["matvec_many"]
            return y

        (y,) = on.run(record)
    h = merged.reshape(1, dim)
    check_rows([y], [weights], h, np.abs(h))


def test_several_rows_are_normed_apart() -> None:
    weights, x = matrix("F16", 9, 12), random_input(1, 3, 12)
    with bench(HARDWARE) as on:
        placed, (norm,) = weights.place(on), on.vectors(random_input(2, 12))
        stream = Residual(on.tensor(x), EPS)

        def record(ops: Ops) -> Tensor:
            _, h = ops.norm(stream, norm)
            y = ops.linear(h, placed)
            assert kernels_of(ops) == ["rms_norm", "matmul"]
            return y

        (y,) = on.run(record)
        h = oracle.rms_norm(x.astype(np.float64), random_input(2, 12), EPS)
    check_rows([y], [weights], h, np.abs(h))


def test_divided_matrices_go_one_by_one() -> None:
    weights = matrix("Q8_0", 40, 64)
    with bench(HARDWARE) as on:
        stream, placed = Stream(on, 64), weights.place(on, 16 * 68)
        assert len(placed.parts) == 3

        def record(ops) -> list[Tensor]:
            x, h = stream.norm(ops)
            return [x.tensor, *ops.linears(h, [placed, placed])]

        total, first, second = on.run(record)
        close("add_norm", total, stream.total)
        check_rows([first, second], [weights, weights], stream.h, stream.magnitude)


def test_repeats_to_the_bit() -> None:
    with bench(HARDWARE) as on:
        stream, found = Stream(on, 2816), mixed("Q6_K", 3, 2816, (100, 40, 9))
        first, second = check_stream(on, stream, found), check_stream(on, stream, found)
    assert [a.tobytes() for a in first] == [a.tobytes() for a in second]
