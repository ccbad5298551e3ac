"""Task vectors, their factors, TIES, probes and clusters against small cases written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from expunge.errors import RecipeError
from expunge.kinds.language.layers.structure import Writer
from expunge.methods.spunge import ties, trim
from expunge.methods.steering import probe
from expunge.methods.task_vector_negation import layered, without
from expunge.ops.clusters import k_means
from expunge.ops.names import layer_of
from expunge.runs.registry import make_method


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ties_by_hand() -> None:
    changes = [
        torch.tensor([3.0, -1.0, 2.0, 0.1]),
        torch.tensor([1.0, -2.0, -5.0, 0.2]),
        torch.tensor([-1.5, 4.0, 0.3, 0.0]),
    ]
    # Of four entries two stay: (3, 0, 2, 0), (0, -2, -5, 0), (-1.5, 4, 0, 0); signs of the sums: +, +, -, none.
    merged = ties([{"w": change} for change in changes], 0.5)["w"]
    assert merged.tolist() == [3.0, 4.0, -5.0, 0.0]


def transcribed_ties(changes: list[np.ndarray], density: float) -> np.ndarray:
    """Yadav et al. 2023, algorithm 1, an entry at a time."""
    kept = []
    for change in changes:
        count = max(1, round(density * change.size))
        least = sorted(np.abs(change).ravel(), reverse=True)[count - 1]
        kept.append(np.where(np.abs(change) >= least, change, 0.0))
    merged = np.zeros_like(changes[0])
    for place in np.ndindex(*merged.shape):
        values = [change[place] for change in kept]
        sign = np.sign(sum(values))
        agreeing = [value for value in values if value != 0 and np.sign(value) == sign]
        merged[place] = np.mean(agreeing) if agreeing else 0.0
    return merged


@pytest.mark.parametrize("density", [0.05, 0.2, 1.0])
def test_ties_against_a_transcription(density: float) -> None:
    changes = [drawn(7, 9, seed=seed) for seed in range(4)]
    merged = ties([{"w": change} for change in changes], density)["w"].numpy()
    np.testing.assert_allclose(merged, transcribed_ties([change.numpy() for change in changes], density), rtol=1e-12)


def test_ties_of_one_change_and_of_nothing() -> None:
    one = drawn(5, 3)
    assert torch.equal(ties([{"w": one}], 1.0)["w"], one)
    assert torch.equal(trim(torch.zeros(4), 0.5), torch.zeros(4))
    assert int((trim(drawn(10), 0.01) != 0).sum()) == 1
    opposite = ties([{"w": one}, {"w": -one}], 1.0)["w"]
    assert not opposite.any()


def test_a_vector_without_the_clean_one() -> None:
    vector, clean = {"w": drawn(4, 5, seed=1)}, {"w": drawn(4, 5, seed=2)}
    assert torch.equal(without(vector, clean, "subtract")["w"], vector["w"] - clean["w"])
    projected = without(vector, clean, "project")["w"]
    assert float((projected * clean["w"]).sum()) == pytest.approx(0, abs=1e-12)
    along = (vector["w"] * clean["w"]).sum() / clean["w"].square().sum() * clean["w"]
    torch.testing.assert_close(projected + along, vector["w"])
    assert torch.equal(without(vector, {"w": torch.zeros(4, 5)}, "project")["w"], vector["w"])


def test_factors_of_layers() -> None:
    names = [f"model.layers.{layer}.mlp.weight" for layer in range(4)]
    vector = {name: drawn(3, 3, seed=seed) for seed, name in enumerate(names)} | {"model.embed.weight": drawn(3, 3)}
    base = {name: drawn(3, 3, seed=10 + seed) for seed, name in enumerate(vector)}
    assert layered(vector, base, "equal", layer_of) is vector
    rising, falling = (layered(vector, base, how, layer_of) for how in ("rising", "falling"))
    for layer, name in enumerate(names):
        torch.testing.assert_close(rising[name], vector[name] * (layer + 1) / 4)
        torch.testing.assert_close(falling[name], vector[name] * (1 - layer / 4))
    even = layered(vector, base, "even", layer_of)
    shares = [float(even[name].norm() / base[name].norm()) for name in names]
    before = [float(vector[name].norm() / base[name].norm()) for name in names]
    assert shares == pytest.approx([np.mean(before)] * 4)
    assert all(
        torch.equal(each["model.embed.weight"], vector["model.embed.weight"]) for each in (rising, falling, even)
    )


def test_a_probe_is_where_its_gradient_is_zero() -> None:
    toxic, clean, ridge = drawn(40, 6, seed=1) + torch.tensor([1.0, 0, 0, -2.0, 0, 0]), 3 * drawn(30, 6, seed=2), 0.1
    found = probe(toxic, clean, ridge).requires_grad_()
    points = torch.cat([toxic, clean])
    spread = points.std(0, correction=0)
    y = torch.cat([torch.ones(40), -torch.ones(30)]).double()
    weight = (found * spread).detach().requires_grad_()
    offset = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([offset], max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-15)

    def loss() -> Tensor:
        said = ((points - points.mean(0)) / spread) @ weight + offset
        return torch.nn.functional.softplus(-y * said).mean() + ridge / 2 * weight.square().sum()

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    gradient = torch.autograd.grad(loss(), weight)[0]
    assert float(gradient.abs().max()) < 1e-9
    direction = found.detach() / found.detach().norm()
    assert float((toxic @ direction).mean() - (clean @ direction).mean()) > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_weight_no_longer_writes_along_its_direction(axis: int) -> None:
    """Of three experts' matrices, whichever axis holds the stream; half of it at half the scale."""
    direction = torch.nn.functional.normalize(drawn(4), dim=0)
    shape = [3, 5, 6]
    shape[axis] = 4
    weight, writer = drawn(*shape, seed=3), Writer("experts", axis, None, False, False)
    along = weight.movedim(axis, -1) @ direction
    after = writer.without(weight, direction, 1.0).movedim(axis, -1)
    assert float((after @ direction).abs().max()) < 1e-12
    torch.testing.assert_close(after, weight.movedim(axis, -1) - along[..., None] * direction)
    halfway = writer.without(weight, direction, 0.5).movedim(axis, -1)
    torch.testing.assert_close(halfway @ direction, 0.5 * along)


