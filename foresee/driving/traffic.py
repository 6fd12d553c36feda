"""The drivers and the road behind `synthetic_recording`: plain NumPy, all vehicles at once."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

LANES = 3
LANE_WIDTH = 3.6
MERGE_LANE = LANES
CHANGE_SECONDS = 5.0
GRID = 0.25
HARDEST_BRAKE = 8.0


@dataclass(eq=False)
class Traffic:
    """The road's centre line on a grid of arc lengths, each driver's manner, and the present state.

    Lane 0 is the left one; the merging lane is on the right of the last and ends at `merge_end`. Offsets from
    the centre line of lane 0 count to the left. Units: metres, radians, seconds.
    """

    line: Float[np.ndarray, "N 4"]  # x, y, heading, curvature of lane 0 at every GRID metres from `origin`
    origin: float
    begin: float
    end: float
    merge_end: float
    desired_speed: Float[np.ndarray, "V"]
    headway: Float[np.ndarray, "V"]
    strength: Float[np.ndarray, "V"]
    comfort: Float[np.ndarray, "V"]
    standstill: Float[np.ndarray, "V"]
    politeness: Float[np.ndarray, "V"]
    length: Float[np.ndarray, "V"]
    width: Float[np.ndarray, "V"]
    slow_from: Float[np.ndarray, "V"]
    x: Float[np.ndarray, "V"]
    y: Float[np.ndarray, "V"]
    heading: Float[np.ndarray, "V"]
    speed: Float[np.ndarray, "V"]
    acceleration: Float[np.ndarray, "V"]
    curvature: Float[np.ndarray, "V"]
    along: Float[np.ndarray, "V"]
    lane: Int[np.ndarray, "V"]
    left_lane: Int[np.ndarray, "V"]
    since_change: Float[np.ndarray, "V"]
    mood: Float[np.ndarray, "V"]
    astray: Float[np.ndarray, "V"]
    time: float = 0.0
    _every: Int[np.ndarray, "V"] = field(init=False)

    def __post_init__(self):
        self._every = np.arange(len(self.x))

    @property
    def between(self) -> np.ndarray:
        """Which vehicles may still reach into the lane they come from."""
        return (self.since_change < CHANGE_SECONDS) | (self.astray > 0.5)

    def road(self, along: np.ndarray) -> np.ndarray:
        """x, y, heading and curvature of lane 0 at arc lengths, by linear interpolation."""
        place = np.clip((along - self.origin) / GRID, 0, len(self.line) - 1.001)
        k = place.astype(int)
        part = (place - k)[:, None]
        return (1 - part) * self.line[k] + part * self.line[k + 1]


def start_traffic(count: int, seconds: float | int, random: np.random.Generator) -> Traffic:
    """Set vehicles on the road, each in its lane, at a speed that its gap allows."""
    on_ramp = count // 12
    lane = np.r_[np.arange(count - on_ramp) % LANES, np.full(on_ramp, MERGE_LANE)]
    rank = np.r_[np.arange(count - on_ramp) // LANES, np.arange(on_ramp)]
    rows = int(rank.max()) + 1
    upstream = 9.0 * seconds
    span = max(32.0 * rows, upstream + 200.0)
    spacing = span / rows
    begin, end, merge_end = 0.0, span - upstream, 0.9 * (span - upstream)
    along = end - spacing * (rank + 0.5) + random.uniform(-0.2, 0.2, count) * min(spacing, 40.0)
    ramp = lane == MERGE_LANE
    along[ramp] = merge_end - 140.0 - 45.0 * rank[ramp] + random.uniform(-8, 8, count)[ramp]
    truck = (random.random(count) < 0.1) & (lane > 0)
    length = np.where(truck, random.uniform(9, 14, count), random.normal(4.7, 0.4, count).clip(3.6, 6.0))
    width = np.where(truck, 2.5, random.normal(1.9, 0.12, count).clip(1.6, 2.2))
    desired = random.normal(19.0, 2.0, count).clip(14, 25) - 1.0 * lane - 2.0 * truck
    slow = (lane < LANES) & (random.random(count) < 0.12)
    origin = float(along.min()) - 100.0
    line = _centre_line(origin, end + 40.0 * seconds + 200.0)
    traffic = Traffic(
        line=line, origin=origin, begin=begin, end=end, merge_end=merge_end,
        desired_speed=desired,
        headway=random.lognormal(np.log(1.3), 0.25, count).clip(0.8, 2.4),
        strength=random.normal(1.3, 0.25, count).clip(0.7, 2.0) * np.where(truck, 0.6, 1.0),
        comfort=random.normal(1.8, 0.3, count).clip(1.2, 2.6),
        standstill=random.uniform(1.8, 3.2, count),
        politeness=random.uniform(0.0, 0.5, count),
        length=length, width=width,
        slow_from=np.where(slow, random.uniform(0, max(seconds - 3, 1), count), np.inf),
        x=np.zeros(count), y=np.zeros(count), heading=np.zeros(count),
        speed=np.minimum(desired * random.uniform(0.75, 1.0, count), 0.5 * spacing),
        acceleration=np.zeros(count), curvature=np.zeros(count),
        along=along, lane=lane, left_lane=lane.copy(),
        since_change=random.uniform(2.0, 12.0, count) + CHANGE_SECONDS,
        mood=0.25 * random.normal(size=count),
        astray=np.zeros(count),
    )  # fmt: skip
    x, y, heading, curvature = traffic.road(along).T
    offset = -LANE_WIDTH * lane
    traffic.x, traffic.y = x - offset * np.sin(heading), y + offset * np.cos(heading)
    traffic.heading, traffic.curvature = heading.copy(), curvature / (1 - offset * curvature)
    return traffic


def _centre_line(begin: float, end: float) -> np.ndarray:
    """A gently winding road: the curvature is a sine of the arc length, radius 700 m at the tightest."""
    s = np.arange(begin, end, GRID)
    curvature = np.sin(2 * np.pi * s / 900.0) / 700.0
    heading = 0.3 - 900.0 / (2 * np.pi) * np.cos(2 * np.pi * s / 900.0) / 700.0
    x, y = (np.r_[0.0, np.cumsum(GRID * (f[1:] + f[:-1]) / 2)] for f in (np.cos(heading), np.sin(heading)))
    start = round(-begin / GRID)
    return np.stack([x - x[start], y - y[start], heading, curvature], axis=1)


def step_traffic(traffic: Traffic, dt: float, random: np.random.Generator) -> np.ndarray:
    """Let drivers decide, return the present state with that decision, and drive on for dt seconds.

    Returns:
        Rows x, y, heading, speed, acceleration, curvature, arc length; one column per vehicle.
    """
    gap, ahead = _leaders(traffic, traffic.lane)
    wanted = _idm(traffic, gap, ahead)
    # while its body is still partly in the lane it leaves, a driver watches that lane as well
    wanted = np.where(
        traffic.between, np.minimum(wanted, _idm(traffic, *_leaders(traffic, traffic.left_lane))), wanted
    )
    _change_lane(traffic, wanted)
    fade = np.exp(-dt / 1.5)
    traffic.mood = fade * traffic.mood + 0.25 * np.sqrt(1 - fade**2) * random.normal(size=len(wanted))
    moody = np.where(wanted > -2.0, wanted + traffic.mood, wanted)
    jerk = np.where(moody < -2.5, 12.0, 3.0) * dt
    accel = np.clip(moody, traffic.acceleration - jerk, traffic.acceleration + 3.0 * dt)
    traffic.acceleration = np.maximum(accel.clip(-HARDEST_BRAKE, 3.0), -traffic.speed / dt)
    traffic.curvature = _steer(traffic, dt)
    state = np.stack(
        [
            traffic.x, traffic.y, traffic.heading, traffic.speed,
            traffic.acceleration, traffic.curvature, traffic.along,
        ]
    )  # fmt: skip
    _drive(traffic, dt)
    return state


def _drive(traffic: Traffic, dt: float) -> None:
    """Kinematic bicycle, exact for constant acceleration and curvature: an arc, and its chord."""
    length = np.maximum(traffic.speed * dt + 0.5 * traffic.acceleration * dt**2, 0.0)
    turn = traffic.curvature * length
    chord = length * np.sinc(turn / (2 * np.pi))
    traffic.x = traffic.x + chord * np.cos(traffic.heading + turn / 2)
    traffic.y = traffic.y + chord * np.sin(traffic.heading + turn / 2)
    traffic.heading = traffic.heading + turn
    traffic.speed = np.maximum(traffic.speed + traffic.acceleration * dt, 0.0)
    for _ in range(2):  # Newton's steps for the foot of the perpendicular on the centre line
        x, y, heading, curvature = traffic.road(traffic.along).T
        c, s = np.cos(heading), np.sin(heading)
        offset = -s * (traffic.x - x) + c * (traffic.y - y)
        traffic.along = traffic.along + (c * (traffic.x - x) + s * (traffic.y - y)) / (1 - curvature * offset)
    # a slow vehicle cannot move sideways as fast, so its change takes longer
    traffic.since_change = traffic.since_change + dt * np.minimum(1.0, traffic.speed / 7.0)
    traffic.time += dt


def _leaders(traffic: Traffic, lane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gap to, and speed of, the next vehicle ahead of each vehicle if it were in the given lanes.

    A vehicle that changes lanes counts in both of them until it has arrived.
    """
    both = traffic.between
    there = (traffic.lane[None] == lane[:, None]) | (both & (traffic.left_lane == lane[:, None]))
    distance = traffic.along[None] - traffic.along[:, None]
    free = distance - (traffic.length[None] + traffic.length[:, None]) / 2
    free = np.where(there & (distance > 0), free, np.inf)
    lead = free.argmin(axis=1)
    gap = free[traffic._every, lead]
    speed = np.where(np.isfinite(gap), traffic.speed[lead], traffic.speed)
    wall = traffic.merge_end - traffic.along - traffic.length / 2
    walled = (lane == MERGE_LANE) & (wall < gap)
    return np.where(walled, wall, gap), np.where(walled, 0.0, speed)


