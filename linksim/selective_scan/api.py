"""The public scan functions: checks, choice of the backend, dispatch."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from linksim.selective_scan import cuda, operator, reference
from linksim.selective_scan.backend import choose_backend
from linksim.selective_scan.checks import ScanParameters, check_shapes


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    csi: Tensor | None = None,
    csi_interval: int | None = None,
    csi_start: bool = True,
    reverse: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Selective state-space scan with CSI-ReST.

    For every channel, along the tokens k in walking order::

        d_k = delta_k + delta_bias, through softplus if ``delta_softplus``
        h_k = exp(d_k A) * h_{k-1} + d_k u_k B_k          N states
        y_k = C_k . h_k + D u_k

    The states start at zero. With ``csi`` (the SNR s in dB) the first state is set to s before
    the first token and again before every ``csi_interval``-th one (k = 0, I, 2I, ...), the others
    flow on (CSI-ReST, Wu et al., arXiv 2409.16592, Sec. IV).

    u, delta: [batch, L, channels]. A: [channels, N]. B, C: [batch, L, N].
    D, delta_bias: [channels] or None. csi: [batch] in dB or None.
    csi_interval: I in tokens; None sets the initial state only.
    csi_start: False leaves the initial state at zero and sets s before tokens I, 2I, … only, as
        the kernel of MambaJSCC's authors does.
    reverse: walk from the last token to the first; ``csi_interval`` counts along the walk.
    backend: ``reference``, ``native`` (CPU), ``triton`` (GPU) or ``cuda`` (mamba-ssm, GPU); None
        takes ``native`` for float32 and bfloat16 on a CPU, ``triton`` for CUDA tensors, and
        ``cuda`` where there is no Triton; ``reference`` for float64 and all else.

    Returns [batch, L, channels] in u's dtype. Gradients reach every tensor but ``csi``, which is
    a told value and not a parameter; none flows through an overwritten state.
    Raises InputError for shapes that do not fit and backends that cannot run.

    >>> import torch
    >>> ones = torch.ones(1, 3, 1)  # a batch of one, three tokens, one channel, one state
    >>> selective_scan(ones, ones, torch.zeros(1, 1), ones, ones).flatten()  # exp(0) = 1: sums
    tensor([1., 2., 3.])
    """
    scan = ScanParameters(delta, A, B, C, D, delta_bias)
    return _scan_sum(u, [scan], delta_softplus, csi, csi_interval, csi_start, [reverse], backend)


def selective_scan_bidirectional(
    u: Tensor,
    forward: ScanParameters,
    backward: ScanParameters,
    delta_softplus: bool = False,
    *,
    csi: Tensor | None = None,
    csi_interval: int | None = None,
    csi_start: bool = True,
    backend: str | None = None,
) -> Tensor:
    """Sum of a scan over u along the tokens and of another one against them.

    The pair of GSSMs of an SS2D block (the identity and the reversal) in one call: equal to
    ``selective_scan(u, *forward, ...) + selective_scan(u, *backward, ..., reverse=True)``, each
    with parameters, D skip and CSI-ReST of its own walk. Nothing is flipped or copied.
    """
    scans = [forward, backward]
    return _scan_sum(u, scans, delta_softplus, csi, csi_interval, csi_start, [False, True], backend)


def _scan_sum(
    u: Tensor,
    scans: Sequence[ScanParameters],
    delta_softplus: bool,
    csi: Tensor | None,
    csi_interval: int | None,
    csi_start: bool,
    reverse: Sequence[bool],
    backend: str | None,
) -> Tensor:
    if not csi_start and (csi_interval is None or csi_interval >= u.shape[1]):
        csi = None  # there is no token that it is set before
    for scan in scans:
        check_shapes(u, scan, csi, csi_interval)
    name = choose_backend(u, scans[0].A.shape[1], backend)
    if name in operator.ENGINES:
        return operator.selective_scan(
            name,
            u,
            scans,
            delta_softplus,
            csi=csi,
            csi_interval=csi_interval,
            csi_start=csi_start,
            reverse=reverse,
        )
    run = (
        partial(cuda.selective_scan, cuda.load_kernel())
        if name == "cuda"
        else reference.selective_scan
    )
    outputs = [
        run(
            u,
            scan,
            delta_softplus,
            csi=csi,
            csi_interval=csi_interval,
            csi_start=csi_start,
            reverse=backwards,
        )
        for scan, backwards in zip(scans, reverse, strict=True)
    ]
    return sum(outputs[1:], start=outputs[0])