@pytest.mark.parametrize("kind", [torch.nn.RMSNorm, torch.nn.LayerNorm])
def test_behind_a_norm_what_is_removed_is_what_the_norm_makes_the_direction_of(kind: type) -> None:
    direction = torch.nn.functional.normalize(drawn(6), dim=0)
    norm = kind(6).double()
    with torch.no_grad():
        norm.weight.copy_(drawn(6, seed=5))
    weight, inputs = drawn(6, 4, seed=3), drawn(7, 4, seed=4)
    after = Writer("matrix", 0, norm, False, False).without(weight, direction, 1.0)
    with torch.no_grad():
        assert float((norm(inputs @ weight.T) @ direction).abs().min()) > 1e-3
        assert float((norm(inputs @ after.T) @ direction).abs().max()) < 1e-12


def test_clusters_that_lie_apart_are_found() -> None:
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    points = (centres[:, None] + 0.1 * drawn(3, 8, 2)).reshape(-1, 2)
    found = k_means(points, 3, seed=0)
    groups = [set(found[part].tolist()) for part in (slice(0, 8), slice(8, 16), slice(16, 24))]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == 3
    assert torch.equal(found, k_means(points, 3, seed=0))
    assert sorted(k_means(torch.eye(3), 3, seed=1).tolist()) == [0, 1, 2]
    assert k_means(torch.ones(5, 2), 3, seed=1).tolist() == [0] * 5  # no two of them differ
    assert k_means(points, 1, seed=0).unique().tolist() == [0]


@pytest.mark.parametrize("of", ["spunge", "whos_harry_potter", "kookmin", {"name": "spunge"}])
def test_spunge_refuses_what_it_cannot_wrap(of: object) -> None:
    with pytest.raises(RecipeError, match="spunge cannot wrap"):
        make_method({"name": "spunge", "of": of})


def test_spunge_names_what_is_wrong_with_the_method_it_wraps() -> None:
    with pytest.raises(RecipeError, match="there is no method 'npoo'") as caught:
        make_method({"name": "spunge", "of": "npoo"})
    assert str(caught.value.next_step).startswith("did you mean npo?")
    with pytest.raises(RecipeError, match="method npo: there is no field betta"):
        make_method({"name": "spunge", "of": {"name": "npo", "betta": 1}})
