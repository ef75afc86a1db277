import math

import mujoco
import numpy as np
import pytest
import torch

from proto_envs.simulators.mjcf import GROUND, add_ground
from proto_envs.terrain import FLAT, PRESETS, Terrain, TerrainConfig, generate, make_terrain
from proto_envs.terrain.kinds import KINDS

SMALL = {"tile_size": 8.0, "border": 0.5, "columns": 1, "levels": 2}


def of_kind(kind, **fields):
    """Two small tiles of a kind, of difficulties 0 and 1/2."""
    return generate(TerrainConfig(proportions={kind: 1.0}, **{**SMALL, **fields}))


def uniform(low, high, *shape, seed=0):
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def terrain(kind):
    return of_kind(kind)


def compiled(terrain, build=lambda spec: None):
    spec = mujoco.MjSpec()
    spec.option.timestep = 1e-3
    add_ground(spec, 1.0, terrain)
    build(spec)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


# --- heights ---------------------------------------------------------------------------------------------------------


def test_heights_are_where_mujocos_rays_hit(terrain):
    model, data = compiled(terrain)
    reach = torch.tensor(terrain.size)
    points = uniform(-0.5, 0.5, 2000, 2) * (reach + 1.0)
    # Vertices, edges and diagonals too; a ray that slips between triangles hits the next thing or nothing.
    points[:400] = (points[:400] / terrain.spacing).round() * terrain.spacing
    heights = terrain.heights(points)
    geom, down, all_groups = np.zeros(1, np.int32), np.array([0.0, 0.0, -1.0]), np.ones(6, np.uint8)
    for point, height in zip(points.double().numpy(), heights.numpy(), strict=True):
        hits = []
        for shift in (0.0, 1e-6):
            start = np.array([point[0] + shift, point[1] + 0.3 * shift, 5.0])
            hits.append(5.0 - mujoco.mj_ray(model, data, start, down, all_groups, 1, -1, geom))
        assert min(abs(hit - height) for hit in hits) < 1e-4, (point, height, hits)


def test_balls_come_to_rest_on_the_height(terrain):
    radius = 0.01
    places = terrain.draw_spawns(12, torch.Generator().manual_seed(1)) + uniform(-0.05, 0.05, 12, 2)
    heights = terrain.heights(places).double().numpy()

    def build(spec):
        for (x, y), z in zip(places.tolist(), heights, strict=True):
            body = spec.worldbody.add_body(pos=(x, y, z + radius + 0.02))
            # Up and down alone: a free ball would roll off a slope.
            body.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=(0, 0, 1))
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(radius, 0, 0))

    model, data = compiled(terrain, build)
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert np.abs(data.qvel).max() < 1e-2
    # A ball on a slope touches it sideways: on 0.9 along x and y its middle is 1.62 radii above the ground below it.
    gap = data.qpos + 0.02
    assert gap.min() > -1e-3 and gap.max() < 0.62 * radius + 1e-3
    level = terrain.heights(places.unsqueeze(1) + uniform(-0.02, 0.02, 50, 2)).double().numpy()
    level = np.ptp(level, axis=1) < 1e-6
    np.testing.assert_allclose(gap[level], 0.0, atol=1e-3)


def test_a_cell_is_cut_along_the_diagonal_from_its_least_to_its_greatest_corner():
    grid = torch.zeros(4, 4)
    grid[2, 1] = 1.0
    terrain = Terrain.from_grid(grid, 2.0, walkable_slope=9.0)
    # The cell from (-1, -1) to (1, 1), by hand: only the corner with the greater x is up.
    points = torch.tensor([[0.9, -0.9], [0.0, 0.0], [-0.5, 0.5], [0.5, -0.5], [0.0, -0.5], [1.0, 0.0]])
    np.testing.assert_allclose(terrain.heights(points), [0.9, 0.0, 0.0, 0.5, 0.25, 0.5], atol=1e-6)


def test_the_ground_is_level_beyond_the_edge_and_for_points_that_are_no_numbers(terrain):
    far = torch.tensor([[1e3, 0.0], [-1e9, 3.0], [0.0, math.inf], [math.nan, 0.0]])
    assert not terrain.heights(far).any()


