"""The kernels of a decoding step on a GPU, in Triton. ``speech.t3.fused_step`` launches them.

Letters: R rows of the batch, D the model's width, H heads of W numbers, F the feed-forward width, V speech
ids. "Half" is the dtype of the weights and of the KV cache; all arithmetic is float32, and so is the residual
stream, ``hidden``. Imported only where it is used: Triton is not on every machine.

PDL is programmatic dependent launch, of GPUs from capability 9.0 on: a kernel starts while the one ahead of
it still runs, reads what no step changes, and waits. Every kernel in such a chain has to wait, because the
next one relies on it for all that came before.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def _normalize(x, scale, shift, inside, D, EPSILON, LAYER_NORM: tl.constexpr):
    """Returns RMSNorm of a row, or with LAYER_NORM LayerNorm: without its mean and plus ``shift``.

    All are float32 [BLOCK], of which D numbers are ``inside``; x is zero outside.
    """
    if LAYER_NORM:
        x = tl.where(inside, x - tl.sum(x, 0) / D, 0.0)
    x = x / tl.sqrt(tl.sum(x * x, 0) / D + EPSILON) * scale
    if LAYER_NORM:
        x += shift
    return x


@triton.jit
def embed_kernel(
    tokens, places, slot_of_row, embedding, learned_positions, hidden, norm, shift, normed,
    D: tl.constexpr, BLOCK: tl.constexpr, EPSILON: tl.constexpr, LAYER_NORM: tl.constexpr,
):  # fmt: skip
    """Starts the residual stream of a row with its last token, and normalizes it. One program a row.

    tokens: int64, by slot. places: int64, by slot, of the learned positions. slot_of_row: int64 [R].
    embedding [V, D], learned_positions [positions, D], norm [D] and, with LAYER_NORM, shift [D]: half.
    hidden: float32 [R, D], written. normed: half [R, D], written. BLOCK: D at least.
    """
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < D
    slot = tl.load(slot_of_row + row)
    x = tl.load(embedding + tl.load(tokens + slot) * D + at, mask=inside, other=0.0).to(tl.float32)
    x += tl.load(learned_positions + tl.load(places + slot) * D + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(hidden + row * D + at, x, mask=inside)
    scale = tl.load(norm + at, mask=inside, other=0.0).to(tl.float32)
    added = tl.load(shift + at, mask=inside, other=0.0).to(tl.float32) if LAYER_NORM else scale
    x = _normalize(x, scale, added, inside, D, EPSILON, LAYER_NORM)
    tl.store(normed + row * D + at, x.to(normed.dtype.element_ty), mask=inside)


@triton.jit
def add_norm_kernel(
    hidden, delta, norm, shift, normed,
    D: tl.constexpr, BLOCK: tl.constexpr, EPSILON: tl.constexpr, LAYER_NORM: tl.constexpr,
):  # fmt: skip
    """Adds to the residual stream of a row and normalizes the sum. One program a row.

    hidden: float32 [R, D], changed. delta: half [R, D]. norm and, with LAYER_NORM, shift: half [D]. normed:
    half [R, D], written. BLOCK: D at least.
    """
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < D
    x = tl.load(hidden + row * D + at, mask=inside, other=0.0)
    x += tl.load(delta + row * D + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(hidden + row * D + at, x, mask=inside)
    scale = tl.load(norm + at, mask=inside, other=0.0).to(tl.float32)
    added = tl.load(shift + at, mask=inside, other=0.0).to(tl.float32) if LAYER_NORM else scale
    x = _normalize(x, scale, added, inside, D, EPSILON, LAYER_NORM)
    tl.store(normed + row * D + at, x.to(normed.dtype.element_ty), mask=inside)


@triton.jit
def swiglu_kernel(wide, widened, F: tl.constexpr, BLOCK: tl.constexpr):
    """Gates the feed-forward: silu(gate) * up. One program a row and block of F.

    wide: half [R, 2F], gates before ups. widened: half [R, F], written.
    """
    row = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < F
    gate = tl.load(wide + row * 2 * F + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(wide + row * 2 * F + F + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(
        widened + row * F + at, (gate / (1.0 + tl.exp(-gate)) * up).to(widened.dtype.element_ty), mask=inside
    )


@triton.jit
def gemv_kernel(
    x, norm, weight, out,
    N: tl.constexpr, K: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, EPSILON: tl.constexpr,
    NORM: tl.constexpr, GLU: tl.constexpr, RESIDUAL: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Multiplies two rows with a matrix, at the speed at which memory gives the matrix.

    A program computes BN of N outputs, of K numbers in tiles of BK, which divides K. x: [2, K]. weight: half
    [N, K]. out: [2, N], written. NORM: x is normalized first, with the weights ``norm``, half [K]. GLU:
    ``weight`` is [2N, K], gates before ups, and out is silu(gate) * up. RESIDUAL: out is added to.
    """
    outputs = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = outputs < N
    k = tl.arange(0, BK)
    tile = weight + tl.minimum(outputs, N - 1)[:, None] * K + k[None]
    gate0 = tl.zeros((BN,), tl.float32)
    gate1 = tl.zeros((BN,), tl.float32)
    up0 = tl.zeros((BN,), tl.float32)
    up1 = tl.zeros((BN,), tl.float32)
    square0 = 0.0
    square1 = 0.0
    if PDL:
        gdc_launch_dependents()
    for at in tl.static_range(0, K, BK):
        gates = tl.load(tile + at)
        if GLU:
            ups = tl.load(tile + N * K + at)
        if NORM:
            scale = tl.load(norm + at + k).to(tl.float32)
        if PDL and at == 0:
            gdc_wait()  # x comes from the kernel before; the weights are on their way already
        x0 = tl.load(x + at + k).to(tl.float32)
        x1 = tl.load(x + K + at + k).to(tl.float32)
        if NORM:
            square0 += tl.sum(x0 * x0, 0)
            square1 += tl.sum(x1 * x1, 0)
            x0 *= scale
            x1 *= scale
        gates = gates.to(tl.float32)
        gate0 += tl.sum(gates * x0[None], 1)
        gate1 += tl.sum(gates * x1[None], 1)
        if GLU:
            ups = ups.to(tl.float32)
            up0 += tl.sum(ups * x0[None], 1)
            up1 += tl.sum(ups * x1[None], 1)
    if NORM:
        scale0 = 1.0 / tl.sqrt(square0 / K + EPSILON)
        scale1 = 1.0 / tl.sqrt(square1 / K + EPSILON)
        gate0 *= scale0
        gate1 *= scale1
        up0 *= scale0
        up1 *= scale1
    if GLU:
        gate0 = gate0 / (1.0 + tl.exp(-gate0)) * up0
        gate1 = gate1 / (1.0 + tl.exp(-gate1)) * up1
    if RESIDUAL:
        gate0 += tl.load(out + outputs, mask=inside, other=0.0)
        gate1 += tl.load(out + N + outputs, mask=inside, other=0.0)
    tl.store(out + outputs, gate0.to(out.dtype.element_ty), mask=inside)
    tl.store(out + N + outputs, gate1.to(out.dtype.element_ty), mask=inside)


