"""The parking problem by direct multiple shooting in casadi, solved by fatrop or IPOPT."""

from collections.abc import Callable
from typing import Any

import numpy as np


def solver(stated: dict[str, Any], name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of a start that returns the inputs, begun with inputs of zero and their states.

    Raises:
        ImportError: if casadi is not installed.
    """
    import casadi as ca

    steps, dt, disc = stated["horizon"], stated["dt"], stated["obstacle"]
    x, u, start = ca.SX.sym("x", 4), ca.SX.sym("u", 2), ca.SX.sym("start", 4)
    rates = ca.vertcat(
        x[3] * ca.cos(x[2]), x[3] * ca.sin(x[2]), x[3] / stated["wheelbase"] * ca.tan(u[1]), u[0]
    )
    move = ca.Function("move", [x, u], [x + dt * rates])
    goal, centre = ca.DM(stated["goal"]), ca.DM(disc["centre"])

    def cost(point: Any, weights: list[float]) -> Any:
        depth = ca.fmax(0, disc["radius"] ** 2 - ca.sumsqr(point[:2] - centre))
        return ca.dot(ca.DM(weights), (point - goal) ** 2) + disc["weight"] * depth**2

    states = [ca.SX.sym(f"x{k}", 4) for k in range(steps + 1)]
    inputs = [ca.SX.sym(f"u{k}", 2) for k in range(steps)]
    total, unknown, gaps, lower = 0, [], [], []
    for k in range(steps):
        # The order that fatrop finds the stages by: state, input, and the gap to the next state.
        unknown += [states[k], inputs[k]]
        lower += [-np.inf] * 4 + [-limit for limit in stated["control_limits"]]
        gaps.append(states[k + 1] - move(states[k], inputs[k]))
        if k == 0:
            gaps.append(states[0] - start)
        weights = ca.DM(stated["stage_weights_control"])
        total += cost(states[k], stated["stage_weights_state"]) + ca.dot(weights, inputs[k] ** 2)
    total += cost(states[-1], stated["terminal_weights_state"])
    unknown.append(states[-1])
    lower += [-np.inf] * 4
    program = {"x": ca.vertcat(*unknown), "f": total, "g": ca.vertcat(*gaps), "p": start}
    solve = ca.nlpsol("solve", *_options(name, 4 * steps + 4, program))

    def run(begin: np.ndarray) -> np.ndarray:
        point, first = np.asarray(begin, float), []
        for _ in range(steps):
            first += [*point, 0.0, 0.0]
            point = np.asarray(move(point, [0.0, 0.0])).ravel()
        box = {"lbx": lower, "ubx": [-value for value in lower], "lbg": 0, "ubg": 0}
        found = np.asarray(solve(x0=[*first, *point], p=np.asarray(begin, float), **box)["x"]).ravel()
        return found[:-4].reshape(steps, 6)[:, 4:]

    return run


def _options(name: str, equalities: int, program: dict) -> tuple[str, dict, dict]:
    quiet = {"expand": True, "print_time": False}
    if "IPOPT" in name:
        return "ipopt", program, quiet | {"ipopt.print_level": 0, "ipopt.sb": "yes"}
    settings: dict[str, Any] = {"print_level": 0}
    if "1e-4" in name:
        settings["tol"] = 1e-4
    structure = {"structure_detection": "auto", "equality": [True] * equalities, "fatrop": settings}
    return "fatrop", program, quiet | structure
