"""Which optimiser has which parameters, and what Muon does to them."""

import pytest
import torch
from torch import nn

from linksim.training import optimizers
from linksim.training.optimizers import MuonOfLayers, new_optimizers
from linksim.training.recipe import Recipe


def recipe(**changes: object) -> Recipe:
    settings: dict[str, object] = {
        "name": "any",
        "codec": {"codec": "deepjscc", "preset": "small"},
        "channel": {"type": "awgn"},
        "snr_db": [1],
        "cbr": 1 / 12,
        "images": {"root": "photographs"},
        "steps": 1,
        "lr": 0.01,
        "weight_decay": 0.1,
        "optimizer": "muon",
    }
    return Recipe.model_validate({**settings, **changes})


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(32, 32))  # a matrix, but no layer's
        self.table = nn.Embedding(32, 32)
        self.depthwise = nn.Conv2d(32, 32, 3, groups=32)
        self.narrow = nn.Linear(32, 15)
        self.linear = nn.Linear(48, 32)
        self.convolution = nn.Conv2d(16, 24, 3)
        self.transposed = nn.ConvTranspose2d(16, 24, 5)


def test_muon_has_the_matrices_of_layers_and_adamw_the_rest() -> None:
    model = Layers()
    adamw, muon = new_optimizers(recipe(lr_transform=0.002, initial="transform"), model)
    assert isinstance(muon, MuonOfLayers)
    held = {id(p) for group in adamw.param_groups for p in group["params"]}
    taken = [name for name, p in model.named_parameters() if id(p) not in held]
    assert taken == ["linear.weight", "convolution.weight", "transposed.weight"]
    (group,) = muon.param_groups
    weights = [model.linear.weight, model.convolution.weight, model.transposed.weight]
    assert [id(p) for p in group["params"]] == [id(weight) for weight in weights]
    assert all(g["lr"] == g["peak"] == 0.01 for o in (adamw, muon) for g in o.param_groups)


def test_what_was_filled_as_a_transform_has_its_own_rate_in_both() -> None:
    model = Layers()
    filled = [model.scale, model.linear.weight]  # the very first parameter among them
    changes = {"lr_transform": 0.002, "initial": "transform"}
    optimizers = new_optimizers(recipe(**changes), model, filled)
    rates = [[group["peak"] for group in o.param_groups] for o in optimizers]
    assert rates == [[0.01, 0.002]] * 2
    (adamw,) = new_optimizers(recipe(**changes, optimizer="adamw"), model, filled)
    counted = sum(p.numel() for g in adamw.param_groups for p in g["params"])
    assert counted == sum(p.numel() for p in model.parameters())


def test_a_step_goes_as_far_along_every_direction() -> None:
    """The singular values of a first step are near lr * 0.2 sqrt(the longer side): Newton-Schulz
    brings them to between 0.7 and 1.2 of that."""
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 24, 3)
    optimizer = MuonOfLayers([{"params": [layer.weight], "lr": 0.01}], weight_decay=0.0)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn_like(layer.weight)
    optimizer.step()
    moved = torch.linalg.svdvals((layer.weight.detach() - before).flatten(1))
    size = moved / (0.01 * 0.2 * 144**0.5)
    assert float(size.min()) > 0.6
    assert float(size.max()) < 1.3
    optimizer.zero_grad()
    assert layer.weight.grad is None


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_float32_orthogonalises_to_its_rounding(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The iteration is an odd polynomial of the singular values: five times a s + b s^3 + c s^5 of
    those of the matrix over its Frobenius norm, in float64."""
    monkeypatch.setattr(optimizers, "computes_in_bf16", lambda device: False)
    torch.manual_seed(0)
    grad = torch.randn(shape)
    layer = nn.Linear(shape[1], shape[0], bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = grad
    optimizer = MuonOfLayers([{"params": [layer.weight], "lr": 1.0}], weight_decay=0.0)
    optimizer.step()
    update = grad.double().lerp(0.05 * grad.double(), 0.95)  # Nesterov's, after one step
    u, s, v = torch.linalg.svd(update / update.norm(), full_matrices=False)
    for _ in range(5):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    expected = 0.2 * 40**0.5 * (u * s) @ v
    torch.testing.assert_close(
        (before - layer.weight.detach()).double(), expected, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("in_bf16", "atol"), [(True, 1e-5), (False, 5e-4)])
@pytest.mark.parametrize("shape", [(16, 24, 5, 5), (160, 16, 3, 3)])
def test_convolutions_are_matrices_and_follow_their_weights(
    shape: tuple[int, ...], in_bf16: bool, atol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as torch's Muon on the flattened matrix, also after the weight's memory changed; to
    the rounding of bfloat16, a hundredth of a step of 0.04, where ours takes float32."""
    monkeypatch.setattr(optimizers, "computes_in_bf16", lambda device: in_bf16)
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(shape) / 20)
    flat = nn.Parameter(weight.detach().flatten(1).clone())
    ours = MuonOfLayers([{"params": [weight], "lr": 0.01}], weight_decay=0.1)
    theirs = torch.optim.Muon([flat], 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        if step == 1:
            weight.data = weight.detach().clone()
        if step == 2:
            again = MuonOfLayers([{"params": [weight], "lr": 0.01}], weight_decay=0.1)
            again.load_state_dict(ours.state_dict())
            ours = again
        weight.grad = torch.randn_like(weight)
        flat.grad = weight.grad.flatten(1).clone()
        ours.step()
        theirs.step()
        torch.testing.assert_close(
            weight.detach().flatten(1), flat.detach(), rtol=1.3e-6, atol=atol
        )
