"""Is there bone at this point? The rule of a procedural skull, compiled: vault, base, face, jaw, spine.

Points are in the frame of `Anatomy` (mm; x left, y back, z up; origin in the middle of the vault's length).
"""

import numpy as np
from numba import njit, prange


@njit(cache=True)
def _noise(field, x, y, z, wavelength):
    """Periodic value noise: trilinear between the lattice's numbers, one number each `wavelength` mm."""
    n = field.shape[0]
    x, y, z = x / wavelength, y / wavelength, z / wavelength
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    u, v, w = x - i, y - j, z - k
    i, j, k = i % n, j % n, k % n
    i1, j1, k1 = (i + 1) % n, (j + 1) % n, (k + 1) % n
    near = (field[i, j, k] * (1 - u) + field[i1, j, k] * u) * (1 - v) + (
        field[i, j1, k] * (1 - u) + field[i1, j1, k] * u
    ) * v
    far = (field[i, j, k1] * (1 - u) + field[i1, j, k1] * u) * (1 - v) + (
        field[i, j1, k1] * (1 - u) + field[i1, j1, k1] * u
    ) * v
    return near * (1 - w) + far * w


@njit(cache=True)
def _capsule(px, py, pz, ax, ay, az, bx, by, bz):
    """Distance of point p from the segment a-b."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    t = ((px - ax) * dx + (py - ay) * dy + (pz - az) * dz) / (dx * dx + dy * dy + dz * dz)
    t = min(1.0, max(0.0, t))
    return np.sqrt((px - ax - t * dx) ** 2 + (py - ay - t * dy) ** 2 + (pz - az - t * dz) ** 2)


@njit(cache=True)
def _ellipsoid(px, py, pz, cx, cy, cz, rx, ry, rz):
    """Below 1 inside the ellipsoid, 1 on it."""
    return np.sqrt(((px - cx) / rx) ** 2 + ((py - cy) / ry) ** 2 + ((pz - cz) / rz) ** 2)


@njit(cache=True)
def _step(value, low, high):
    """0 below low, 1 above high, smooth between."""
    t = min(1.0, max(0.0, (value - low) / (high - low)))
    return t * t * (3 - 2 * t)


@njit(cache=True)
def _bump(x, y, z, cx, cy, cz, width):
    return np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * width * width))


@njit(cache=True)
def _outer_depth(x, y, z, a):
    """Depth below the outer table of the vault in mm (negative outside), measured along the ray to the origin."""
    length, forward = a.half_length, y / a.half_length
    breadth = a.half_breadth * (
        1 - a.frontal_narrowing * _step(-forward, -0.15, 1.0) - a.occipital_narrowing * _step(forward, 0.3, 1.0)
    )
    breadth *= 1 - 0.07 * _step(-z / a.bottom, 0.0, 1.0)
    height = a.top if z > 0 else a.bottom * (1.0 + 0.25 * _step(forward, 0.0, 0.8))
    p = a.roundness
    f = (np.abs(x / breadth) ** p + np.abs(forward) ** p + np.abs(z / height) ** p) ** (1 / p)
    if f < 1e-3:
        return length
    r = np.sqrt(x * x + y * y + z * z)
    side = abs(x)
    if r / f - r > 30 or r / f - r < -12:
        return r / f - r  # far from the table the bosses do not matter
    boss = a.bossing * (
        _bump(side, y, z, 0.75 * breadth, 0.2 * length, 0.6 * a.top, 28)
        + 0.6 * _bump(side, y, z, 30, -0.88 * length, 0.45 * a.top, 20)
        + 0.6 * _bump(x, y, z, 0, length, -8, 16)
    )
    return r / f - r + boss


@njit(cache=True)
def _vault_thickness(x, y, z, a, noise):
    """Thickness map in mm: thin at the temple, thick at the bosses, the midline and the occiput."""
    side = abs(x)
    temple = _bump(0, y, z, 0, -0.15 * a.half_length, -2, 26) * _step(
        side, 0.55 * a.half_breadth, 0.85 * a.half_breadth
    )
    boss = _bump(side, y, z, 0.7 * a.half_breadth, 0.25 * a.half_length, 0.6 * a.top, 30)
    occiput = _bump(x, y, z, 0, a.half_length, -5, 24)
    crest = _bump(x, 0, 0, 0, 0, 0, 14) * _step(np.abs(y), 0.5 * a.half_length, a.half_length)
    brow = _bump(side, y, z, 18, -a.half_length, 4, 16)
    t = a.thickness * (
        1
        - a.temporal_thinning * temple
        + a.boss_thickening * boss
        + a.occipital_thickening * (occiput + 0.4 * crest)
        + 0.5 * brow
    )
    return max(1.6, t * (1 + a.thickness_noise * _noise(noise[0], x, y, z, 22.0)))


@njit(cache=True)
def _base_height(x, y, a):
    """Upper surface of the skull base: anterior, middle and posterior fossae as steps, petrous ridges oblique."""
    length, side = a.half_length, abs(x)
    middle = a.middle_floor + 16 * (1 - _step(side, 6, 24))  # the sella stands up in the midline
    to_middle = _step(y + 0.42 * side, -0.22 * length, -0.08 * length)
    to_posterior = _step(y + 0.35 * (side - 20), 0.02 * length, 0.16 * length)
    floor = a.anterior_floor + 4 * (1 - _step(side, 4, 14)) + to_middle * (middle - a.anterior_floor)
    floor += to_posterior * (-a.bottom - 30 - floor)
    return floor + a.base_tilt * 0.2 * y


@njit(cache=True)
def is_bone(x, y, z, a, noise):
    length = a.half_length
    side = abs(x)
    if z < a.cut_z + a.cut_tilt * y:
        return False
    if z > 18:  # nothing but the vault is as high as this: most points are settled here
        depth = _outer_depth(x, y, z, a)
        if depth < -4 or depth > 24:
            return False
    rough = a.surface_noise * _noise(noise[2], x, y, z, 3.0)
    hole = _noise(noise[3], x, y, z, 5.0)
    depth = _outer_depth(x, y, z, a) + rough
    # -- spaces of the face: no bone in them, whatever lies around
    front = -0.97 * length - 0.4 * a.face_projection * _step(a.orbit_z - z, 0, 40) + 0.009 * x * x  # facial plane
    orbit_y = -0.90 * length
    apex_y = -0.42 * length
    t = (y - orbit_y) / (apex_y - orbit_y)
    orbit = 1e9  # distance outside the orbital cone
    if -0.6 < t < 1.1:
        cone_x = a.orbit_x + t * (13 - a.orbit_x)
        cone_z = a.orbit_z + t * 5
        radius = a.orbit_radius * (1 - 0.72 * max(t, 0.0)) * (1 + 0.25 * min(0.0, t))
        orbit = np.sqrt((side - cone_x) ** 2 + (1.15 * (z - cone_z)) ** 2) - radius
    face_z = a.orbit_z - 6
    nose = 1e9
    if y < -0.35 * length:
        drop = (z - (face_z + 4)) / (0.5 * a.face_height)
        nose = np.sqrt((side / a.nose_width * (1.0 + 0.6 * max(0.0, drop + 0.6))) ** 2 + (drop + 0.55) ** 2 * 1.4) - 1.0
        nose *= a.nose_width
    if a.has_face > 0 and depth < 8:
        if orbit < 0 or (nose < 0 and z < a.anterior_floor - 6):
            return nose < 0 and orbit > 0 and side < 1.2 and y > -0.8 * length and hole > -0.5  # nasal septum
    # -- vault
    base = _base_height(x, y, a)
    if depth > 0 and z > base - a.base_thickness:
        thickness = _vault_thickness(x, y, z, a, noise)
        if depth < thickness:
            inner = depth / thickness
            if (
                a.frontal_sinus > 0.3
                and 0.3 < inner < 0.8
                and y < -0.85 * length
                and side < 24 * a.frontal_sinus
                and -4 < z < 4 + 22 * a.frontal_sinus * (1 - side / 40)
            ):
                return False
            if a.diploe > 0 and thickness > 4.5 and 0.3 < inner < 0.7:
                return _noise(noise[1], x, y, z, 3.5) < 1.6 - 0.9 * a.diploe
            return True
        if z < base + 0.5 * rough:  # -- floor of the cranial cavity
            foramen = np.sqrt(
                (x / a.foramen_radius) ** 2 + ((y - a.foramen_y * length) / (1.15 * a.foramen_radius)) ** 2
            )
            if foramen < 1:
                return False
            return a.base_thickness > 3.5 + hole or foramen < 1.4
    # -- petrous pyramid with its canal, mastoid
    breadth = a.half_breadth
    petrous = _capsule(side, y, z, 16, -0.06 * length, -32, 0.82 * breadth, 0.14 * length, -36) - a.petrous_radius
    canal = _capsule(side, y, z, 30, 0.07 * length, -36, 1.1 * breadth, 0.07 * length, -38)
    if canal < 3.5:
        return False
    if petrous + rough < 0:
        return petrous > -2.5 or _noise(noise[1], x, y, z, 4.0) < 0.9
    mastoid = _ellipsoid(side, y, z, 0.78 * breadth, 0.2 * length, -44, 10, 14, 6 + a.mastoid_length)
    if mastoid < 1:
        return mastoid > 0.75 or _noise(noise[1], x, y, z, 4.0) < 0.7
    # clivus and sphenoid body, with its sinus
    if _capsule(x, y, z, 0, -0.28 * length, -22, 0, a.foramen_y * length - 1.1 * a.foramen_radius, -a.bottom + 6) < 7:
        return _ellipsoid(x, y, z, 0, -0.3 * length, -22, 9, 9, 6) > 1
    if (
        _capsule(side, y, z, 12, -0.05 * length, -a.bottom + 4, 15, a.foramen_y * length, -a.bottom - 2) < 6.5
        and np.sqrt((x / a.foramen_radius) ** 2 + ((y - a.foramen_y * length) / (1.15 * a.foramen_radius)) ** 2) > 1
    ):
        return True
    if a.has_face > 0 and _is_face(x, y, z, a, orbit, nose, hole, face_z, front):
        return True
    if a.has_mandible > 0 and _is_mandible(x, y, z, a, face_z):
        return True
    return a.has_spine > 0 and _is_spine(x, y, z, a)


@njit(cache=True)
def _is_face(x, y, z, a, orbit, nose, hole, face_z, front):
    length, side, breadth = a.half_length, abs(x), a.half_breadth
    if y < front - 6:
        return False
    # orbital walls: thin medially and below (often lost in the mask), a firm rim in front
    if 0 <= orbit < a.orbit_wall + 3.0 * _step(front - y, -14, -4) and y > front:
        firm = y < front + 9 or a.orbit_wall + 0.8 * hole > a.thin_bone or side > a.orbit_x + 8
        if firm:
            return True
    # zygoma and arch
    cheek_x, cheek_y, cheek_z = a.face_width * 0.78 * breadth, -0.70 * length, face_z - 12
    if _ellipsoid(side, y, z, cheek_x - 8, cheek_y - 5, cheek_z, 15, 8, 11) < 1:
        return True
    middle_x = a.face_width * breadth + 0.5 * a.arch_bow
    arch = min(
        _capsule(side, y, z, cheek_x, cheek_y, cheek_z, middle_x, -0.4 * length, cheek_z + 1),
        _capsule(side, y, z, middle_x, -0.4 * length, cheek_z + 1, 0.93 * breadth, -0.02 * length, -34),
    )
    if arch < a.arch_radius:
        return True
    # lateral orbital rim, nasal bones
    if (
        _capsule(side, y, z, a.orbit_x + a.orbit_radius, -0.78 * length, a.orbit_z + 16, cheek_x - 2, cheek_y, cheek_z)
        < 4.5
    ):
        return True
    nasal = -0.97 * length
    if _capsule(side, y, z, 4, nasal + 2, a.orbit_z + 15, 6, nasal - 6, a.orbit_z - 9) < 3.4:
        return True
    # maxilla: a hollow block with a hard palate and an alveolar arch
    bottom = face_z - a.face_height * 0.78
    block = _ellipsoid(
        side,
        y,
        z,
        0,
        -0.60 * length - 0.5 * a.face_projection,
        0.5 * (face_z + bottom),
        42,
        0.38 * length,
        0.62 * (face_z - bottom),
    )
    if block < 1 and z > bottom:
        sinus = _ellipsoid(
            side,
            y,
            z,
            25,
            -0.68 * length,
            0.5 * (face_z + bottom) + 2,
            a.sinus_size,
            a.sinus_size + 4,
            a.sinus_size + 2,
        )
        if y < front:
            return False
        if 0 <= nose < 2.0 and (a.orbit_wall + 0.8 * hole > a.thin_bone or y < -0.85 * length):
            return True
        if sinus < 1:
            return False
        wall = (1 - block) * 32
        if nose > 0 and (wall < 2.5 + 0.6 * hole or sinus < 1.18):
            return True
    arc_y = front + 8 + 0.015 * side * side
    if side < 32 and abs(y - arc_y) < 6 + 0.08 * side and bottom - (9 if a.has_teeth > 0 else 2) < z < bottom + 8:
        return z > bottom or (side * 0.14) % 1.0 < 0.88
    if bottom + 2 < z < bottom + 6 and y > arc_y and y < -0.45 * length and side < 28:
        return True  # hard palate
    return _capsule(side, y, z, 13, -0.4 * length, -32, 16, -0.42 * length, bottom + 4) < 3.2  # pterygoid plates


@njit(cache=True)
def _is_mandible(x, y, z, a, face_z):
    length, side = a.half_length, abs(x)
    lowest = face_z - a.face_height * 1.45 - 60 * a.jaw_opening
    condyle_x, angle_x = 0.74 * a.half_breadth, 0.68 * a.half_breadth
    angle_y, chin_y = -0.22 * length, -0.92 * length - a.face_projection
    ramus = _capsule(
        side, 0.55 * (y - angle_y), z, condyle_x, 0.55 * (-0.06 * length - angle_y), -40, angle_x, 0.0, lowest + 18
    )
    if ramus < 4.6:
        return True
    t = (side / angle_x) ** 1.6
    body_y = chin_y + t * (angle_y - chin_y)
    body_z = lowest + 10 + 14 * t
    if side < angle_x and abs(y - body_y) < 6.5 + 6 * t and abs(z - body_z) < 14:
        return True
    if a.has_teeth > 0 and side < 0.62 * angle_x and abs(y - body_y - 1) < 5 and 0 <= z - body_z < 22:
        return (side * 0.14) % 1.0 < 0.88
    return False


@njit(cache=True)
def _is_spine(x, y, z, a):
    centre_y = a.foramen_y * a.half_length
    for level in range(4):
        height = -a.bottom - 16 - 19 * level
        if abs(z - height) > 8:
            continue
        ring = np.sqrt(x * x + (y - centre_y - 2) ** 2)
        if abs(z - height) < 6 and 12 < ring < 18:
            return True
        if level > 0 and np.sqrt(x * x + (1.25 * (y - centre_y + 17)) ** 2) < 11:
            return True
        if abs(z - height) < 5 and _capsule(abs(x), y, z, 14, centre_y - 4, height, 27, centre_y, height) < 6:
            return True
        if abs(z - height) < 4 and _capsule(x, y, z, 0, centre_y + 16, height, 0, centre_y + 30, height - 5) < 4:
            return True
    return False


@njit(parallel=True, cache=True)
def fill(shape, lower, spacing, anatomy, noise, waves, strength_mm):
    """Ask the rule at every voxel centre, after a smooth asymmetric deformation of space."""
    mask = np.zeros(shape, dtype=np.bool_)
    for i in prange(shape[0]):
        x = lower[0] + i * spacing[0]
        for j in range(shape[1]):
            y = lower[1] + j * spacing[1]
            for k in range(shape[2]):
                z = lower[2] + k * spacing[2]
                px = x - anatomy.lateral_lean * z
                py = y - anatomy.plagiocephaly * x
                pz = z
                for wave in range(waves.shape[1]):
                    w = waves[0, wave], waves[1, wave], waves[2, wave]
                    phase = (w[0][0] * x + w[0][1] * y + w[0][2] * z) * 0.02 + 3 * w[0][3]
                    s = np.sin(phase) * strength_mm
                    px += s * w[0][4]
                    py += s * w[1][4]
                    pz += s * w[2][4]
                mask[i, j, k] = is_bone(px, py, pz, anatomy, noise)
    return mask
