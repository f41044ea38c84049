"""NumPy: pictures are filtered and shrunk; small ones stay."""
import numpy as np

dice = np.random.default_rng(1)
held = []
for number in range(160):
    picture = dice.random((320 + number % 5 * 64, 480), dtype=np.float32)
    edges = np.abs(np.diff(picture, axis=0))[:, 1:] + np.abs(np.diff(picture, axis=1))[1:, :]
    small = edges[: edges.shape[0] // 8 * 8, : edges.shape[1] // 8 * 8]
    held.append(small.reshape(small.shape[0] // 8, 8, -1, 8).mean(axis=(1, 3)))
    if number % 40 == 39:
        held = held[::2]
print(len(held), float(sum(picture.mean() for picture in held)) > 0)
