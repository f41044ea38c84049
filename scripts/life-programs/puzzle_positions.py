"""Searches the positions of a sliding puzzle and holds each position that it has seen, with its path."""
from collections import deque


def moves(board, side):
    hole = board.index(0)
    row, column = divmod(hole, side)
    for by_row, by_column in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        to_row, to_column = row + by_row, column + by_column
        if 0 <= to_row < side and 0 <= to_column < side:
            other = to_row * side + to_column
            new = list(board)
            new[hole], new[other] = new[other], 0
            yield tuple(new), board[other]


def main():
    side = 3
    start = (1, 2, 3, 4, 5, 6, 7, 8, 0)
    seen = {start: {"path": [], "depth": 0, "from": None}}
    waiting = deque([start])
    while waiting and len(seen) < 400000:
        board = waiting.popleft()
        known = seen[board]
        for new, piece in moves(board, side):
            if new not in seen:
                seen[new] = {"path": [piece, known["depth"]], "depth": known["depth"] + 1, "from": known}
                waiting.append(new)
    print(len(seen), max(known["depth"] for known in seen.values()))


main()