@triton.jit
def row_gemv_kernel(
    x, norm, shift, weight, bias, out,
    N: tl.constexpr, K: tl.constexpr, BN: tl.constexpr, BLOCK: tl.constexpr, EPSILON: tl.constexpr,
    NORM: tl.constexpr, GELU: tl.constexpr, RESIDUAL: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Multiplies a lone row with a matrix and adds a bias, at the speed at which memory gives the matrix.

    A program computes BN of N outputs. x: [K]. weight: half [N, K]. bias: half [N]. out: [N], written. NORM:
    x goes through LayerNorm first, with the weights ``norm`` and the bias ``shift``, half [K]. GELU: out is
    GELU of that, by the approximation with tanh. RESIDUAL: out is added to. BLOCK: K at least.
    """
    outputs = tl.program_id(0) * BN + tl.arange(0, BN)
    wanted = outputs < N
    k = tl.arange(0, BLOCK)
    inside = k < K
    if PDL:
        gdc_launch_dependents()
    tile = weight + tl.minimum(outputs, N - 1)[:, None] * K + k[None]
    weights = tl.load(tile, mask=inside[None], other=0.0)
    total = tl.load(bias + outputs, mask=wanted, other=0.0).to(tl.float32)
    if NORM:
        scale = tl.load(norm + k, mask=inside, other=0.0).to(tl.float32)
        added = tl.load(shift + k, mask=inside, other=0.0).to(tl.float32)
    if PDL:
        gdc_wait()  # x comes from the kernel before; the weights are on their way already
    row = tl.load(x + k, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        row = _normalize(row, scale, added, inside, K, EPSILON, True)
    total += tl.sum(weights.to(tl.float32) * row[None], 1)
    if GELU:
        # 0.5 (1 + tanh(y)) is 1 / (1 + exp(-2 y)); y is sqrt(2 / pi) (x + 0.044715 x^3).
        total = total / (1.0 + tl.exp(-1.5957691216057308 * (total + 0.044715 * total * total * total)))
    if RESIDUAL:
        total += tl.load(out + outputs, mask=wanted, other=0.0)
    tl.store(out + outputs, total.to(out.dtype.element_ty), mask=wanted)


@triton.jit(do_not_specialize=["capacity"])
def attend_kernel(
    qkv, keys, values, cosines, sines, positions, slot_of_row, sums, peaks, weights, arrived, out, capacity,
    H: tl.constexpr, W: tl.constexpr, BLOCK: tl.constexpr, MOST_SPLITS: tl.constexpr, ROTARY: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """Stores key and value in the cache, and attends to the row's own positions.

    Grid [R, H, S]: each of S <= MOST_SPLITS programs reads a part of a head's positions, BLOCK at a time, and
    the one that is done last puts the parts together. qkv: half [R, 3, H, W]. keys, values: half
    [rows of the cache, H, capacity, W], changed. ROTARY: query and key are rotated first. cosines, sines:
    half [capacity, W], sines negative in the first half of W. positions: int64, by slot. slot_of_row: int64
    [R]. sums: float32 [R, H, MOST_SPLITS, W], peaks and weights: float32 [R, H, MOST_SPLITS], for the parts.
    arrived: int32 [R, H], zeros, and zeros afterwards. out: half [R, H, W], written.
    """
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    splits = tl.num_programs(2)
    at = tl.arange(0, W)
    swapped = (at + W // 2) % W
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    position = tl.load(positions + tl.load(slot_of_row + row)).to(tl.int32)
    each = tl.cdiv(tl.cdiv(position, BLOCK), splits) * BLOCK
    first = split * each
    last = tl.minimum(first + each, position)
    mine = qkv + row * (3 * H * W) + head * W
    query = tl.load(mine + at).to(tl.float32)
    if ROTARY:
        cosine = tl.load(cosines + position * W + at).to(tl.float32)
        sine = tl.load(sines + position * W + at).to(tl.float32)
        query = query * cosine + tl.load(mine + swapped).to(tl.float32) * sine
    query = query.to(keys.dtype.element_ty).to(tl.float32) * (W**-0.5)
    cell = (row * H + head).to(tl.int64) * capacity * W
    keys += cell
    values += cell
    total = tl.zeros((W,), tl.float32)
    weight = 0.0
    peak = -float("inf")
    if split == 0:
        mine += H * W
        key = tl.load(mine + at).to(tl.float32)
        if ROTARY:
            key = key * cosine + tl.load(mine + swapped).to(tl.float32) * sine
        key = key.to(keys.dtype.element_ty)
        value = tl.load(mine + H * W + at)
        tl.store(keys + position * W + at, key)
        tl.store(values + position * W + at, value.to(values.dtype.element_ty))
        peak = tl.sum(key.to(tl.float32) * query, 0)
        weight = 1.0
        total = value.to(tl.float32)
    for start in tl.range(first, last, BLOCK, num_stages=1):
        there = start + tl.arange(0, BLOCK)
        inside = there < last
        block = there[:, None] * W + at[None]
        key = tl.load(keys + block, mask=inside[:, None], other=0.0)
        value = tl.load(values + block, mask=inside[:, None], other=0.0)
        score = tl.where(inside, tl.sum(key.to(tl.float32) * query[None], 1), -float("inf"))
        higher = tl.maximum(peak, tl.max(score, 0))
        share = tl.exp(score - higher)
        fade = tl.exp(peak - higher)
        total = total * fade + tl.sum(share[:, None] * value.to(tl.float32), 0)
        weight = weight * fade + tl.sum(share, 0)
        peak = higher
    part = (row * H + head) * MOST_SPLITS
    tl.store(sums + (part + split) * W + at, total)
    tl.store(peaks + part + split, peak)
    tl.store(weights + part + split, weight)
    tl.debug_barrier()  # all threads have stored before one of them says so
    if tl.atomic_add(arrived + row * H + head, 1) == splits - 1:
        s = tl.arange(0, MOST_SPLITS)
        used = s < splits
        # Past the L1 cache, which does not see what other programs stored.
        peaks_of = tl.load(peaks + part + s, mask=used, other=-float("inf"), cache_modifier=".cg")
        fades = tl.exp(peaks_of - tl.max(peaks_of, 0))
        whole = tl.sum(fades * tl.load(weights + part + s, mask=used, other=0.0, cache_modifier=".cg"), 0)
        parts = sums + (part + s)[:, None] * W + at[None]
        total = tl.sum(
            tl.load(parts, mask=used[:, None], other=0.0, cache_modifier=".cg") * fades[:, None], 0
        )
        tl.store(out + (row * H + head) * W + at, (total / whole).to(out.dtype.element_ty))
        tl.store(arrived + row * H + head, 0)


@triton.jit(do_not_specialize=["capacity"])
def draw_kernel(
    logits, row_of_slot, uncond_row_of_slot, noise, seen, cfg_weight, temperature, min_p, repetition_penalty,
    tokens, counts, positions, limits, done, spoken, capacity,
    STOP: tl.constexpr, V: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Draws the next token of a slot and records it. One program a slot.

    The steps are guidance, repetition penalty, temperature and min_p, with the formulas of
    ``speech.t3.sampling``; what the probabilities add up to does not change which p / noise is the largest.
    logits: float32 [R, V]. noise: float32 [slots, V]. seen: uint8 [slots, V], changed. cfg_weight,
    temperature, min_p, repetition_penalty: float32 [slots]. row_of_slot, uncond_row_of_slot, limits: int64
    [slots]. tokens, counts, positions: int64 [slots], changed. done: uint8 [slots], changed. spoken: int64
    [slots, capacity], changed. BLOCK: V at least.
    """
    slot = tl.program_id(0)
    ids = tl.arange(0, BLOCK)
    inside = ids < V
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    row, uncond_row = tl.load(row_of_slot + slot), tl.load(uncond_row_of_slot + slot)
    scores = tl.load(logits + row * V + ids, mask=inside, other=0.0)
    unguided = tl.load(logits + uncond_row * V + ids, mask=inside, other=0.0)
    scores += tl.load(cfg_weight + slot) * (scores - unguided)
    penalty = tl.load(repetition_penalty + slot)
    penalized = tl.where(scores < 0, scores * penalty, scores / penalty)
    scores = tl.where(tl.load(seen + slot * V + ids, mask=inside, other=0) != 0, penalized, scores)
    scores = tl.where(inside, scores / tl.load(temperature + slot), -float("inf"))
    likely = tl.exp(scores - tl.max(scores, 0))  # relative to the likeliest, as min_p is
    likely = tl.where(likely < tl.load(min_p + slot), 0.0, likely)
    likely = tl.where(inside, likely / tl.load(noise + slot * V + ids, mask=inside, other=1.0), -1.0)
    # NaNs have no largest one: whatever comes of them has to be a place in ``seen``.
    drawn = tl.minimum(tl.argmax(likely, 0), V - 1).to(tl.int64)
    count = tl.load(counts + slot)
    was_done = tl.load(done + slot) != 0
    more = tl.where(was_done, 0, 1)
    tl.store(spoken + slot * capacity + count, drawn)  # past its end once it is done
    tl.store(seen + slot * V + drawn, 1)
    tl.store(tokens + slot, drawn)
    tl.store(counts + slot, count + more)
    tl.store(positions + slot, tl.load(positions + slot) + more)
    is_done = was_done | (drawn == STOP) | (count + more >= tl.load(limits + slot))
    tl.store(done + slot, tl.where(is_done, 1, 0))
