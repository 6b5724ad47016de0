"""The propositions of the MambaJSCC paper (Wu et al., arXiv 2409.16592) on small sequences.

A GSSM under a scheme S, an invertible L x L matrix, rearranges the tokens by S, scans them and
rearranges the result by S^-1. For one channel the scan itself is a matrix, written here from its
parameters: M[k, j] = C_k . exp(A (delta_{j+1} + ... + delta_k)) delta_j B_j for j <= k.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from linksim.selective_scan import ScanParameters, selective_scan, selective_scan_bidirectional

LENGTH, STATES = 7, 4
IDENTITY = torch.eye(LENGTH, dtype=torch.float64)


@pytest.fixture
def scan() -> ScanParameters:
    """Parameters of one channel, drawn in the scan's own token order, in float64."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return ScanParameters(
        delta=draw(1, LENGTH, 1).exp(),
        A=-draw(1, STATES).exp(),
        B=draw(1, LENGTH, STATES),
        C=draw(1, LENGTH, STATES),
    )


def matrix(scan: ScanParameters) -> Tensor:
    """M [L, L], entry by entry from the parameters."""
    delta, A, B, C = scan.delta[0, :, 0], scan.A[0], scan.B[0], scan.C[0]
    M = torch.zeros(LENGTH, LENGTH, dtype=torch.float64)
    for k in range(LENGTH):
        for j in range(k + 1):
            M[k, j] = C[k] @ (torch.exp(A * delta[j + 1 : k + 1].sum()) * delta[j] * B[j])
    return M


def gssm(x: Tensor, scan: ScanParameters, scheme: Tensor) -> Tensor:
    """Tokens x [L] under a scheme [L, L]: rearrange, scan, rearrange back."""
    y = selective_scan((scheme @ x)[None, :, None], *scan)
    return torch.linalg.solve(scheme, y[0, :, 0])


def columns(function: Callable[[Tensor], Tensor]) -> Tensor:
    """The matrix of a linear map of tokens, from its response to each unit vector."""
    return torch.stack([function(unit) for unit in IDENTITY], dim=1)


@pytest.mark.parametrize("kind", ["identity", "reversal", "permutation", "invertible"])
def test_proposition_2(scan: ScanParameters, kind: str) -> None:
    """A GSSM under S is S^-1 M S, for any invertible S."""
    generator = torch.Generator().manual_seed(1)
    scheme = {
        "identity": IDENTITY,
        "reversal": IDENTITY.flip(0),
        "permutation": IDENTITY[torch.randperm(LENGTH, generator=generator)],
        "invertible": torch.randn(LENGTH, LENGTH, generator=generator, dtype=torch.float64),
    }[kind]
    wanted = torch.linalg.inv(scheme) @ matrix(scan) @ scheme
    torch.testing.assert_close(columns(lambda x: gssm(x, scan, scheme)), wanted)


def test_walking_backwards_is_the_reversal(scan: ScanParameters) -> None:
    """``reverse=True`` is the scheme S = J with the parameters in the order of the tokens."""
    J = IDENTITY.flip(0)
    in_token_order = scan._replace(delta=scan.delta.flip(1), B=scan.B.flip(1), C=scan.C.flip(1))
    walked = columns(
        lambda x: selective_scan(x[None, :, None], *in_token_order, reverse=True)[0, :, 0]
    )
    torch.testing.assert_close(walked, J @ matrix(scan) @ J)


def test_proposition_3(scan: ScanParameters) -> None:
    """Identity and reversal together connect every pair of tokens; either alone does not."""
    ahead = columns(lambda x: selective_scan(x[None, :, None], *scan)[0, :, 0])
    back = columns(lambda x: selective_scan(x[None, :, None], *scan, reverse=True)[0, :, 0])
    both = columns(lambda x: selective_scan_bidirectional(x[None, :, None], scan, scan)[0, :, 0])
    ones = torch.ones(LENGTH, LENGTH, dtype=torch.bool)
    assert torch.equal(ahead != 0, ones.tril())
    assert torch.equal(back != 0, ones.triu())
    assert torch.equal(both != 0, ones)


@pytest.mark.parametrize("interval", [3, None])
def test_proposition_4(scan: ScanParameters, interval: int | None) -> None:
    """The initial state adds its own response, C_k[0] s exp(A[0] (delta_0 + ... + delta_k)).

    With residual states the rest of the response is that of a first state that starts anew.
    """
    s = 11.0
    x = torch.linspace(-1, 2, LENGTH, dtype=torch.float64)[None, :, None]

    def run(x: Tensor, snr_db: float) -> Tensor:
        csi = torch.tensor([snr_db], dtype=torch.float64)
        return selective_scan(x, *scan, csi=csi, csi_interval=interval)[0, :, 0]

    delta, A, C = scan.delta[0, :, 0], scan.A[0, 0], scan.C[0, :, 0]
    starts = [k - k % interval if interval else 0 for k in range(LENGTH)]
    response = torch.stack(
        [C[k] * s * torch.exp(A * delta[start : k + 1].sum()) for k, start in enumerate(starts)]
    )
    torch.testing.assert_close(run(x, s), run(x, 0.0) + response)
    torch.testing.assert_close(run(torch.zeros_like(x), s), response)
    torch.testing.assert_close(run(x, 3 * s) - run(x, 0.0), 3 * response)
