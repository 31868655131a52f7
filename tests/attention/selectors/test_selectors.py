"""Each selector shows exactly the keys that its paper's rule, written out one score at a time, would keep."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from l0compile.attention.selectors import (
    AntidiagonalScores,
    ChipmunkColumns,
    DoubleSparsity,
    HashedScores,
    LowRankScores,
    PooledScores,
    RoutedScores,
    RowTopK,
    Selector,
)

HEADS, DIM, BLOCK = 2, 8, 4
Score = Callable[[Tensor, Tensor, int], float]
"""(queries of a block [n, D], keys of a block [m, D], head) -> score."""


def tokens(seed: int, queries: int, keys: int, kv: int = HEADS) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, queries, HEADS * DIM), torch.randn(2, keys, kv * DIM)


def heads_of(t: Tensor) -> Tensor:
    t = t.unflatten(-1, (-1, DIM)).transpose(1, 2)
    return t.repeat_interleave(HEADS // t.shape[1], 1)


def best_of(scores: dict[int, float], count: int) -> set[int]:
    return set(sorted(scores, key=lambda name: -scores[name])[: max(0, count)])


def by_blocks(q: Tensor, k: Tensor, topk: int, causal: bool, score: Score) -> Tensor:
    """The mask of the best blocks of each row; of its own block a query sees what is not after it."""
    queries, keys = q.shape[1], k.shape[1]
    first = keys - queries
    mask = torch.zeros(q.shape[0], HEADS, queries, keys, dtype=torch.bool)
    for b, h in ((b, h) for b in range(q.shape[0]) for h in range(HEADS)):
        qs, ks = heads_of(q)[b, h], heads_of(k)[b, h]
        for row in range(0, queries, BLOCK):
            own = range(first + row, first + min(row + BLOCK, queries))
            whole = [j for j in range(0, keys, BLOCK) if not causal or j + BLOCK <= own[0] + 1]
            partly = [
                j for j in range(0, keys, BLOCK) if causal and j not in whole and j <= first + row + BLOCK - 1
            ]
            scores = {j: score(qs[row : row + BLOCK], ks[j : j + BLOCK], h) for j in whole}
            for i in own:
                for j in best_of(scores, topk - len(partly)):
                    mask[b, h, i - first, j : j + BLOCK] = True
                for j in partly:
                    mask[b, h, i - first, j : max(j, min(j + BLOCK, i + 1))] = True
    return mask


def check(selector: Selector, q: Tensor, k: Tensor, expected: Tensor) -> None:
    got = selector(q, k, HEADS).to_mask(q.shape[1], k.shape[1])
    assert torch.equal(got, expected), (got != expected).nonzero()[:5]


SIZES = {
    "queries": st.integers(1, 25),
    "more": st.integers(0, 9),
    "topk": st.integers(1, 8),
    "causal": st.booleans(),
    "seed": st.integers(0, 99),
}


@given(**SIZES)
@settings(max_examples=30)
def test_pooled_scores(queries: int, more: int, topk: int, causal: bool, seed: int) -> None:
    q, k = tokens(seed, queries, queries + more, kv=1)
    expected = by_blocks(q, k, topk, causal, lambda a, b, h: float(a.double().mean(0) @ b.double().mean(0)))
    check(PooledScores(BLOCK, topk, causal), q, k, expected)


@given(**SIZES)
@settings(max_examples=30)
def test_keys_of_the_highest_scores(queries: int, more: int, topk: int, causal: bool, seed: int) -> None:
    """MESAN: the best keys of each query, found by sorting its scores."""
    q, k = tokens(seed, queries, queries + more)
    expected = torch.zeros(2, HEADS, queries, queries + more, dtype=torch.bool)
    for b, h, i in ((b, h, i) for b in range(2) for h in range(HEADS) for i in range(queries)):
        scores = heads_of(k)[b, h] @ heads_of(q)[b, h, i]
        seen = {j: float(scores[j]) for j in range(len(scores)) if not causal or j <= i + more}
        expected[b, h, i, list(best_of(seen, topk))] = True
    check(RowTopK(topk, causal=causal), q, k, expected)


@given(queries=st.integers(1, 30), more=st.integers(0, 9), topk=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_rows_of_several_queries_share_keys_and_see_their_own_blocks(
    queries: int, more: int, topk: int, seed: int
) -> None:
    q, k = tokens(seed, queries, queries + more)
    expected = torch.zeros(2, HEADS, queries, queries + more, dtype=torch.bool)
    for b, h, row in ((b, h, r) for b in range(2) for h in range(HEADS) for r in range(0, queries, 8)):
        mean = heads_of(q)[b, h, row : row + 8].double().mean(0)
        before = (row + more + 1) // BLOCK * BLOCK
        scores = {j: float(heads_of(k)[b, h, j].double() @ mean) for j in range(before)}
        for i in range(row, min(row + 8, queries)):
            expected[b, h, i, before : i + more + 1] = True
            expected[b, h, i, list(best_of(scores, topk))] = True
    check(RowTopK(topk, q_block=8, k_block=BLOCK), q, k, expected)


def test_double_sparsity_reads_the_channels_that_it_was_calibrated_for() -> None:
    q, k = tokens(1, 3, 40)
    k[..., 3] += 20.0  # the outlier of head 0
    selector = DoubleSparsity(HEADS, DIM, heavy_const=5, group_factor=4)
    selector.calibrate(heads_of(q), heads_of(k))
    assert 3 in selector.channels[0].tolist()
    expected = torch.zeros(2, HEADS, 3, 40, dtype=torch.bool)
    for b, h, i in ((b, h, i) for b in range(2) for h in range(HEADS) for i in range(3)):
        weight = {
            c: float((heads_of(q)[:, h, :, None, c] * heads_of(k)[:, h, None, :, c]).abs().mean())
            for c in range(DIM)
        }
        some = best_of(weight, 2)
        scores = {
            j: sum(float(heads_of(q)[b, h, i, c] * heads_of(k)[b, h, j, c]) for c in some)
            for j in range(i + 38)
        }
        expected[b, h, i, list(best_of(scores, 5))] = True
    check(selector, q, k, expected)


def test_low_rank_scores_learn_the_order_of_the_true_ones() -> None:
    torch.manual_seed(0)
    basis = torch.randn(HEADS, 2, DIM)  # queries and keys in two of eight dimensions
    q, k = (torch.randn(2, HEADS, 30, 2) @ basis for _ in range(2))
    selector = LowRankScores(HEADS, DIM, rank=2, topk=6, causal=False)
    truth = RowTopK(6, causal=False).choose(q, k).to_mask(30, 30)

    def agreement() -> float:
        return float((selector.choose(q, k).to_mask(30, 30) & truth).sum() / truth.sum())

    before = agreement()
    optimizer = torch.optim.Adam(selector.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        selector.imitation_loss(q, k).backward()
        optimizer.step()
    assert before < 0.6 and agreement() > 0.9


def test_low_rank_scores_are_products_of_projections() -> None:
    q, k = tokens(0, 20, 20)
    selector = LowRankScores(HEADS, DIM, rank=3, topk=4)
    expected = torch.zeros(2, HEADS, 20, 20, dtype=torch.bool)
    for b, h, i in ((b, h, i) for b in range(2) for h in range(HEADS) for i in range(20)):
        mixed = selector.to_q[h].detach() @ selector.to_k[h].detach().T
        scores = {j: float(heads_of(q)[b, h, i] @ mixed @ heads_of(k)[b, h, j]) for j in range(i + 1)}
        expected[b, h, i, list(best_of(scores, 4))] = True
    check(selector, q, k, expected)


@given(**SIZES)
@settings(max_examples=15)
def test_hashed_scores_count_pairs_in_one_bucket(
    queries: int, more: int, topk: int, causal: bool, seed: int
) -> None:
    q, k = tokens(seed, queries, queries + more)
    selector = HashedScores(DIM, 3, 6, BLOCK, topk, causal)

    def buckets(x: Tensor) -> list[list[int]]:
        turned = [[float(x @ r) for r in rotation.T] for rotation in selector.rotations]
        return [max(range(6), key=lambda c: (t + [-v for v in t])[c]) for t in turned]

    def score(a: Tensor, b: Tensor, h: int) -> float:
        return sum(
            x == y for s in map(buckets, a) for t in map(buckets, b) for x, y in zip(s, t, strict=True)
        )

    found = selector(q, k, HEADS).to_mask(queries, queries + more)
    check_scores(found, by_blocks(q, k, topk, causal, score), q, k, causal, score)


def check_scores(found: Tensor, expected: Tensor, q: Tensor, k: Tensor, causal: bool, score: Score) -> None:
    """Counts tie: as many keys are seen, and the scores of the blocks seen are the same."""
    assert torch.equal(found.sum(-1) > 0, expected.sum(-1) > 0)
    for b, h, row in ((b, h, r) for b in range(2) for h in range(HEADS) for r in range(0, q.shape[1], BLOCK)):
        values = [
            sorted(
                score(heads_of(q)[b, h, row : row + BLOCK], heads_of(k)[b, h, j : j + BLOCK], h)
                for j in range(0, k.shape[1], BLOCK)
                if bool(mask[b, h, row, j : j + BLOCK].all())
            )
            for mask in (found, expected)
        ]
        assert values[0] == values[1]


def test_routed_scores_follow_clusters_that_move_to_the_tokens() -> None:
    torch.manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(HEADS, 4, DIM), dim=-1) * 6
    member = torch.arange(64) // 4 % 4  # four tokens of a cluster, then four of the next
    q, k = (means[:, member].unsqueeze(0) + 0.1 * torch.randn(1, HEADS, 64, DIM) for _ in range(2))
    selector = RoutedScores(HEADS, DIM, 4, BLOCK, topk=4, causal=False)
    with torch.no_grad():
        selector.centroids.copy_(torch.nn.functional.normalize(means + 2 * torch.randn_like(means), dim=-1))
    for _ in range(20):
        selector.update(q, k, decay=0.5)
    truth = torch.nn.functional.normalize(means, dim=-1)
    nearest = (selector.centroids @ truth.transpose(-1, -2)).amax(-1)
    assert float(nearest.min()) > 0.99
    seen = selector.choose(q, k).to_mask(64, 64)
    assert torch.equal(seen[0, 0], member.unsqueeze(1) == member)


def test_chipmunk_takes_columns_for_chunks_and_some_more() -> None:
    q, k = tokens(5, 25, 25)
    program = ChipmunkColumns(topk=4, random=3, chunk=10)(q, k, HEADS)
    mask = program.to_mask(25, 25)
    for b, h, row in ((b, h, r) for b in range(2) for h in range(HEADS) for r in (0, 10, 20)):
        more = {4, 12, 20}  # the middles of thirds
        mean = heads_of(q)[b, h, row : row + 10].double().mean(0)
        scores = {j: float(heads_of(k)[b, h, j].double() @ mean) for j in range(25) if j not in more}
        assert set(mask[b, h, row].nonzero().flatten().tolist()) == more | best_of(scores, 4)
        assert (mask[b, h, row : row + 10] == mask[b, h, row]).all()


def square_shares(q: Tensor, k: Tensor, causal: bool) -> Tensor:
    """The attention of squares of two queries to squares of two keys, each as its antidiagonal has it."""
    squares = -(-len(q) // 2)
    shares = torch.zeros(squares, squares)
    for a in range(squares):
        seen = [c for c in range(squares) if not causal or c <= a]
        sums = []
        for c in seen:
            pairs = [(2 * a + 1, 2 * c), (2 * a, 2 * c + 1)]
            sums.append(sum(float(q[i] @ k[j]) for i, j in pairs if max(i, j) < len(q)))
        shares[a, seen] = (torch.tensor(sums) / math.sqrt(DIM) / 2).softmax(0)
    return shares


@given(
    queries=st.integers(1, 40),
    threshold=st.sampled_from([0.3, 0.8, 0.95]),
    causal=st.booleans(),
    cap=st.integers(1, 12),
)
@settings(max_examples=25)
def test_antidiagonal_scores(queries: int, threshold: float, causal: bool, cap: int) -> None:
    """XAttention with squares of 2 in blocks of 4: sums over squares, a softmax over them, the fewest blocks."""
    q, k = tokens(queries, queries, queries)
    selector = AntidiagonalScores(BLOCK, 2, threshold, cap, causal)
    found = selector(q, k, HEADS).to_mask(queries, queries)
    for b, h in ((b, h) for b in range(2) for h in range(HEADS)):
        shares = square_shares(heads_of(q)[b, h], heads_of(k)[b, h], causal)
        for row in range(0, queries, BLOCK):
            blocks = {
                j: float(shares[row // 2 : row // 2 + 2, j // 2 : j // 2 + 2].sum())
                for j in range(0, queries, BLOCK)
            }
            own = {row} if causal else set()
            allowed = {j: s for j, s in blocks.items() if j < row or not causal}
            wanted, kept = threshold * sum(blocks.values()) - sum(blocks[j] for j in own), set()
            for j in sorted(allowed, key=lambda j: -allowed[j])[: cap - len(own)]:
                if wanted > 1e-6 or (not causal and not kept):
                    kept.add(j)
                wanted -= allowed[j]
            last = min(row + BLOCK, queries) - 1
            assert {j for j in range(0, queries, BLOCK) if found[b, h, last, j]} == kept | own


@pytest.mark.parametrize(
    "selector", [PooledScores(BLOCK, 3), RowTopK(4, q_block=8, k_block=BLOCK)], ids=["blocks", "keys"]
)
def test_a_step_of_decoding_chooses_from_the_whole_cache(selector: Selector) -> None:
    q, k = tokens(3, 1, 30)
    assert int(selector(q, k, HEADS).to_mask(1, 30).sum(-1).min()) > 4