def test_heights_keep_the_shape_and_take_points_in_space(terrain):
    points = uniform(-3, 3, 2, 5, 3)
    heights = terrain.heights(points)
    assert heights.shape == (2, 5)
    assert torch.equal(heights, terrain.heights(points[..., :2]))
    assert terrain.heights(points[:0]).shape == (0, 5)


def test_flat_ground_is_at_0_everywhere():
    assert FLAT.is_flat and of_kind("flat").is_flat and make_terrain("flat") is FLAT
    assert not FLAT.heights(uniform(-9, 9, 7, 3)).any()
    assert not FLAT.draw_spawns(3, torch.Generator()).any()


# --- kinds -----------------------------------------------------------------------------------------------------------


def tile(kind, difficulty=0.5, cells=200, spacing=0.1, seed=0):
    return KINDS[kind](cells, spacing, difficulty, np.random.default_rng(seed))


def test_every_tile_is_0_along_its_rim_and_level_in_its_middle(kind):
    heights = tile(kind)
    assert heights.shape == (201, 201)
    assert not (heights[[0, -1]].any() or heights[:, [0, -1]].any())
    if kind != "rough_slope":
        assert np.ptp(heights[86:115, 86:115]) == 0


@pytest.mark.parametrize(
    ("kind", "x", "expected"),
    [
        # 0.4 d = 0.2: 5 m from the rim 1 m high; the platform begins 8.5 m from it.
        ("smooth_slope", 50, 1.0),
        ("smooth_slope", 100, 1.7),
        # 0.05 + 0.175 d = 0.1375 m each 0.3 m: 5 m from the rim on step 16; 28 steps up to the platform.
        ("stairs_up", 50, 16 * 0.1375),
        ("stairs_up", 100, 28 * 0.1375),
        ("stairs_down", 50, -16 * 0.1375),
        ("stepping_stones", 100, 0.0),
        ("flat", 50, 0.0),
    ],
)
def test_heights_of_a_tile_worked_out_by_hand(kind, x, expected):
    assert tile(kind)[x, 100] == pytest.approx(expected)


def test_noise_boxes_stones_and_poles_have_the_sizes_of_the_facts():
    noise = tile("rough_slope") - tile("smooth_slope")
    assert np.abs(noise).max() == pytest.approx(0.1)
    known = noise[2:-2:2, 2:-2:2] / 0.025
    np.testing.assert_allclose(known, known.round(), atol=1e-9)
    np.testing.assert_allclose(noise[3:-2:2, 2:-2:2], 0.5 * (noise[2:-3:2, 2:-2:2] + noise[4:-1:2, 2:-2:2]), atol=1e-9)
    steps = np.unique(tile("discrete").round(6))
    assert set(steps) == {-0.1, -0.05, 0.0, 0.05, 0.1}
    stones = tile("stepping_stones", difficulty=0.5)  # sides of 1.1 m: 11 cells, 12 vertices, then a crack
    assert set(np.unique(stones)) == {-1.0, 0.0}
    assert (stones[13, 1:-1] == 0).sum() > 0 and (stones[12, 1:-1] == -1).all() and (stones[25, 1:-1] == -1).all()
    poles = tile("poles")
    assert set(np.unique(poles)) == {0.0, 2.0}
    assert 20 < (poles > 0).sum() / 4 < 64


def test_difficulty_grows_along_the_rows():
    terrain = generate(TerrainConfig(proportions={"stairs_up": 1.0}, tile_size=8.0, border=0.0, columns=1, levels=4))
    middles = terrain.heights(torch.tensor([[-12.0, 0.0], [-4.0, 0.0], [4.0, 0.0], [12.0, 0.0]]))
    np.testing.assert_allclose(middles, [8 * (0.05 + 0.175 * d) for d in (0.0, 0.25, 0.5, 0.75)], atol=1e-5)


