# mypy: ignore-errors
# ruff: noqa: RUF005 - Triton adds tuples, it does not unpack them
"""The GPU kernels of the selective scan, in Triton: each warp walks a chunk of tokens.

A program is one warp. It holds BLOCK_C channels, several a lane, and takes its chunk in pieces of
BLOCK_T tokens. A piece stays in registers, as tuples of one tensor [BLOCK_C] a token in walking
order, while the states pass by one after another. No lane waits for another, and nothing crosses
lanes but the sums over channels in the gradients of B and C.

The recurrence is linear in its state, so the chunks are made independent in three steps:

1. ``chunk_ends``: every chunk from a state of zero: only its last state and the sum of its steps;
2. ``carry_over``: from chunk to chunk, h <- exp(A sum) h + end: the states that chunks start from;
3. ``outputs``: every chunk from its true state, and what it gives.

The adjoint state e_k = exp(d_k A) (C_k dy_k + e_{k+1}) goes the same three steps the other way,
the last of them in ``gradients``. A state that CSI-ReST overwrites hands nothing on: neither the
state before it nor the adjoint behind it.

Everything is float32 inside, whatever the dtype of the tensors.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


class Rows(NamedTuple):
    """A [batch, L, width] tensor, its last axis contiguous, and the strides of the other two."""

    data: Any
    batch: int
    token: int


class Walk(NamedTuple):
    """One direction: what it reads, and its states, float32.

    A2 [N, channels]: A log2(e). D, bias: [channels].
    starts [batch, chunks * kept, N, channels]: the state on entering each piece (``kept`` is the
    pieces of a chunk) or each chunk (``kept`` is 1). sums [batch, chunks, channels]: of the steps.
    """

    delta: Rows
    B: Rows
    C: Rows
    A2: Any
    D: Any
    bias: Any
    starts: Any
    sums: Any


class Adjoint(NamedTuple):
    """One direction of the backward pass, float32 but for delta; T is the tiles of channels.

    ends [batch, chunks, N, channels]: the adjoint state on entering each chunk against the walk;
    sums: as in :class:`Walk`. Shares of the gradients: B and C [T, batch, N, L], A [batch, chunks,
    N, channels], D and bias [batch, chunks, channels].
    """

    ends: Any
    sums: Any
    delta: Rows
    B: Any
    C: Any
    A: Any
    D: Any
    bias: Any


class Size(NamedTuple):
    """batch, L, channels, N; chunks of so many pieces; states kept a chunk."""

    batch: int
    length: int
    channels: int
    states: int
    chunks: int
    pieces: int
    kept: int


# --------------------------------------------------------------------------------------------------
# A piece: BLOCK_T tokens, from the one numbered first on.


@triton.jit
def tokens_of(first, REVERSE: tl.constexpr, BLOCK_T: tl.constexpr):
    """The piece's tokens in walking order; the last ones of a sequence may not exist."""
    tokens = ()
    for i in tl.static_range(BLOCK_T):
        tokens = tokens + (first + (BLOCK_T - 1 - i if REVERSE else i),)
    return tokens


@triton.jit
def load_rows(rows, tokens, size, columns, BLOCK_T: tl.constexpr):
    """A piece of ``rows``, which stand at their image; zeros where there is no token."""
    result = ()
    for i in tl.static_range(BLOCK_T):
        mask = (columns < size.channels) & (tokens[i] < size.length)
        row = tl.load(rows.data + tokens[i] * rows.token + columns, mask=mask, other=0.0)
        result = result + (row.to(tl.float32),)
    return result


@triton.jit
def store_rows(rows, values, tokens, size, columns, BLOCK_T: tl.constexpr):
    for i in tl.static_range(BLOCK_T):
        mask = (columns < size.channels) & (tokens[i] < size.length)
        tl.store(rows.data + tokens[i] * rows.token + columns, values[i], mask=mask)


@triton.jit
def offsets(rows, tokens, size, BLOCK_T: tl.constexpr):
    """Where each token's row begins; the last row stands in for a token that does not exist."""
    result = ()
    for i in tl.static_range(BLOCK_T):
        result = result + (tl.minimum(tokens[i], size.length - 1) * rows.token,)
    return result


@triton.jit
def at_image(rows, batch):
    return Rows(rows.data + batch.to(tl.int64) * rows.batch, 0, rows.token)


@triton.jit
def load_channels(vector, size, columns):
    return tl.load(vector + columns, mask=columns < size.channels, other=0.0)