def _idm(
    traffic: Traffic, gap: np.ndarray, ahead: np.ndarray, who: slice | np.ndarray = slice(None)
) -> np.ndarray:
    """Acceleration of the intelligent driver model; some drivers slow down for three seconds."""
    speed = traffic.speed[who]
    late = traffic.time - traffic.slow_from[who]
    desired = traffic.desired_speed[who] * np.where((late > 0) & (late < 3), 0.55, 1.0)
    strength, comfort = traffic.strength[who], traffic.comfort[who]
    closing = speed * (speed - ahead) / (2 * np.sqrt(strength * comfort))
    room = traffic.standstill[who] + np.maximum(0.0, speed * traffic.headway[who] + closing)
    free = strength * (1 - (speed / desired) ** 4)
    return np.clip(free - strength * (room / np.maximum(gap, 0.1)) ** 2, -HARDEST_BRAKE, 3.0)


def _change_lane(traffic: Traffic, now: np.ndarray) -> None:
    """Let at most one driver begin to change lanes, the one who gains most by MOBIL's rule."""
    best, gain = None, 0.15
    ready = traffic.since_change > 2.0 * CHANGE_SECONDS
    ready |= traffic.lane == MERGE_LANE
    ready &= ~traffic.between & (traffic.speed > 3.0)
    for side in (-1, 1):
        target = traffic.lane + side
        allowed = ready & (target >= 0) & (target < LANES)
        if not allowed.any():
            continue
        gap, ahead = _leaders(traffic, target)
        then = _idm(traffic, gap, ahead)
        rear, follower = _followers(traffic, target)
        has = np.isfinite(rear)
        shoved = np.where(has, _idm(traffic, rear, traffic.speed, follower), 0.0)
        cost = np.where(has, now[follower] - shoved, 0.0)
        merging = traffic.lane == MERGE_LANE
        urge = np.where(merging, 3.0, -0.1 * side)
        profit = then - now - traffic.politeness * np.maximum(cost, 0.0) + urge
        brake = np.where(merging, -5.0, -2.5)
        closing = np.where(has, np.maximum(traffic.speed[follower] - traffic.speed, 0.0), 0.0)
        safe = (then > brake) & (shoved > brake) & (gap > 3.0) & (rear > 4.0 + 1.5 * closing)
        profit = np.where(allowed & safe, profit, -np.inf)
        if profit.max() > gain:
            best, gain = (int(profit.argmax()), side), float(profit.max())
    if best is not None:
        who, side = best
        traffic.left_lane[who] = traffic.lane[who]
        traffic.lane[who] += side
        traffic.since_change[who] = 0.0


