"""Is there bone of the face, the jaw or the spine at this point? Part of the rule in bone.py, in the same frame."""

import numpy as np
from numba import njit

from .shapes import capsule, ellipsoid, step


@njit(cache=True)
def is_face(x, y, z, a, orbit, nose, hole, face_z, front):
    length, side, breadth = a.half_length, abs(x), a.half_breadth
    if y < front - 6:
        return False
    # orbital walls: thin medially and below (often lost in the mask), a firm rim in front
    if 0 <= orbit < a.orbit_wall + 3.0 * step(front - y, -14, -4) and y > front:
        firm = y < front + 9 or a.orbit_wall + 0.8 * hole > a.thin_bone or side > a.orbit_x + 8
        if firm:
            return True
    # zygoma and arch
    cheek_x, cheek_y, cheek_z = a.face_width * 0.78 * breadth, -0.70 * length, face_z - 12
    if ellipsoid(side, y, z, cheek_x - 8, cheek_y - 5, cheek_z, 15, 8, 11) < 1:
        return True
    middle_x = a.face_width * breadth + 0.5 * a.arch_bow
    arch = min(
        capsule(side, y, z, cheek_x, cheek_y, cheek_z, middle_x, -0.4 * length, cheek_z + 1),
        capsule(side, y, z, middle_x, -0.4 * length, cheek_z + 1, 0.93 * breadth, -0.02 * length, -34),
    )
    if arch < a.arch_radius:
        return True
    # lateral orbital rim, nasal bones
    if (
        capsule(side, y, z, a.orbit_x + a.orbit_radius, -0.78 * length, a.orbit_z + 16, cheek_x - 2, cheek_y, cheek_z)
        < 4.5
    ):
        return True
    nasal = -0.97 * length
    if capsule(side, y, z, 4, nasal + 2, a.orbit_z + 15, 6, nasal - 6, a.orbit_z - 9) < 3.4:
        return True
    # maxilla: a hollow block with a hard palate and an alveolar arch
    bottom = face_z - a.face_height * 0.78
    block = ellipsoid(
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
        sinus = ellipsoid(
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
    return capsule(side, y, z, 13, -0.4 * length, -32, 16, -0.42 * length, bottom + 4) < 3.2  # pterygoid plates


@njit(cache=True)
def is_mandible(x, y, z, a, face_z):
    length, side = a.half_length, abs(x)
    lowest = face_z - a.face_height * 1.45 - 60 * a.jaw_opening
    condyle_x, angle_x = 0.74 * a.half_breadth, 0.68 * a.half_breadth
    angle_y, chin_y = -0.22 * length, -0.92 * length - a.face_projection
    ramus = capsule(
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
def is_spine(x, y, z, a):
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
        if abs(z - height) < 5 and capsule(abs(x), y, z, 14, centre_y - 4, height, 27, centre_y, height) < 6:
            return True
        if abs(z - height) < 4 and capsule(x, y, z, 0, centre_y + 16, height, 0, centre_y + 30, height - 5) < 4:
            return True
    return False