@triton.jit
def zero_rows(BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr):
    rows = ()
    for _ in tl.static_range(BLOCK_T):
        rows = rows + (tl.zeros([BLOCK_C], tl.float32),)
    return rows


@triton.jit
def multiply(a, b, BLOCK_T: tl.constexpr):
    result = ()
    for i in tl.static_range(BLOCK_T):
        result = result + (a[i] * b[i],)
    return result


@triton.jit
def softplus(x):
    """max(x, 0) + log1p(exp(-|x|)); log1p(z)/z by a minimax polynomial of relative error 3e-8."""
    z = tl.exp2(-tl.abs(x) * LOG2_E)
    p = z * 0.005232688 - 0.029505217
    p = p * z + 0.07822592
    p = p * z - 0.13663243
    p = p * z + 0.19106005
    p = p * z - 0.24842982
    p = p * z + 0.33319098
    p = p * z - 0.49999493
    p = p * z + 0.99999994
    return tl.maximum(x, 0.0) + p * z


@triton.jit
def sigmoid(x):
    """The derivative of softplus."""
    z = tl.exp2(-tl.abs(x) * LOG2_E)
    return tl.where(x > 0, 1.0, z) / (1.0 + z)


@triton.jit
def step_sizes(raw, bias, tokens, size, SOFTPLUS: tl.constexpr, BLOCK_T: tl.constexpr):
    """d_k; zero, which leaves a state as it is, where there is no token."""
    result = ()
    for i in tl.static_range(BLOCK_T):
        step = raw[i] + bias
        if SOFTPLUS:
            step = softplus(step)
        result = result + (tl.where(tokens[i] < size.length, step, 0.0),)
    return result


@triton.jit
def is_restart(k, CSI_START: tl.constexpr, INTERVAL: tl.constexpr):
    """Whether CSI-ReST sets the first state before the k-th token of the walk."""
    if INTERVAL > 0:
        flag = (k > 0) & (k % INTERVAL == 0)
        if CSI_START:
            flag = flag | (k == 0)
    elif CSI_START:
        flag = k == 0
    else:
        flag = k < 0
    return flag