def _followers(traffic: Traffic, lane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gap to, and index of, the next vehicle behind each vehicle if it were in the given lanes."""
    both = traffic.between
    there = (traffic.lane[None] == lane[:, None]) | (both & (traffic.left_lane == lane[:, None]))
    distance = traffic.along[:, None] - traffic.along[None]
    free = distance - (traffic.length[None] + traffic.length[:, None]) / 2
    free = np.where(there & (distance >= 0) & ~np.eye(len(lane), dtype=bool), free, np.inf)
    follower = free.argmin(axis=1)
    return free[traffic._every, follower], follower


def _steer(traffic: Traffic, dt: float) -> np.ndarray:
    """Curvature that follows the lane, or a quintic from the old lane to the new, with damped feedback."""
    x, y, heading, curvature = traffic.road(traffic.along).T
    offset = -np.sin(heading) * (traffic.x - x) + np.cos(heading) * (traffic.y - y)
    angle = traffic.heading - heading
    speed = np.maximum(traffic.speed, 3.0)
    part = np.clip(traffic.since_change / CHANGE_SECONDS, 0.0, 1.0)
    jump = -LANE_WIDTH * (traffic.lane - traffic.left_lane)
    traffic.astray = np.abs(offset + LANE_WIDTH * traffic.lane)
    way = -LANE_WIDTH * traffic.left_lane + jump * part**3 * (10 - 15 * part + 6 * part**2)
    slow = np.minimum(1.0, traffic.speed / 7.0)
    rate = slow * jump * 30 * part**2 * (1 - part) ** 2 / CHANGE_SECONDS
    bend = slow**2 * jump * 60 * part * (1 - part) * (1 - 2 * part) / CHANGE_SECONDS**2
    sideways = bend - 0.8**2 * (offset - way) - 1.6 * (speed * np.sin(angle) - rate)
    wanted = curvature * np.cos(angle) / (1 - offset * curvature) + sideways / speed**2
    most = np.minimum(0.1, 3.0 / speed**2)
    quickest = np.clip(4.0 / speed**2, 0.02, 0.15) * dt
    change = np.clip(wanted.clip(-most, most) - traffic.curvature, -quickest, quickest)
    return traffic.curvature + change
