"""The chunked cross-entropy against formulas written out in numpy, and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.ops import cross_entropy
from expunge.ops.cross_entropy import linear_cross_entropy, linear_nll


def by_hand(
    hidden: np.ndarray, head: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """(loss, log-sum-exps, d/dhidden, d/dhead), row by row and candidate by candidate, in float64."""
    loss = 0.0
    logsums = np.zeros(len(hidden))
    grad_hidden, grad_head = np.zeros_like(hidden), np.zeros_like(head)
    for n, row in enumerate(hidden):
        logits = head @ row
        logsums[n] = np.log(np.exp(logits).sum())
        softmax = np.exp(logits - logsums[n])
        for k, token in enumerate(target[n]):
            loss -= weight[n, k] * np.log(softmax[token])
            slope = weight[n, k] * softmax
            slope[token] -= weight[n, k]
            grad_hidden[n] += slope @ head
            grad_head += np.outer(slope, row)
    return loss, logsums, grad_hidden, grad_head


def material(rows: int = 7, features: int = 5, vocabulary: int = 11, k: int = 1) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    hidden = torch.randn(rows, features, dtype=torch.float64)
    head = torch.randn(vocabulary, features, dtype=torch.float64)
    target = torch.stack([torch.randperm(vocabulary)[:k] for _ in range(rows)])
    weight = torch.rand(rows, k, dtype=torch.float64) * 2  # sums of anything but 1
    return hidden, head, target, weight


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradients_are_those_of_the_formula(k: int, weighted: bool) -> None:
    hidden, head, target, weight = material(k=k)
    if not weighted:
        weight = torch.ones_like(weight)
    hidden.requires_grad_()
    head.requires_grad_()
    loss, logsums = linear_cross_entropy(hidden, head, target, weight if weighted else None)
    (3 * loss).backward()
    expected = by_hand(hidden.detach().numpy(), head.detach().numpy(), target.numpy(), weight.numpy())
    assert loss.item() == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(logsums.numpy(), expected[1], rtol=1e-12)
    np.testing.assert_allclose(hidden.grad, 3 * expected[2], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(head.grad, 3 * expected[3], rtol=1e-10, atol=1e-12)


def test_a_flat_target_is_one_candidate_a_row() -> None:
    hidden, head, target, _ = material()
    assert torch.equal(
        linear_cross_entropy(hidden, head, target[:, 0])[0], linear_cross_entropy(hidden, head, target)[0]
    )


def test_a_candidate_named_twice_counts_twice() -> None:
    hidden, head, _, _ = material(rows=2)
    hidden.requires_grad_()
    twice, weights = torch.tensor([[4, 4], [1, 2]]), torch.tensor([[0.25, 0.5], [1.0, 0.0]], dtype=torch.float64)
    once, summed = torch.tensor([[4], [1]]), torch.tensor([[0.75], [1.0]], dtype=torch.float64)
    a, _ = linear_cross_entropy(hidden, head, twice, weights)
    b, _ = linear_cross_entropy(hidden, head, once, summed)
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(torch.autograd.grad(a, hidden), torch.autograd.grad(b, hidden))


@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 8])
def test_chunk_borders_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for size in (512, chunk):
        monkeypatch.setattr(cross_entropy, "CHUNK", size)
        hidden, head, target, weight = material(k=2)
        hidden.requires_grad_()
        head.requires_grad_()
        loss, logsums = linear_cross_entropy(hidden, head, target, weight)
        loss.backward()
        results.append((loss.detach(), logsums, hidden.grad, head.grad))
    for whole, cut in zip(*results, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("learned", ["hidden", "head"])
def test_finite_differences(learned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK", 3)
    hidden, head, target, weight = material(k=2)
    start = {"hidden": hidden, "head": head}[learned]

    def loss_at(value: torch.Tensor) -> torch.Tensor:
        there = {"hidden": hidden, "head": head, learned: value}
        return linear_cross_entropy(there["hidden"], there["head"], target, weight)[0]

    (analytic,) = torch.autograd.grad(loss_at(start.requires_grad_()), start)
    numeric = torch.zeros_like(start)
    with torch.no_grad():
        for place in np.ndindex(*start.shape):
            step = torch.zeros_like(start)
            step[place] = 1e-6
            numeric[place] = (loss_at(start + step) - loss_at(start - step)) / 2e-6
    torch.testing.assert_close(analytic, numeric, rtol=1e-6, atol=1e-8)


def test_gradcheck_of_the_hidden_states() -> None:
    hidden, head, target, weight = material(rows=4, k=2)
    assert torch.autograd.gradcheck(
        lambda h: linear_cross_entropy(h, head, target, weight)[0], hidden.requires_grad_(), check_batched_grad=False
    )


def test_bfloat16_products_stay_close_and_gradients_keep_the_masters_type() -> None:
    hidden, head, target, weight = (t.float() if t.is_floating_point() else t for t in material(rows=64, features=32))
    exact = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    rounded = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    loss, _ = linear_cross_entropy(*exact, target, weight)
    narrow, logsums = linear_cross_entropy(*rounded, target, weight, torch.bfloat16)
    assert narrow.dtype == logsums.dtype == torch.float32
    assert narrow.item() == pytest.approx(loss.item(), rel=5e-3)
    loss.backward()
    narrow.backward()
    for a, b in zip(exact, rounded, strict=True):
        assert b.grad is not None
        assert b.grad.dtype == torch.float32
        assert float((a.grad - b.grad).norm() / a.grad.norm()) < 0.02


@pytest.mark.parametrize("learned", ["hidden", "head"])
def test_only_what_is_learned_gets_a_gradient(learned: str) -> None:
    hidden, head, target, weight = material()
    (hidden if learned == "hidden" else head).requires_grad_()
    linear_cross_entropy(hidden, head, target, weight)[0].backward()
    assert (hidden.grad is None) == (learned == "head")
    assert (head.grad is None) == (learned == "hidden")


def test_without_gradients_none_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, head, target, weight = material()
    made = []
    for name in ("zeros", "zeros_like", "empty", "empty_like"):
        own = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, own=own, name=name, **k: made.append(name) or own(*a, **k))
    linear_cross_entropy(hidden.requires_grad_(), head.requires_grad_(), target, weight)
    assert made == ["empty_like", "zeros_like"]  # of either
    made.clear()
    with torch.no_grad():
        loss, logsums = linear_cross_entropy(hidden, head.requires_grad_(), target, weight)
    assert not loss.requires_grad
    assert not logsums.requires_grad
    assert made == [], "the gradient of the head is as large as the head: watching a loss must not make it"


def test_a_second_backward_is_refused_rather_than_wrong() -> None:
    hidden, head, target, weight = material()
    loss, _ = linear_cross_entropy(hidden, head.requires_grad_(), target, weight)
    (2 * loss).backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (2 * loss).backward()


def test_no_rows_cost_nothing() -> None:
    hidden = torch.zeros(0, 5, requires_grad=True)
    loss, logsums = linear_cross_entropy(hidden, torch.randn(11, 5), torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert logsums.shape == (0,)


def test_large_logits_do_not_overflow() -> None:
    head = torch.eye(3)
    hidden = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    loss, logsums = linear_cross_entropy(hidden, head, torch.tensor([2]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert logsums[0].item() == pytest.approx(1e4)
    torch.testing.assert_close(hidden.grad, torch.tensor([[1.0, 0.0, -1.0]]))


def test_a_ceiling_is_a_constant_for_the_rows_above_it() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    head = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    target = torch.arange(7)
    rows = torch.nn.functional.cross_entropy(hidden @ head.T, target, reduction="none")
    ceiling = float(rows.detach().median()) + 1e-6
    expected = torch.autograd.grad(rows.clamp(max=ceiling).sum(), (hidden, head))
    loss, _ = linear_cross_entropy(hidden, head, target, ceiling=ceiling)
    assert loss.item() == pytest.approx(rows.clamp(max=ceiling).sum().item(), rel=1e-12)
    for found, wanted in zip(torch.autograd.grad(loss, (hidden, head)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_losses_of_single_rows_with_weights_that_depend_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.ops.cross_entropy.CHUNK", 3)
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    head = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    target = torch.arange(7)
    plain = torch.nn.functional.cross_entropy(hidden @ head.T, target, reduction="none")
    found = linear_nll(hidden, head, target)
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad(torch.sigmoid(plain).pow(2).sum(), (hidden, head))
    for one, other in zip(torch.autograd.grad(torch.sigmoid(found).pow(2).sum(), (hidden, head)), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrow_head_is_widened_in_blocks_with_the_same_result(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vocabulary in blocks of 7, which do not divide it, and 4 rows at a time."""
    monkeypatch.setattr("expunge.ops.cross_entropy.BLOCK", 7)
    monkeypatch.setattr("expunge.ops.cross_entropy.NARROW_CHUNK", 4)
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(25, 6, generator=generator).to(dtype)
    values = torch.randn(11, 6, generator=generator)
    target = torch.randint(0, 25, (11,), generator=generator)
    weight = torch.rand(11, generator=generator)
    found: list[tuple[torch.Tensor, ...]] = []
    for held in (head, head.float()):
        hidden = values.clone().requires_grad_()
        total, logsums = linear_cross_entropy(hidden, held, target)
        (gradient,) = torch.autograd.grad(total, hidden)
        rows = linear_nll(hidden, held, target)
        (weighted,) = torch.autograd.grad((rows * weight).sum(), hidden)
        found.append((total, logsums, gradient, rows, weighted))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    log_p = torch.log_softmax(values.double() @ head.double().T, -1)
    torch.testing.assert_close(found[0][3].double(), -log_p.gather(1, target[:, None])[:, 0], rtol=1e-5, atol=1e-5)