@triton.jit
def restarts(
    tokens,
    size,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """Before which of its tokens, in walking order, the first state is set to the SNR."""
    result = ()
    for i in tl.static_range(BLOCK_T):
        k = size.length - 1 - tokens[i] if REVERSE else tokens[i]
        flag = is_restart(k, CSI_START, INTERVAL) & (tokens[i] < size.length)
        result = result + (flag,)
    return result


@triton.jit
def start_slot(batch, chunk, size, kept, REVERSE: tl.constexpr):
    """Offset of the state on entering a chunk, of ``kept`` states a chunk."""
    slot = (batch * size.chunks + chunk).to(tl.int64) * kept + (kept - 1 if REVERSE else 0)
    return slot * size.states * size.channels


# --------------------------------------------------------------------------------------------------
# Step 1.


@triton.jit
def chunk_ends(
    x,
    walks,
    adjoints,
    csi,
    size,
    SOFTPLUS: tl.constexpr,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Each chunk's last state from a start of zero, left where the chunk's true start will be.

    x: u. With ``adjoints``, the adjoint state against the walk, and x is dy.
    Grid: (tiles of channels, chunks, batch * directions).
    """
    columns = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    chunk = tl.program_id(1)
    batch = tl.program_id(2) // len(walks)
    which = tl.program_id(2) % len(walks)
    snr = 0.0
    if csi is not None:
        snr = tl.load(csi + batch)
    for w in tl.static_range(len(walks)):
        if which == w:
            if adjoints is None:
                end_of_chunk(
                    at_image(x, batch),
                    walks[w],
                    batch,
                    chunk,
                    columns,
                    snr,
                    csi is not None,
                    size,
                    SOFTPLUS,
                    CSI_START,
                    INTERVAL,
                    REVERSE[w],
                    BLOCK_T,
                    BLOCK_C,
                )
            else:
                adjoint_end_of_chunk(
                    at_image(x, batch),
                    walks[w],
                    adjoints[w],
                    batch,
                    chunk,
                    columns,
                    csi is not None,
                    size,
                    SOFTPLUS,
                    CSI_START,
                    INTERVAL,
                    REVERSE[w],
                    BLOCK_T,
                    BLOCK_C,
                )


@triton.jit
def end_of_chunk(
    u,
    walk,
    batch,
    chunk,
    columns,
    snr,
    CSI: tl.constexpr,
    size,
    SOFTPLUS: tl.constexpr,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    inside = columns < size.channels
    delta = at_image(walk.delta, batch)
    B = at_image(walk.B, batch)
    bias = load_channels(walk.bias, size, columns)
    start = walk.starts + start_slot(batch, chunk, size, size.kept, REVERSE) + columns
    total = tl.zeros([BLOCK_C], tl.float32)
    for j in range(size.pieces):
        piece = size.pieces - 1 - j if REVERSE else j
        first = (chunk * size.pieces + piece) * BLOCK_T
        tokens = tokens_of(first, REVERSE, BLOCK_T)
        raw = load_rows(delta, tokens, size, columns, BLOCK_T)
        steps = step_sizes(raw, bias, tokens, size, SOFTPLUS, BLOCK_T)
        rows = load_rows(u, tokens, size, columns, BLOCK_T)
        driven = multiply(steps, rows, BLOCK_T)
        flags = restarts(tokens, size, CSI_START, INTERVAL, REVERSE, BLOCK_T)
        at_B = offsets(B, tokens, size, BLOCK_T)
        for i in tl.static_range(BLOCK_T):
            total += steps[i]
        for n in range(size.states):
            rate = load_channels(walk.A2 + n * size.channels, size, columns)
            state = tl.load(start + n * size.channels, mask=inside & (j > 0), other=0.0)
            for i in tl.static_range(BLOCK_T):
                if CSI:
                    state = tl.where(flags[i] & (n == 0), snr, state)
                weight = tl.load(B.data + (at_B[i] + n)).to(tl.float32)
                state = tl.exp2(steps[i] * rate) * state + driven[i] * weight
            tl.store(start + n * size.channels, state, mask=inside)
        tl.debug_barrier()
    tl.store(walk.sums + (batch * size.chunks + chunk) * size.channels + columns, total, inside)


@triton.jit
def adjoint_end_of_chunk(
    dy,
    walk,
    adjoint,
    batch,
    chunk,
    columns,
    CSI: tl.constexpr,
    size,
    SOFTPLUS: tl.constexpr,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    inside = columns < size.channels
    delta = at_image(walk.delta, batch)
    C = at_image(walk.C, batch)
    bias = load_channels(walk.bias, size, columns)
    start = adjoint.ends + start_slot(batch, chunk, size, 1, REVERSE) + columns
    total = tl.zeros([BLOCK_C], tl.float32)
    for j in range(size.pieces):
        piece = j if REVERSE else size.pieces - 1 - j
        first = (chunk * size.pieces + piece) * BLOCK_T
        tokens = tokens_of(first, REVERSE, BLOCK_T)
        raw = load_rows(delta, tokens, size, columns, BLOCK_T)
        steps = step_sizes(raw, bias, tokens, size, SOFTPLUS, BLOCK_T)
        rows = load_rows(dy, tokens, size, columns, BLOCK_T)
        flags = restarts(tokens, size, CSI_START, INTERVAL, REVERSE, BLOCK_T)
        at_C = offsets(C, tokens, size, BLOCK_T)
        for i in tl.static_range(BLOCK_T):
            total += steps[i]
        for n in range(size.states):
            rate = load_channels(walk.A2 + n * size.channels, size, columns)
            state = tl.load(start + n * size.channels, mask=inside & (j > 0), other=0.0)
            for i in tl.static_range(BLOCK_T - 1, -1, -1):
                weight = tl.load(C.data + (at_C[i] + n)).to(tl.float32)
                state = tl.exp2(steps[i] * rate) * (rows[i] * weight + state)
                if CSI:
                    state = tl.where(flags[i] & (n == 0), 0.0, state)
            tl.store(start + n * size.channels, state, mask=inside)
        tl.debug_barrier()
    tl.store(adjoint.sums + (batch * size.chunks + chunk) * size.channels + columns, total, inside)


# --------------------------------------------------------------------------------------------------
# Step 2.


@triton.jit
def carry_over(
    walks,
    adjoints,
    csi,
    size,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """From the chunks' ends to their starts, in place; AHEAD chunks are fetched together.

    Grid: (blocks of the N * channels states, batch * directions).
    """
    states = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    batch = tl.program_id(1) // len(walks)
    which = tl.program_id(1) % len(walks)
    for w in tl.static_range(len(walks)):
        if which == w:
            if adjoints is None:
                carry_states(
                    walks[w].starts,
                    walks[w].sums,
                    walks[w].A2,
                    batch,
                    states,
                    size,
                    size.kept,
                    csi is not None,
                    CSI_START,
                    INTERVAL,
                    REVERSE[w],
                    False,
                    BLOCK_T,
                    BLOCK,
                    AHEAD,
                )
            else:
                carry_states(
                    adjoints[w].ends,
                    adjoints[w].sums,
                    walks[w].A2,
                    batch,
                    states,
                    size,
                    1,
                    csi is not None,
                    CSI_START,
                    INTERVAL,
                    REVERSE[w],
                    True,
                    BLOCK_T,
                    BLOCK,
                    AHEAD,
                )


@triton.jit
def carry_states(
    starts,
    sums,
    A2,
    batch,
    states,
    size,
    kept,
    CSI: tl.constexpr,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    ADJOINT: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    BACKWARDS: tl.constexpr = REVERSE != ADJOINT
    inside = states < size.states * size.channels
    first_state = states < size.channels
    channel = states % size.channels
    rate = tl.load(A2 + states, mask=inside, other=0.0)
    h = tl.zeros([BLOCK], tl.float32)
    for begin in range(0, size.chunks, AHEAD):
        ends = ()
        decays = ()
        for i in tl.static_range(AHEAD):
            chunk = size.chunks - 1 - (begin + i) if BACKWARDS else begin + i
            there = inside & (begin + i + 1 < size.chunks)  # nobody needs the end of the last
            at = start_slot(batch, chunk, size, kept, REVERSE)
            ends = ends + (tl.load(starts + at + states, mask=there, other=0.0),)
            at = (batch * size.chunks + chunk) * size.channels
            decay = tl.exp2(tl.load(sums + at + channel, mask=there, other=0.0) * rate)
            if CSI:
                cut = has_restart(chunk, size, CSI_START, INTERVAL, REVERSE, BLOCK_T)
                decay = tl.where(first_state & cut, 0.0, decay)
            decays = decays + (decay,)
        for i in tl.static_range(AHEAD):
            chunk = size.chunks - 1 - (begin + i) if BACKWARDS else begin + i
            there = inside & (begin + i < size.chunks)
            tl.store(starts + start_slot(batch, chunk, size, kept, REVERSE) + states, h, mask=there)
            h = decays[i] * h + ends[i]


@triton.jit
def has_restart(
    chunk,
    size,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """Whether CSI-ReST sets the first state before any token of a chunk."""
    tokens = size.pieces * BLOCK_T
    first = chunk * tokens
    last = tl.minimum(first + tokens, size.length) - 1
    low = size.length - 1 - last if REVERSE else first
    high = size.length - 1 - first if REVERSE else last
    flag = low < 0
    if CSI_START:
        flag = low == 0
    if INTERVAL > 0:
        flag = flag | (high // INTERVAL > tl.maximum(low - 1, 0) // INTERVAL)
    return flag


# --------------------------------------------------------------------------------------------------
# Step 3, forward.


@triton.jit
def outputs(
    u,
    y,
    total,
    walks,
    csi,
    size,
    SOFTPLUS: tl.constexpr,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y, from the chunks' true starts. The directions are added in ``total``, float32 rows.

    Grid: (tiles of channels, chunks, batch).
    """
    columns = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    chunk = tl.program_id(1)
    batch = tl.program_id(2)
    snr = 0.0
    if csi is not None:
        snr = tl.load(csi + batch)
    for w in tl.static_range(len(walks)):
        outputs_of_chunk(
            at_image(u, batch),
            at_image(total, batch),
            at_image(y if w + 1 == len(walks) else total, batch),
            walks[w],
            batch,
            chunk,
            columns,
            snr,
            csi is not None,
            size,
            w > 0,
            SOFTPLUS,
            CSI_START,
            INTERVAL,
            REVERSE[w],
            BLOCK_T,
            BLOCK_C,
        )
        tl.debug_barrier()


@triton.jit
def outputs_of_chunk(
    u,
    total,
    y,
    walk,
    batch,
    chunk,
    columns,
    snr,
    CSI: tl.constexpr,
    size,
    ADD: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """One direction; with ADD, plus what stands in ``total``."""
    inside = columns < size.channels
    delta = at_image(walk.delta, batch)
    B = at_image(walk.B, batch)
    C = at_image(walk.C, batch)
    bias = load_channels(walk.bias, size, columns)
    skip = load_channels(walk.D, size, columns)
    start = walk.starts + start_slot(batch, chunk, size, size.kept, REVERSE) + columns
    width = size.states * size.channels
    onward = (size.kept // size.pieces) * (-width if REVERSE else width)  # to the next piece
    for j in range(size.pieces):
        piece = size.pieces - 1 - j if REVERSE else j
        first = (chunk * size.pieces + piece) * BLOCK_T
        tokens = tokens_of(first, REVERSE, BLOCK_T)
        raw = load_rows(delta, tokens, size, columns, BLOCK_T)
        steps = step_sizes(raw, bias, tokens, size, SOFTPLUS, BLOCK_T)
        rows = load_rows(u, tokens, size, columns, BLOCK_T)
        driven = multiply(steps, rows, BLOCK_T)
        flags = restarts(tokens, size, CSI_START, INTERVAL, REVERSE, BLOCK_T)
        sums = zero_rows(BLOCK_C, BLOCK_T)
        if ADD:
            sums = load_rows(total, tokens, size, columns, BLOCK_T)
        at_B = offsets(B, tokens, size, BLOCK_T)
        at_C = offsets(C, tokens, size, BLOCK_T)
        given = ()
        for i in tl.static_range(BLOCK_T):
            given = given + (sums[i] + skip * rows[i],)
        for n in range(size.states):
            rate = load_channels(walk.A2 + n * size.channels, size, columns)
            state = tl.load(start + n * size.channels, mask=inside, other=0.0)
            added = ()
            for i in tl.static_range(BLOCK_T):
                if CSI:
                    state = tl.where(flags[i] & (n == 0), snr, state)
                driving = driven[i] * tl.load(B.data + (at_B[i] + n)).to(tl.float32)
                state = tl.exp2(steps[i] * rate) * state + driving
                added = added + (given[i] + state * tl.load(C.data + (at_C[i] + n)).to(tl.float32),)
            given = added
            more = inside & (j + 1 < size.pieces)
            tl.store(start + onward + n * size.channels, state, mask=more)
        store_rows(y, given, tokens, size, columns, BLOCK_T)
        start += onward
        tl.debug_barrier()


# --------------------------------------------------------------------------------------------------
# Step 3, backward.


@triton.jit
def gradients(
    u,
    dy,
    d_u,
    total,
    walks,
    adjoints,
    csi,
    size,
    SOFTPLUS: tl.constexpr,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """All gradients, from the true states and adjoint states. du is added up as y is in outputs.

    Grid: (tiles of channels, chunks, batch).
    """
    columns = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    chunk = tl.program_id(1)
    batch = tl.program_id(2)
    snr = 0.0
    if csi is not None:
        snr = tl.load(csi + batch)
    for w in tl.static_range(len(walks)):
        gradients_of_chunk(
            at_image(u, batch),
            at_image(dy, batch),
            at_image(total, batch),
            at_image(d_u if w + 1 == len(walks) else total, batch),
            walks[w],
            adjoints[w],
            batch,
            chunk,
            columns,
            snr,
            csi is not None,
            size,
            w > 0,
            SOFTPLUS,
            CSI_START,
            INTERVAL,
            REVERSE[w],
            BLOCK_T,
            BLOCK_C,
        )
        tl.debug_barrier()


@triton.jit
def gradients_of_chunk(
    u,
    dy,
    total,
    d_u,
    walk,
    adjoint,
    batch,
    chunk,
    columns,
    snr,
    CSI: tl.constexpr,
    size,
    ADD: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    CSI_START: tl.constexpr,
    INTERVAL: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """One direction: pieces against the walk, and in each, states along it and adjoints back."""
    inside = columns < size.channels
    delta = at_image(walk.delta, batch)
    B = at_image(walk.B, batch)
    C = at_image(walk.C, batch)
    d_delta = at_image(adjoint.delta, batch)
    bias = load_channels(walk.bias, size, columns)
    skip = load_channels(walk.D, size, columns)
    starts = walk.starts + start_slot(batch, chunk, size, size.pieces, False) + columns
    at = (batch * size.chunks + chunk).to(tl.int64)
    ends = adjoint.ends + at * size.states * size.channels + columns
    d_A = adjoint.A + at * size.states * size.channels + columns
    at_share = (tl.program_id(0) * size.batch + batch).to(tl.int64) * size.states * size.length
    order = tl.arange(0, BLOCK_T)
    d_skip = tl.zeros([BLOCK_C], tl.float32)
    d_bias = tl.zeros([BLOCK_C], tl.float32)
    for j in range(size.pieces):
        piece = j if REVERSE else size.pieces - 1 - j
        first = (chunk * size.pieces + piece) * BLOCK_T
        tokens = tokens_of(first, REVERSE, BLOCK_T)
        raw = load_rows(delta, tokens, size, columns, BLOCK_T)
        steps = step_sizes(raw, bias, tokens, size, SOFTPLUS, BLOCK_T)
        rows = load_rows(u, tokens, size, columns, BLOCK_T)
        out = load_rows(dy, tokens, size, columns, BLOCK_T)
        flags = restarts(tokens, size, CSI_START, INTERVAL, REVERSE, BLOCK_T)
        driven = multiply(steps, rows, BLOCK_T)
        at_B = offsets(B, tokens, size, BLOCK_T)
        at_C = offsets(C, tokens, size, BLOCK_T)
        by_B = zero_rows(BLOCK_C, BLOCK_T)  # sum over n of adjoint * B
        by_A = zero_rows(BLOCK_C, BLOCK_T)  # sum over n of adjoint * decayed state * A2
        for n in range(size.states):
            at_state = n * size.channels
            rate = load_channels(walk.A2 + at_state, size, columns)
            piece_start = starts + piece * size.states * size.channels + at_state
            state = tl.load(piece_start, mask=inside, other=0.0)
            decays = ()
            rests = ()
            for i in tl.static_range(BLOCK_T):
                if CSI:
                    state = tl.where(flags[i] & (n == 0), snr, state)
                decay = tl.exp2(steps[i] * rate)
                rest = decay * state
                state = rest + driven[i] * tl.load(B.data + (at_B[i] + n)).to(tl.float32)
                decays = decays + (decay,)
                rests = rests + (rest,)
            later = tl.load(ends + at_state, mask=inside, other=0.0)
            d_rate = tl.load(d_A + at_state, mask=inside & (j > 0), other=0.0)
            d_weights_B = tl.zeros([BLOCK_T], tl.float32)
            d_weights_C = tl.zeros([BLOCK_T], tl.float32)
            new_by_B = ()
            new_by_A = ()
            for i in tl.static_range(BLOCK_T - 1, -1, -1):
                adjoint_state = out[i] * tl.load(C.data + (at_C[i] + n)).to(tl.float32) + later
                through = adjoint_state * rests[i]
                d_rate += through * steps[i]
                here = order == tokens[i] - first
                d_weights_B = tl.where(here, tl.sum(adjoint_state * driven[i], 0), d_weights_B)
                weight = tl.load(B.data + (at_B[i] + n)).to(tl.float32)
                state = rests[i] + driven[i] * weight
                d_weights_C = tl.where(here, tl.sum(out[i] * state, 0), d_weights_C)
                new_by_B = (by_B[i] + adjoint_state * weight,) + new_by_B
                new_by_A = (by_A[i] + through * rate,) + new_by_A
                later = adjoint_state * decays[i]
                if CSI:
                    later = tl.where(flags[i] & (n == 0), 0.0, later)
            by_B = new_by_B
            by_A = new_by_A
            tl.store(ends + at_state, later, mask=inside)
            tl.store(d_A + at_state, d_rate, mask=inside)
            at_weights = at_share + n * size.length + first + order
            there = first + order < size.length
            tl.store(adjoint.B + at_weights, d_weights_B, mask=there)
            tl.store(adjoint.C + at_weights, d_weights_C, mask=there)
        # Read again, to leave registers to the loop above.
        raw = load_rows(delta, tokens, size, columns, BLOCK_T)
        rows = load_rows(u, tokens, size, columns, BLOCK_T)
        sums = zero_rows(BLOCK_C, BLOCK_T)
        if ADD:
            sums = load_rows(total, tokens, size, columns, BLOCK_T)
        d_rows = ()
        d_raw = ()
        for i in tl.static_range(BLOCK_T):
            d_step = by_A[i] * LN_2 + by_B[i] * rows[i]
            if SOFTPLUS:
                d_step = d_step * sigmoid(raw[i] + bias)
            d_bias += tl.where(tokens[i] < size.length, d_step, 0.0)
            d_skip += out[i] * rows[i]
            d_raw = d_raw + (d_step,)
            d_rows = d_rows + (sums[i] + skip * out[i] + by_B[i] * steps[i],)
        store_rows(d_delta, d_raw, tokens, size, columns, BLOCK_T)
        store_rows(d_u, d_rows, tokens, size, columns, BLOCK_T)
        tl.debug_barrier()
    tl.store(adjoint.D + at * size.channels + columns, d_skip, mask=inside)
    tl.store(adjoint.bias + at * size.channels + columns, d_bias, mask=inside)