def test_columns_follow_the_proportions():
    kinds = make_terrain({"levels": 1, "tile_size": 6.0, "border": 1.0}).tiles[0]
    assert kinds == ("smooth_slope",) * 2 + ("rough_slope", "stairs_up", "stairs_down", "discrete") + ("flat",) * 4
    twenty = generate(TerrainConfig(columns=20, levels=1, tile_size=6.0, border=0.0)).tiles[0]
    assert [twenty.count(kind) for kind in KINDS] == [4, 2, 2, 2, 1, 0, 0, 9]
    one = generate(TerrainConfig(proportions={"poles": 3, "flat": 1}, columns=1, levels=1, tile_size=6.0)).tiles
    assert one == (("poles",),)


def test_the_border_is_level():
    terrain = generate(TerrainConfig(proportions={"rough_slope": 1}, columns=1, levels=1, tile_size=6.0, border=2.0))
    assert terrain.grid.shape == (101, 101)
    assert not terrain.grid[:21].any() and not terrain.grid[:, 80:].any() and terrain.grid[21:80, 21:80].any()


def test_the_same_seed_gives_the_same_ground_and_another_another(kind):
    a, b, other = of_kind(kind), of_kind(kind), of_kind(kind, seed=1)
    assert torch.equal(a.grid, b.grid) and torch.equal(a.spawn_points, b.spawn_points)
    random = kind in ("rough_slope", "discrete", "stepping_stones", "poles")
    assert torch.equal(a.grid, other.grid) != random


def test_a_tile_stays_the_same_when_rows_are_added():
    few, more = of_kind("rough_slope"), of_kind("rough_slope", levels=3)
    assert torch.equal(few.grid[5:85], more.grid[5:85])


# --- starting points -------------------------------------------------------------------------------------------------


def test_starting_points_have_no_steep_ground_near_them(terrain):
    assert len(terrain.spawn_points) > 10
    around = torch.cartesian_prod(torch.linspace(-0.3, 0.3, 13), torch.linspace(-0.3, 0.3, 13))
    heights = terrain.heights(terrain.spawn_points[:, None] + around)
    # 0.9 along each axis, between neighbours 0.05 m apart.
    square = heights.unflatten(1, (13, 13))
    assert square.diff(dim=1).abs().max() <= 0.9 * 0.05 + 1e-4
    assert square.diff(dim=2).abs().max() <= 0.9 * 0.05 + 1e-4


