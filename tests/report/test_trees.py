import numpy as np

from foresee.planning import Obstacles, rrt_connect, rrt_star
from foresee.report.trees import draw_lengths, draw_tree


def test_trees_and_lengths_are_drawn():
    discs, triangle = np.array([[5.0, 5.0, 2.0]]), np.array([[1.0, 6.0], [3.0, 6.0], [2.0, 8.0]])
    blocked = np.zeros((10, 10), bool)
    blocked[2, 7] = True
    obstacles = Obstacles(np.zeros(2), np.full(2, 10.0), discs, (triangle,), blocked)
    ends = np.array([1.0, 1.0]), np.array([9.0, 9.0])
    path = rrt_star(obstacles, *ends, seed=0, seconds=0.5)
    figure = draw_tree(obstacles, path)
    assert f"length {path.length:.2f}" in figure.caption
    assert figure.svg.startswith("<?xml")
    assert f"RRT*: {path.length:.2f}" in draw_lengths({"RRT*": path}, best=11.5).alt
    closed = Obstacles(
        np.zeros(2), np.full(2, 10.0), polygons=(np.array([[0, 5], [10, 5], [10, 6], [0, 6.0]]),)
    )
    none = rrt_connect(closed, *ends, seed=0, most=50)
    assert "no path: out of effort" in draw_tree(closed, none).alt
    assert "–" in draw_lengths({"none": none}).alt
