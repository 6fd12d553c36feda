"""Shortest paths on one grid with other libraries: each takes free cells, returns query → length."""

from collections.abc import Callable

import numpy as np

from benchmarks.measure import NotSupported

Query = Callable[[tuple[int, int], tuple[int, int]], float]
ROOT = 2**0.5


def edges(free: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ends of all undirected steps, numbered along rows, and their lengths."""
    number = np.arange(free.size).reshape(free.shape)
    right = free[:, :-1] & free[:, 1:]
    down = free[:-1] & free[1:]
    square = right[:-1] & right[1:]
    pairs = [
        (number[:, :-1][right], number[:, 1:][right], 1.0),
        (number[:-1][down], number[1:][down], 1.0),
        (number[:-1, :-1][square], number[1:, 1:][square], ROOT),
        (number[:-1, 1:][square], number[1:, :-1][square], ROOT),
    ]
    one, two = (np.concatenate([pair[k] for pair in pairs]) for k in range(2))
    return one, two, np.concatenate([np.full(len(pair[0]), pair[2]) for pair in pairs])


def octile(columns: int, goal: int) -> Callable[[int], float]:
    """Return the octile distance of a cell from the goal."""
    row, column = divmod(goal, columns)

    def distance(cell: int) -> float:
        y, x = divmod(cell, columns)
        across, along = abs(x - column), abs(y - row)
        return max(across, along) + (ROOT - 1) * min(across, along)

    return distance


def along(path: list[int], columns: int) -> float:
    """Return the length of a path of cells."""
    rows, places = np.divmod(np.array(path), columns)
    return float(np.hypot(np.diff(rows), np.diff(places)).sum())


def scipy_dijkstra(free: np.ndarray) -> Query:
    """Dijkstra's algorithm over the whole map, compiled."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    one, two, lengths = edges(free)
    graph = coo_array((lengths, (one, two)), shape=(free.size, free.size)).tocsr()
    columns = free.shape[1]

    def query(start: tuple[int, int], goal: tuple[int, int]) -> float:
        far = dijkstra(graph, directed=False, indices=start[1] * columns + start[0])
        return float(far[goal[1] * columns + goal[0]])

    return query


def scikit_image(free: np.ndarray) -> Query:
    """Minimum cost paths of scikit-image; they cut corners."""
    from skimage.graph import MCP_Geometric

    costs = np.where(free, 1.0, -1.0)

    def query(start: tuple[int, int], goal: tuple[int, int]) -> float:
        search = MCP_Geometric(costs)
        far, _ = search.find_costs([(start[1], start[0])], [(goal[1], goal[0])])
        return float(far[goal[1], goal[0]])

    return query


def rustworkx(free: np.ndarray) -> Query:
    """A* of rustworkx, its costs in Python."""
    import rustworkx as rx

    one, two, lengths = edges(free)
    graph = rx.PyGraph()
    graph.add_nodes_from(list(range(free.size)))
    graph.add_edges_from(list(zip(one.tolist(), two.tolist(), lengths.tolist(), strict=True)))
    columns = free.shape[1]

    def query(start: tuple[int, int], goal: tuple[int, int]) -> float:
        last = goal[1] * columns + goal[0]
        path = rx.astar_shortest_path(
            graph, start[1] * columns + start[0], lambda node: node == last, float, octile(columns, last)
        )
        return along(list(path), columns)

    return query


def networkx(free: np.ndarray) -> Query:
    """A* of networkx."""
    import networkx as nx

    one, two, lengths = edges(free)
    graph = nx.Graph()
    graph.add_weighted_edges_from(zip(one.tolist(), two.tolist(), lengths.tolist(), strict=True))
    columns = free.shape[1]

    def query(start: tuple[int, int], goal: tuple[int, int]) -> float:
        last = goal[1] * columns + goal[0]
        distance = octile(columns, last)
        path = nx.astar_path(graph, start[1] * columns + start[0], last, lambda node, _: distance(node))
        return along(path, columns)

    return query


def pathfinding(free: np.ndarray) -> Query:
    """A* of python-pathfinding."""
    from pathfinding.core.diagonal_movement import DiagonalMovement
    from pathfinding.core.grid import Grid
    from pathfinding.core.heuristic import octile as distance
    from pathfinding.finder.a_star import AStarFinder

    grid = Grid(matrix=free.astype(int).tolist())

    def query(start: tuple[int, int], goal: tuple[int, int]) -> float:
        grid.cleanup()
        finder = AStarFinder(
            heuristic=distance, diagonal_movement=DiagonalMovement.only_when_no_obstacle, max_runs=10**9
        )
        path, _ = finder.find_path(grid.node(*start), grid.node(*goal), grid)
        if not path:
            raise NotSupported("found no path")
        return along([node.y * free.shape[1] + node.x for node in path], free.shape[1])

    return query


PEERS = {
    "SciPy dijkstra": scipy_dijkstra,
    "scikit-image MCP": scikit_image,
    "rustworkx A*": rustworkx,
    "networkx A*": networkx,
    "python-pathfinding A*": pathfinding,
}
CUTS_CORNERS = {"scikit-image MCP"}
