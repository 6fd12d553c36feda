"""Other traffic simulators on the same stretch of road: three lanes, vehicles 40 m apart, steps of 0.1 s."""

import tempfile
import time
from pathlib import Path

ROAD = 20_000.0
SPACING, SPEED = 40.0, 22.0


def highway_env(vehicles: int, steps: int) -> float:
    """Return vehicle-steps per second of highway-env: decisions, motion and its own collision check."""
    import gymnasium
    import highway_env as _registers  # noqa: F401

    config = {
        "vehicles_count": vehicles - 1,
        "lanes_count": 3,
        "simulation_frequency": 10,
        "policy_frequency": 10,
        "duration": 10_000,
    }
    environment = gymnasium.make("highway-v0", config=config)
    environment.reset(seed=0)
    road = environment.unwrapped.road  # pyright: ignore[reportAttributeAccessIssue]
    begin = time.perf_counter()
    for _ in range(steps):
        road.act()
        road.step(0.1)
    seconds = time.perf_counter() - begin
    environment.close()
    return len(road.vehicles) * steps / seconds


def libsumo(vehicles: int, steps: int, *, metrics: bool) -> float:
    """Return vehicle-steps per second of SUMO in the same process, by the intelligent driver model.

    With metrics its safety device computes times to collision, and speeds, accelerations and positions of all
    vehicles are handed over after every step; without them nothing leaves the simulator.
    """
    import libsumo as sumo

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "road.net.xml").write_text(_network())
        (folder / "traffic.rou.xml").write_text(_traffic(vehicles, folder if metrics else None))
        command = ["sumo", "-n", str(folder / "road.net.xml"), "-r", str(folder / "traffic.rou.xml")]
        command += ["--step-length", "0.1", "--collision.action", "warn", "--no-warnings", "--no-step-log"]
        sumo.start(command)
        sumo.simulationStep()
        fields = (0x40, 0x72, 0x42)  # speed, acceleration, position
        if metrics:
            for each in sumo.vehicle.getIDList():
                sumo.vehicle.subscribe(each, fields)
        done = 0
        begin = time.perf_counter()
        for _ in range(steps):
            sumo.simulationStep()
            done += len(sumo.vehicle.getAllSubscriptionResults()) if metrics else vehicles
        seconds = time.perf_counter() - begin
        there = sumo.vehicle.getIDCount()
        sumo.close()
    if there != vehicles or done != vehicles * steps:
        raise RuntimeError(f"expected {vehicles} vehicles to the end, got {there}")
    return done / seconds


def _network() -> str:
    lanes = "".join(
        f'<lane id="e_{i}" index="{i}" speed="33.33" length="{ROAD}" '
        f'shape="0,{-3.5 * (2 - i)} {ROAD},{-3.5 * (2 - i)}"/>'
        for i in range(3)
    )
    return (
        f'<net version="1.20"><location netOffset="0,0" convBoundary="0,-10,{ROAD},10" '
        f'origBoundary="0,-10,{ROAD},10" projParameter="!"/><edge id="e" from="a" to="b" priority="1">{lanes}'
        '</edge><junction id="a" type="dead_end" x="0" y="0" incLanes="" intLanes="" shape="0,0"/>'
        f'<junction id="b" type="dead_end" x="{ROAD}" y="0" incLanes="e_0 e_1 e_2" intLanes="" '
        f'shape="{ROAD},0"/></net>'
    )


def _traffic(vehicles: int, metrics: Path | None) -> str:
    """All vehicles on the road at once; the safety device writes into the folder, if there is one."""
    each = "".join(
        f'<vehicle id="v{i}" type="car" route="r" depart="0" departLane="{i % 3}" '
        f'departPos="{50 + SPACING * (i // 3) + 3 * (i % 3)}" departSpeed="{SPEED}"/>'
        for i in range(vehicles)
    )
    device = '<param key="has.ssm.device" value="true"/><param key="device.ssm.measures" value="TTC"/>'
    device += f'<param key="device.ssm.file" value="{metrics}/ssm.xml"/>'
    return (
        '<routes><vType id="car" carFollowModel="IDM" length="4.7" width="1.9" accel="1.4" decel="2.0" '
        f'tau="1.5" minGap="2" maxSpeed="33.3">{device if metrics else ""}</vType>'
        f'<route id="r" edges="e"/>{each}</routes>'
    )
