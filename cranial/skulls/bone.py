"""Is there bone at this point? The rule of a procedural skull, compiled: vault and base, then face.py for the rest.

Points are in the frame of `Anatomy` (mm; x left, y back, z up; origin in the middle of the vault's length).
"""

import numpy as np
from numba import njit, prange

from .face import is_face, is_mandible, is_spine
from .shapes import bump, capsule, ellipsoid, step, value_noise


@njit(cache=True)
def _outer_depth(x, y, z, a):
    """Depth below the outer table of the vault in mm (negative outside), measured along the ray to the origin."""
    length, forward = a.half_length, y / a.half_length
    breadth = a.half_breadth * (
        1 - a.frontal_narrowing * step(-forward, -0.15, 1.0) - a.occipital_narrowing * step(forward, 0.3, 1.0)
    )
    breadth *= 1 - 0.07 * step(-z / a.bottom, 0.0, 1.0)
    height = a.top if z > 0 else a.bottom * (1.0 + 0.25 * step(forward, 0.0, 0.8))
    p = a.roundness
    f = (np.abs(x / breadth) ** p + np.abs(forward) ** p + np.abs(z / height) ** p) ** (1 / p)
    if f < 1e-3:
        return length
    r = np.sqrt(x * x + y * y + z * z)
    side = abs(x)
    if r / f - r > 30 or r / f - r < -12:
        return r / f - r  # far from the table the bosses do not matter
    boss = a.bossing * (
        bump(side, y, z, 0.75 * breadth, 0.2 * length, 0.6 * a.top, 28)
        + 0.6 * bump(side, y, z, 30, -0.88 * length, 0.45 * a.top, 20)
        + 0.6 * bump(x, y, z, 0, length, -8, 16)
    )
    return r / f - r + boss


@njit(cache=True)
def _vault_thickness(x, y, z, a, noise):
    """Thickness map in mm: thin at the temple, thick at the bosses, the midline and the occiput."""
    side = abs(x)
    temple = bump(0, y, z, 0, -0.15 * a.half_length, -2, 26) * step(side, 0.55 * a.half_breadth, 0.85 * a.half_breadth)
    boss = bump(side, y, z, 0.7 * a.half_breadth, 0.25 * a.half_length, 0.6 * a.top, 30)
    occiput = bump(x, y, z, 0, a.half_length, -5, 24)
    crest = bump(x, 0, 0, 0, 0, 0, 14) * step(np.abs(y), 0.5 * a.half_length, a.half_length)
    brow = bump(side, y, z, 18, -a.half_length, 4, 16)
    t = a.thickness * (
        1
        - a.temporal_thinning * temple
        + a.boss_thickening * boss
        + a.occipital_thickening * (occiput + 0.4 * crest)
        + 0.5 * brow
    )
    return max(1.6, t * (1 + a.thickness_noise * value_noise(noise[0], x, y, z, 22.0)))


@njit(cache=True)
def _base_height(x, y, a):
    """Upper surface of the skull base: anterior, middle and posterior fossae as steps, petrous ridges oblique."""
    length, side = a.half_length, abs(x)
    middle = a.middle_floor + 16 * (1 - step(side, 6, 24))  # the sella stands up in the midline
    to_middle = step(y + 0.42 * side, -0.22 * length, -0.08 * length)
    to_posterior = step(y + 0.35 * (side - 20), 0.02 * length, 0.16 * length)
    floor = a.anterior_floor + 4 * (1 - step(side, 4, 14)) + to_middle * (middle - a.anterior_floor)
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
    rough = a.surface_noise * value_noise(noise[2], x, y, z, 3.0)
    hole = value_noise(noise[3], x, y, z, 5.0)
    depth = _outer_depth(x, y, z, a) + rough
    # -- spaces of the face: no bone in them, whatever lies around
    front = -0.97 * length - 0.4 * a.face_projection * step(a.orbit_z - z, 0, 40) + 0.009 * x * x  # facial plane
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
                return value_noise(noise[1], x, y, z, 3.5) < 1.6 - 0.9 * a.diploe
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
    petrous = capsule(side, y, z, 16, -0.06 * length, -32, 0.82 * breadth, 0.14 * length, -36) - a.petrous_radius
    canal = capsule(side, y, z, 30, 0.07 * length, -36, 1.1 * breadth, 0.07 * length, -38)
    if canal < 3.5:
        return False
    if petrous + rough < 0:
        return petrous > -2.5 or value_noise(noise[1], x, y, z, 4.0) < 0.9
    mastoid = ellipsoid(side, y, z, 0.78 * breadth, 0.2 * length, -44, 10, 14, 6 + a.mastoid_length)
    if mastoid < 1:
        return mastoid > 0.75 or value_noise(noise[1], x, y, z, 4.0) < 0.7
    # clivus and sphenoid body, with its sinus
    if capsule(x, y, z, 0, -0.28 * length, -22, 0, a.foramen_y * length - 1.1 * a.foramen_radius, -a.bottom + 6) < 7:
        return ellipsoid(x, y, z, 0, -0.3 * length, -22, 9, 9, 6) > 1
    if (
        capsule(side, y, z, 12, -0.05 * length, -a.bottom + 4, 15, a.foramen_y * length, -a.bottom - 2) < 6.5
        and np.sqrt((x / a.foramen_radius) ** 2 + ((y - a.foramen_y * length) / (1.15 * a.foramen_radius)) ** 2) > 1
    ):
        return True
    if a.has_face > 0 and is_face(x, y, z, a, orbit, nose, hole, face_z, front):
        return True
    if a.has_mandible > 0 and is_mandible(x, y, z, a, face_z):
        return True
    return a.has_spine > 0 and is_spine(x, y, z, a)


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