def test_starting_points_lie_on_their_tiles_and_each_tile_is_drawn_as_often():
    terrain = generate(TerrainConfig(proportions={"flat": 1, "stairs_up": 1}, columns=2, levels=2, tile_size=8.0))
    assert len(terrain.spawn_starts) == 5
    drawn = terrain.draw_spawns(4000, torch.Generator().manual_seed(0))
    assert (drawn.abs() <= 8.0).all()
    known = {tuple(point) for point in terrain.spawn_points.tolist()}
    assert all(tuple(point) in known for point in drawn.tolist())
    tile = (drawn[:, 0] >= 0).long() * 2 + (drawn[:, 1] >= 0)
    shares = torch.bincount(tile, minlength=4) / len(drawn)
    # On a binomial share of 1/4 among 4000, four standard deviations are 0.027.
    np.testing.assert_allclose(shares, 0.25, atol=0.028)
    again = terrain.draw_spawns(4000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


def test_ground_without_a_place_to_start_is_refused():
    with pytest.raises(ValueError, match=r"no place to start, everything is steeper than 0\.9"):
        Terrain.from_grid(100 * torch.rand(30, 30), 0.1)


# --- files and words -------------------------------------------------------------------------------------------------


def test_a_saved_terrain_is_read_back_bit_for_bit(terrain, tmp_path):
    path = tmp_path / "ground.npz"
    terrain.save(path)
    for read in (Terrain.load(path), make_terrain(str(path)), make_terrain(path)):
        for name in ("grid", "spawn_points", "spawn_starts"):
            assert torch.equal(getattr(read, name), getattr(terrain, name)), name
            assert getattr(read, name).dtype == getattr(terrain, name).dtype
        assert (read.spacing, read.tiles, read.tile_size) == (terrain.spacing, terrain.tiles, terrain.tile_size)
    assert [p.name for p in tmp_path.iterdir()] == ["ground.npz"]


def test_heights_of_ones_own_need_only_a_grid_and_a_spacing(tmp_path):
    path = tmp_path / "hill.npz"
    x, y = np.meshgrid(np.linspace(-1, 1, 81), np.linspace(-1, 1, 61), indexing="ij")
    np.savez(path, grid=1.0 - 0.5 * (x**2 + y**2), spacing=0.1)
    hill = Terrain.load(path)
    # Its edge is not at 0: a ring of cells leads down to it.
    assert hill.size == pytest.approx((8.2, 6.2))
    assert hill.heights(torch.zeros(2)) == pytest.approx(1.0)
    assert hill.heights(torch.tensor([4.1, 0.0])) == 0.0
    model, _ = compiled(hill)
    assert model.hfield_nrow[0] == 63 and model.hfield_ncol[0] == 83


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"grid": np.zeros((3, 3))}, r"lacks \['spacing'\]"),
        ({"grid": np.zeros(3), "spacing": 0.1}, r"at least 2 x 2 heights.*got \(3,\)"),
        ({"grid": np.full((3, 3), np.nan), "spacing": 0.1}, "NaN or infinite"),
        ({"grid": np.zeros((3, 3)), "spacing": 0.0}, "spacing must be positive"),
        ({"grid": np.array([["a", "b"]]), "spacing": 0.1}, "could not convert"),
        ({"grid": np.array([None, 1]), "spacing": 0.1}, "cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, arrays, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"bad\.npz.*{message}"):
        Terrain.load(path)


def test_damaged_files_are_clear_errors(tmp_path):
    path = tmp_path / "cut.npz"
    of_kind("rough_slope").save(path)
    whole = path.read_bytes()
    for end in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"cut\.npz"):
            Terrain.load(path)


@pytest.mark.parametrize(
    ("terrain", "error", "message"),
    [
        ("complx", ValueError, r"'complx': did you mean 'complex'.*no such file.*\['flat', 'complex', 'harsh'\]"),
        ({"level": 3}, TypeError, r"no field 'level': did you mean 'levels'"),
        ({"levels": 2.5}, TypeError, r"'levels' wants int, got 2\.5"),
        ({"proportions": [1, 2]}, TypeError, r"'proportions' wants Mapping"),
        ({"proportions": {"stairs": 1}}, ValueError, r"no kind 'stairs'.*did you mean 'stairs_up'"),
        ({"proportions": {"flat": -1}}, ValueError, "share of flat must be at least 0"),
        ({"proportions": {}}, ValueError, "at least one kind"),
        ({"levels": 0}, ValueError, "levels must be at least 1"),
        ({"tile_size": 1.0}, ValueError, r"tile_size must be at least 6\.0"),
        ({"border": math.inf}, ValueError, "border must be at least 0.0 and finite"),
        ({"spacing": 0.001}, ValueError, "spacing must be from 0.02"),
        (3, TypeError, "terrain=3: want a name"),
    ],
)
def test_wrong_words_for_a_terrain_are_refused(terrain, error, message):
    with pytest.raises(error, match=message):
        make_terrain(terrain)


def test_presets_are_the_mixtures_of_the_facts():
    assert PRESETS["complex"].proportions["flat"] == 0.45
    assert "flat" not in PRESETS["harsh"].proportions


# --- physics model ---------------------------------------------------------------------------------------------------


def test_the_ground_goes_on_level_beyond_the_height_field():
    terrain = of_kind("smooth_slope")
    model, data = compiled(terrain)
    geom = np.zeros(1, np.int32)
    for x, y in ((0.0, 5.0), (-9.0, 0.0), (30.0, 30.0), (-200.0, 90.0)):
        hit = mujoco.mj_ray(
            model, data, np.array([x, y, 3.0]), np.array([0, 0, -1.0]), np.ones(6, np.uint8), 1, -1, geom
        )
        assert hit == pytest.approx(3.0) and model.geom(geom[0]).name.startswith(f"{GROUND}_")