def test_the_gradient_by_a_narrow_head_is_that_by_a_wide_one_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64, in blocks of 7 tokens and 4 rows."""
    monkeypatch.setattr("expunge.ops.cross_entropy.BLOCK", 7)
    monkeypatch.setattr("expunge.ops.cross_entropy.CHUNK", 4)
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(25, 6, generator=generator).bfloat16().requires_grad_()
    hidden = torch.randn(11, 6, generator=generator).requires_grad_()
    target = torch.randint(0, 25, (11,), generator=generator)
    weight = torch.rand(11, generator=generator)
    exact = head.detach().double().requires_grad_(), hidden.detach().double().requires_grad_()
    rows = torch.nn.functional.cross_entropy(exact[1] @ exact[0].T, target, reduction="none")
    wanted = torch.autograd.grad((rows * weight).sum(), exact)
    total = linear_cross_entropy(hidden, head, target[:, None], weight[:, None])[0]
    for loss in (total, (linear_nll(hidden, head, target) * weight).sum()):
        by_head, by_hidden = torch.autograd.grad(loss, (head, hidden))
        assert (by_head.dtype, by_hidden.dtype) == (torch.bfloat16, torch.float32)
        torch.testing.assert_close(by_hidden.double(), wanted[1], rtol=1e-5, atol=1e-5)
        # Rounded in each of the three chunks of rows, to 2^-9 of what is there by then.
        assert float((by_head.double() - wanted[0]).abs().max()) <= 3 * 2.0**-9 * float(wanted[0].abs().max())
