"""The measures of one procedural skull: drawn at random within the ranges of adult craniometry."""

from typing import NamedTuple

import numpy as np


class Anatomy(NamedTuple):
    """Lengths in mm, angles in radians. Axes: x to the left, y to the back, z up; the origin lies in the middle
    between glabella and opisthocranion (the front and back ends of the vault)."""

    half_length: float  # glabella to opisthocranion / 2
    half_breadth: float  # greatest breadth / 2 = cephalic index * half_length
    top: float  # vertex above the origin
    bottom: float  # floor of the posterior fossa below the origin
    roundness: float  # exponent of the superellipsoid: 2 = ellipsoid, larger = boxier
    frontal_narrowing: float  # share of the breadth lost at the forehead
    occipital_narrowing: float
    bossing: float  # parietal and frontal bosses, mm
    plagiocephaly: float  # left half shifted back by this share of x
    lateral_lean: float  # vault leans sideways by this share of z
    thickness: float  # mean thickness of the vault
    temporal_thinning: float  # share of the thickness lost at the temporal squama
    boss_thickening: float
    occipital_thickening: float
    thickness_noise: float
    diploe: float  # 0 = solid bone, 1 = many pores between the tables
    surface_noise: float  # roughness of the segmentation
    thin_bone: float  # walls thinner than this have been lost by the threshold
    base_tilt: float
    anterior_floor: float
    middle_floor: float
    base_thickness: float
    foramen_y: float
    foramen_radius: float
    petrous_radius: float
    mastoid_length: float
    orbit_x: float
    orbit_z: float
    orbit_radius: float
    orbit_wall: float
    face_height: float
    face_width: float
    face_projection: float
    nose_width: float
    sinus_size: float
    frontal_sinus: float
    arch_radius: float
    arch_bow: float
    has_face: float
    has_teeth: float
    has_mandible: float
    has_spine: float
    jaw_opening: float
    cut_z: float  # nothing below this height was scanned
    cut_tilt: float


def draw_anatomy(rng: np.random.Generator, *, mandible: bool | None = None, cut: bool = True) -> Anatomy:
    """One random adult skull. mandible: None lets chance decide; cut: the scan ends at a random level."""
    u = rng.uniform
    half_length = np.clip(rng.normal(90, 5), 78, 102)
    half_breadth = half_length * np.clip(rng.normal(0.79, 0.05), 0.68, 0.93)
    face_height = u(58, 78)
    levels = [(-20, -45), (-45, -75), (-75, -100), (-135, -136)]
    low, high = levels[rng.choice(4, p=[0.25, 0.3, 0.2, 0.25])]
    return Anatomy(
        half_length=half_length,
        half_breadth=half_breadth,
        top=np.clip(rng.normal(92, 6), 78, 108),
        bottom=u(44, 60),
        roundness=u(2.05, 2.7),
        frontal_narrowing=u(0.08, 0.26),
        occipital_narrowing=u(0.0, 0.16),
        bossing=u(0.0, 4.0),
        plagiocephaly=rng.normal(0, 0.02),
        lateral_lean=rng.normal(0, 0.012),
        thickness=np.clip(rng.normal(6.3, 1.3), 3.6, 10),
        temporal_thinning=u(0.3, 0.65),
        boss_thickening=u(0.0, 0.35),
        occipital_thickening=u(0.1, 0.7),
        thickness_noise=u(0.05, 0.22),
        diploe=u(0.0, 1.0) if rng.random() < 0.35 else 0.0,
        surface_noise=u(0.1, 0.6),
        thin_bone=u(0.0, 2.2),
        base_tilt=u(-0.1, 0.25),
        anterior_floor=u(-12, 4),
        middle_floor=u(-36, -24),
        base_thickness=u(3.5, 7),
        foramen_y=u(0.12, 0.34),
        foramen_radius=u(14, 18.5),
        petrous_radius=u(7, 11),
        mastoid_length=u(12, 24),
        orbit_x=u(29, 36),
        orbit_z=u(-26, -16),
        orbit_radius=u(16.5, 20.5),
        orbit_wall=u(1.2, 3.0),
        face_height=face_height,
        face_width=u(0.8, 0.98),
        face_projection=u(-4, 10),
        nose_width=u(10, 14.5),
        sinus_size=u(9, 16),
        frontal_sinus=u(0, 1),
        arch_radius=u(2.5, 4.5),
        arch_bow=u(4, 14),
        has_face=float(rng.random() < 0.93),
        has_teeth=float(rng.random() < 0.7),
        has_mandible=float(rng.random() < 0.5 if mandible is None else mandible),
        has_spine=float(rng.random() < 0.4),
        jaw_opening=u(0, 0.12),
        cut_z=u(high, low) if cut else -200.0,
        cut_tilt=rng.normal(0, 0.12),
    )
