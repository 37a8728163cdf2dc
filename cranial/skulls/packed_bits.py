"""A pair of masks is bits, eight voxels along K a byte, and the bytes of one K together: how zstd likes skulls best.

Against bytes in the order of the array, (I, J, K / 8), planes of bytes (K / 8, I, J) make heads 30 % smaller: what
lies beside a byte is then its neighbour in the skull. Nearly all bytes are zero; unpacking touches the others only.
"""

import numba
import numpy as np

# byte -> its eight bits as eight bytes, first bit first, in one word
_SPREAD = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).view(np.uint64).ravel()


def byte_planes(shape: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Shape (2, ceil(K / 8), I, J) of the packed pair of masks of shape (I, J, K)."""
    return 2, -(-shape[2] // 8), shape[0], shape[1]


def pack(defective: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """Two bool masks (I, J, K) to uint8 (2, ceil(K / 8), I, J), numpy's order of bits, zeros after the last voxel."""
    packed = np.empty(byte_planes(defective.shape), np.uint8)
    for planes, mask in zip(packed, (defective, defect), strict=True):
        planes[:] = np.packbits(mask, axis=2).transpose(2, 0, 1)
    return packed


def unpack(packed: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """What `pack` packed, bool (2, I, J, K); shape: (I, J, K)."""
    masks = np.zeros((2, *shape), np.uint8)  # from calloc: pages without bone are never touched
    if shape[1] % 8 == shape[2] % 8 == 0:
        _spread_words(packed.view(np.uint64), _SPREAD, masks.view(np.uint64))
    else:
        _spread_bytes(packed, masks)
    return masks.view(bool)


@numba.njit(nogil=True, cache=True)
def _spread_words(words, spread, masks):
    """words: (2, K / 8, I, J / 8), eight bytes along J each; masks: (2, I, J, K / 8), eight voxels along K each."""
    channels, depth, rows, columns = words.shape
    for channel in range(channels):
        for i in range(rows):  # outermost: a slab of the masks stays in the cache while all its planes come by
            for k in range(depth):
                for column in range(columns):
                    word = words[channel, k, i, column]
                    j = 8 * column
                    while word:
                        masks[channel, i, j, k] = spread[word & np.uint64(255)]
                        word >>= np.uint64(8)
                        j += 1


@numba.njit(nogil=True, cache=True)
def _spread_bytes(packed, masks):
    """The same for sides that are not multiples of 8; packed: (2, ceil(K / 8), I, J), masks: (2, I, J, K)."""
    channels, depth, rows, columns = packed.shape
    for channel in range(channels):
        for i in range(rows):
            for k in range(depth):
                for j in range(columns):
                    byte = packed[channel, k, i, j]
                    if byte:
                        for bit in range(min(8, masks.shape[3] - 8 * k)):
                            masks[channel, i, j, 8 * k + bit] = (byte >> (7 - bit)) & 1
