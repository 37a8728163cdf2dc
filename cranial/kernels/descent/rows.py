"""What is done to a few rows of voxels in one iteration of deformable registration, compiled.

All that a row needs lies in one array, `state`, and is named by where in it it begins, as an unsigned number: such an
index needs no check, loops over it are vectorised, and no array is counted in and out of a function. Rows have their
ends repeated, K + 2 numbers, and follow each other: a loop may run through several, over what is between them.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

U = np.uint64
LOOSE = {"contract", "reassoc", "arcp", "nsz"}  # sums in any order, but nan and inf stay what they are
_LINE = 16  # numbers in a line of the cache


@intrinsic
def _fetch(context, array, index):
    """Ask for the line of the cache that holds array[index], in time for whoever needs it; no access, no check."""

    def generate(target, builder, signature, arguments):
        kind, _ = signature.args
        data = target.make_array(kind)(target, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        prefetch = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, prefetch, "llvm.prefetch.p0")
        builder.call(function, [place, number(0), number(3), number(1)])
        return target.get_dummy_value()

    return types.void(array, types.uint64), generate


@njit(nogil=True, cache=True)
def fetch_row(state, start, size):
    for k in range(U(0), size, U(_LINE)):
        _fetch(state, start + k)


@njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")
def _smoothness(state, here, before_i, before_j, after_i, after_j, size, p, q, r, gradient, g):
    """Fill gradient[g:g + size] of the regulariser for one component's state[here:here + size]; returns its loss.

    Its neighbours begin at before_i, ..., after_j of state; p, q, r: what a squared step along i, j, k costs. The
    numbers themselves are kept at before_i.
    """
    one = U(1)
    pp, qq, rr = p + p, q + q, r + r
    total = state.dtype.type(0)
    for k in range(size):
        h = state[here + k]
        on_i, on_j, on_k = state[after_i + k] - h, state[after_j + k] - h, state[here + k + one] - h
        back_i, back_j, back_k = h - state[before_i + k], h - state[before_j + k], h - state[here + k - one]
        gradient[g + k] = pp * (back_i - on_i) + qq * (back_j - on_j) + rr * (back_k - on_k)
        total += p * on_i * on_i + q * on_j * on_j + r * on_k * on_k
        state[before_i + k] = h
    return total


@njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")
def _smoothness_between(state, here, after_i, after_j, size, rows, p, q, r):
    """The loss of what lies between rows, which is none of theirs: of the two numbers after each but the last."""
    total = 0.0
    for row in range(rows - 1):
        for k in range(size, size + 2):
            at = U(row * (size + 2) + k)
            h = state[here + at]
            on_i, on_j, on_k = state[after_i + at] - h, state[after_j + at] - h, state[here + at + U(1)] - h
            total += p * on_i * on_i + q * on_j * on_j + r * on_k * on_k
    return total


@njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")
def _places_row(state, first, second, third, i, j, sizes, places):
    """Fill `places` (K,) with the flat index, in the padded image, of the cell that each voxel is moved into."""
    kind = state.dtype.type
    low = kind(-2)
    end_i, end_j, end_k = kind(sizes[0]), kind(sizes[1]), kind(sizes[2])
    stride_i, stride_j = np.int32((sizes[1] + 3) * (sizes[2] + 3)), np.int32(sizes[2] + 3)
    origin = np.int32(2) * (stride_i + stride_j + np.int32(1))
    at_i, at_j = kind(i), kind(j)
    for k in range(U(sizes[2])):  # nan goes to `low` too, where there is nothing
        a = np.int32(min(end_i, max(low, np.floor(at_i + state[first + k]))))
        b = np.int32(min(end_j, max(low, np.floor(at_j + state[second + k]))))
        c = np.int32(min(end_k, max(low, np.floor(kind(np.int32(k)) + state[third + k]))))
        places[k] = origin + a * stride_i + b * stride_j + c


@njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")
def _image_row(
    state, first, second, third, i, j, places, listed, image, busy, fixed, row, sizes, scale, gradient, g, apart
):
    """Add the image term's gradient to gradient[g:], components `apart`; returns the sum of difference^2 - fixed^2."""
    kind = state.dtype.type
    size, one = U(sizes[2]), U(1)
    stride_i, stride_j = U((sizes[1] + 3) * (sizes[2] + 3)), U(sizes[2] + 3)
    count = U(0)
    for k in range(size):  # without a branch: a wrong guess costs more than all of this
        listed[count] = k
        count += U(busy[U(places[k])])
    for n in range(count):
        cell = U(places[U(listed[n])])
        _fetch(fixed, row + U(listed[n]))
        _fetch(image, cell)
        _fetch(image, cell + stride_j)
        _fetch(image, cell + stride_i)
        _fetch(image, cell + stride_i + stride_j)
    fetch_row(state, first + U(8) * (second - first), size)
    total = kind(0)
    for n in range(count):
        k = U(listed[n])
        x, y, z = kind(i) + state[first + k], kind(j) + state[second + k], kind(k) + state[third + k]
        u, v, w = x - np.floor(x), y - np.floor(y), z - np.floor(z)
        near_cell = U(places[k])
        far_cell = near_cell + stride_i
        n000, n001 = image[near_cell], image[near_cell + one]
        n010, n011 = image[near_cell + stride_j], image[near_cell + stride_j + one]
        n100, n101 = image[far_cell], image[far_cell + one]
        n110, n111 = image[far_cell + stride_j], image[far_cell + stride_j + one]
        # along k, then j, then i; the slopes on the way
        s00, s01, s10, s11 = n001 - n000, n011 - n010, n101 - n100, n111 - n110
        n00, n01, n10, n11 = n000 + w * s00, n010 + w * s01, n100 + w * s10, n110 + w * s11
        near, far = n00 + v * (n01 - n00), n10 + v * (n11 - n10)
        slope_i = far - near
        slope_j = (n01 - n00) + u * ((n11 - n10) - (n01 - n00))
        slope_k = (s00 + v * (s01 - s00)) + u * ((s10 + v * (s11 - s10)) - (s00 + v * (s01 - s00)))
        wanted = fixed[row + k]
        difference = near + u * slope_i - wanted
        total += difference * difference - wanted * wanted
        push = scale * difference
        gradient[g + k] += push * slope_i
        gradient[g + apart + k] += push * slope_j
        gradient[g + apart + apart + k] += push * slope_k
    return total


@njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")
def rows_gradient(
    state, apart, kept, image, busy, fixed, pull, i, j, rows, stop, sizes, places, listed, gradient, block
):
    """Fill `gradient` of the `rows` rows from (i, j) on, (3, rows, K + 2) with components `block` apart.

    Returns their two sums. At state[kept:] are (3, J, K + 2) rows before these as they were, of plane i up to j - 1,
    from j on of plane i - 1; and behind them the plane after the last one.
    """
    size, long = U(sizes[2]), U(sizes[2] + 2)
    first = U(i * sizes[1] + j) * long + U(1)
    roughness = 0.0
    for c in range(3):
        here, before_i = first + U(c) * apart, kept + U(c * sizes[1] + j) * long + U(1)
        after_i = here + U(sizes[1]) * long if i + 1 < stop else before_i + U(3 * sizes[1]) * long
        p, q, r = pull[c, 0], pull[c, 1], pull[c, 2]
        done = 0
        while done < rows:
            # the first row may have none before it, and has it in `kept`; the plane's last has none after it
            count = 1
            if done > 0 and j + done + 1 < sizes[1]:
                count = rows - done if j + rows < sizes[1] else rows - done - 1
            at = U(done) * long
            here_j, row = here + at, j + done
            before_j = here_j - long if done else (before_i - long if row > 0 else here_j)
            after_j = here_j + long if row + 1 < sizes[1] else here_j
            length = U(count) * long - U(2)
            fetch_row(state, here_j + U(3) * apart, length)
            roughness += _smoothness(
                state, here_j, before_i + at, before_j, after_i + at, after_j, length, p, q, r,
                gradient, U(c) * block + at,
            )
            if count > 1:
                roughness -= _smoothness_between(state, here_j, after_i + at, after_j, sizes[2], count, p, q, r)
            done += count
    scale = state.dtype.type(2 / (sizes[0] * sizes[1] * sizes[2]))
    squares = 0.0
    for n in range(rows):
        u = first + U(n) * long
        v, w = u + apart, u + apart + apart
        fetch_row(state, u + U(6) * apart, size)
        _places_row(state, u, v, w, i, j + n, sizes, places)
        fetch_row(state, u + U(7) * apart, size)
        squares += _image_row(
            state, u, v, w, i, j + n, places, listed, image, busy, fixed, U(i * sizes[1] + j + n) * size, sizes, scale,
            gradient, U(n) * long, block,
        )
    return squares, roughness


@njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")
def adam(state, u, first, second, size, gradient, g, betas, speed, epsilon):
    """Move one component's state[u:u + size] of the field, and of both moments, at first and second."""
    kind = state.dtype.type
    one, two, unbiased = betas[0], betas[1], betas[2]
    fresh, fresh_squared = kind(1) - one, kind(1) - two
    for k in range(size):
        slope = gradient[g + k]
        m = one * state[first + k] + fresh * slope
        v = two * state[second + k] + fresh_squared * slope * slope
        state[first + k] = m
        state[second + k] = v
        state[u + k] -= speed * m / (np.sqrt(v * unbiased) + epsilon)
